"""Writes the folder of a static embedder: int8 token vectors, tokenizer, manifest with hashes, model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker._settings import SCHEMA_VERSION
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.backends.static import KIND, SCALES, VECTORS, StaticBackend
from semantic_ranker_training.manifest import ModelMetadata, write_manifest
from semantic_ranker_training.static_embedder_card import static_card

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_LENGTH = 512
_LEVELS = 127


def quantize_rows(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 rows and one scale a row, such that ``row * scale`` is the vector to 1/254 of its largest part.

    Args:
        vectors: float32 (n, dim), finite.

    Returns:
        int8 (n, dim) in -127 to 127, and float32 (n,).
    """
    largest = np.abs(vectors).max(axis=1)
    scales = np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def write_static_folder(
    out: Path, vectors: NDArray[np.float32], tokenizer: str, metadata: ModelMetadata, *, overwrite: bool = False
) -> StaticBackend:
    """Write the whole folder, or nothing, and open it as a user will.

    Args:
        out: Where to.
        vectors: float32 (vocabulary, dim); the length of a row is how much its token counts.
        tokenizer: Content of ``tokenizer.json``.
        metadata: What the card and the manifest say.
        overwrite: Whether a model folder at ``out`` is replaced.

    Raises:
        InvalidInputError: ``out`` has content and ``overwrite`` is off.
        ModelLoadError: The arrays do not fit the tokenizer.
    """
    with staged_folder(out, overwrite=overwrite) as folder:
        rows, scales = quantize_rows(vectors)
        np.save(folder / VECTORS, rows)
        np.save(folder / SCALES, scales)
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(_config(vectors), indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(static_card(metadata, *vectors.shape), encoding="utf-8")
        write_manifest(folder, _manifest(folder, metadata, int(vectors.shape[1])))
        StaticBackend(folder)
    return StaticBackend(out)


def _config(vectors: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "architectures": ["StaticEmbedder"],
        "model_type": KIND,
        "vocab_size": int(vectors.shape[0]),
        "hidden_dim": int(vectors.shape[1]),
        "normalize": True,
    }


def _manifest(folder: Path, metadata: ModelMetadata, dim: int) -> dict[str, Any]:
    metrics: dict[str, dict[str, Mapping[str, Any]]] = {}
    for metric in metadata.metrics:
        metrics.setdefault(metric.collection, {})[metric.name] = metric.to_dict()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "name": metadata.name,
        "version": metadata.version,
        "base_model": metadata.base_model,
        "dim": dim,
        "max_length": metadata.max_length or MAX_LENGTH,
        "pooling": "sum",
        "normalize": True,
        "prompts": {"query": "", "document": ""},
        "matryoshka": False,
        "languages": list(metadata.languages),
        "license": metadata.license,
        "files": file_entries(folder),
        "metrics": metrics,
        "training": dict(metadata.training),
    }
