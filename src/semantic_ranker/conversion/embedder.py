"""From a BERT-like bi-encoder's safetensors to a model folder with fp32 and int8 graphs; numpy and onnxruntime only."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._machine import default_threads
from semantic_ranker._settings import MANIFEST, SCHEMA_VERSION
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.conversion.encoder_graph import UNIT, embedder_graph, encoder_statistics
from semantic_ranker.conversion.encoder_weights import EncoderWeights, is_bert_like, read_safetensors, tensors_of
from semantic_ranker.conversion.first_load import WEIGHTS
from semantic_ranker.conversion.fitting_texts import fitting_texts
from semantic_ranker.conversion.reference import ReferenceEmbedder
from semantic_ranker.conversion.reranker import FP32, INT8
from semantic_ranker.conversion.sample_pairs import built_in_texts
from semantic_ranker.conversion.vector_parity import VectorReport, Vectors, measure_vectors
from semantic_ranker.embedding.folder import KIND, EmbedderFolder
from semantic_ranker.embedding.onnx import OnnxEmbedder
from semantic_ranker.embedding.texts import TextTokenizer
from semantic_ranker.errors import ExportParityError, ModelLoadError
from semantic_ranker.model_folder import VerifiedFile

if TYPE_CHECKING:
    from semantic_ranker.conversion.calibrated import InputStatistics
    from semantic_ranker.embedding.folder import EmbedderSettings

logger = logging.getLogger(__name__)

_FILES = (
    "config.json",
    WEIGHTS,
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_OPERATORS = {"Tanh": "Tanh", "Identity": "Identity", "ReLU": "Relu", "GELU": "Gelu", "Sigmoid": "Sigmoid"}
_BATCHED = 4096  # tokens of a padded batch, for the check that padding changes nothing


def is_convertible(opened: EmbedderFolder) -> bool:
    """Whether `convert_embedder` knows a folder's architecture and has what it needs."""
    there = all((opened.files.path / name).is_file() for name in (WEIGHTS, "tokenizer.json"))
    return there and is_bert_like(config_of(opened))


def convert_embedder(opened: EmbedderFolder, target: Path) -> None:
    """Write a bi-encoder's folder with graphs, checked against the weights.

    Where int8 strays too far from fp32, the folder has fp32 alone, and a warning says so. It keeps the weights, so that
    torch can take over where it is installed and a graph fails.

    Args:
        opened: A folder that `is_convertible`.
        target: The folder to write; a half one there is replaced.

    Raises:
        ModelLoadError: The source is damaged.
        ExportParityError: The fp32 graph does not embed like the weights.
        StorageError: The disk is full or cannot be written.
    """
    file = opened.files.read(WEIGHTS)
    weights = EncoderWeights.of(config_of(opened), tensors_of(file.content, file.path.name), file.path.name)
    with staged_folder(target, overwrite=True) as out:
        copy_files(opened, out)
        write_graphs(opened, weights, out, ("fp32", "int8"))
        parity = _checked(opened, weights, out)
        manifest = manifest_of(out, opened, parity, opened.weights_sha256())
        (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def write_graphs(
    opened: EmbedderFolder, weights: EncoderWeights, folder: Path, precisions: Sequence[str], **options: Any
) -> None:
    """Write the graphs of a bi-encoder; int8 is fitted to texts of many kinds (see `calibrated`).

    Args:
        opened: The source.
        weights: Its encoder.
        folder: With the source's files; the graphs go to its ``onnx``.
        precisions: Out of ``fp32`` and ``int8``.
        options: Of `embedder_graph`, such as ``row_norm``.
    """
    (folder / "onnx").mkdir(exist_ok=True)
    dense = dense_layers(opened.settings, folder)
    for precision, name in (("fp32", FP32), ("int8", INT8)):
        if precision in precisions:
            logger.info("building %s in %s", opened.settings.name, precision)
            int8 = precision == "int8"
            graph = embedder_graph(
                weights,
                pooling=opened.settings.pooling,
                dense=dense,
                normalize=normalizes(opened),
                int8=int8,
                statistics=_statistics(opened.settings, weights, folder) if int8 else (),
                **options,
            )
            (folder / name).write_bytes(graph)


def _statistics(settings: EmbedderSettings, weights: EncoderWeights, folder: Path) -> list[InputStatistics]:
    texts = [text for part in tokenizer_of(settings, folder).chunks(fitting_texts()) for text in part]
    return encoder_statistics(weights, texts, pooling=settings.pooling, threads=default_threads())


def config_of(opened: EmbedderFolder) -> dict[str, Any]:
    """Return the content of a folder's ``config.json``."""
    found: dict[str, Any] = json.loads(opened.files.config.content)
    return found


def copy_files(opened: EmbedderFolder, folder: Path) -> None:
    """Copy what makes a bi-encoder, verified, into an empty folder."""
    source = opened.files.path
    listed = None if opened.files.manifest is None else opened.files.manifest.get("files", {})
    modules = source.glob("[0-9]_*/*")
    inner = [path.relative_to(source).as_posix() for path in modules if path.suffix in (".json", ".safetensors")]
    for name in (*_FILES, *sorted(inner)):
        if (source / name).is_file() and (listed is None or name in listed):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(opened.files.read(name).content)


def normalizes(opened: EmbedderFolder) -> bool:
    """Whether the graph itself gives vectors of length 1, as the source's modules do."""
    modules = opened.files.path / "modules.json"
    if not modules.is_file():
        return True
    last = json.loads(modules.read_text(encoding="utf-8"))[-1]
    return str(last.get("type", "")).endswith("Normalize")


def dense_layers(settings: EmbedderSettings, folder: Path) -> list[tuple[Mapping[str, Any], str]]:
    """Read the linear layers after the pooling, see `dense_layer`, with `UNIT` where inputs get length 1 first."""
    found: list[tuple[Mapping[str, Any], str]] = []
    for path in settings.dense:
        found += [({}, UNIT)] if path in settings.unit_inputs else []
        found.append(dense_layer(folder / path))
    return found


def dense_layer(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Read a linear layer after the pooling: its tensors, and the ONNX operator after it.

    Raises:
        ModelLoadError: It is damaged, or of an unknown activation.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        operator = _OPERATORS[str(config.get("activation_function", "Tanh")).rpartition(".")[2]]
    except (OSError, ValueError, KeyError) as error:
        raise ModelLoadError(f"Cannot open the linear layer {folder.name}: {error!r}.") from error
    tensors = read_safetensors(folder / WEIGHTS)
    if "linear.weight" not in tensors:
        raise ModelLoadError(f"Expected linear.weight in {folder.name}/{WEIGHTS}, got {', '.join(tensors) or 'none'}.")
    return tensors, operator


def tokenizer_of(settings: EmbedderSettings, folder: Path) -> TextTokenizer:
    """Return the tokenizer of a folder with ``tokenizer.json``."""
    content = (folder / "tokenizer.json").read_bytes()
    return TextTokenizer(content, max_length=settings.max_length, lower_case=settings.lower_case)


def opened_graph(settings: EmbedderSettings, folder: Path, name: str, *, batched: bool = False) -> OnnxEmbedder:
    """Open a graph as it is, without a normalisation of ours, on one thread.

    Args:
        settings: The source's.
        folder: Where the graph is.
        name: Its path in the folder.
        batched: Whether texts run in padded batches.
    """
    file = VerifiedFile(folder / name, (folder / name).read_bytes(), "")
    plain = replace(settings, normalize=False)
    budget = _BATCHED if batched else None
    return OnnxEmbedder(file, tokenizer_of(plain, folder), plain, threads=1, token_budget=budget)


def manifest_of(folder: Path, opened: EmbedderFolder, parity: VectorReport, weights: str) -> dict[str, Any]:
    """Return ``semantic_ranker.json`` of a folder whose other files are complete.

    Args:
        folder: The folder.
        opened: What it was made from.
        parity: What was measured.
        weights: Sha256 of the source's weights in hex, the same for all precisions.
    """
    settings, known = opened.settings, opened.files.manifest or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "name": settings.name,
        "version": str(known.get("version", "1.0.0")),
        "base_model": str(known.get("base_model") or config_of(opened).get("_name_or_path") or settings.name),
        "license": str(known.get("license", "unknown")),
        "dim": parity.dim,
        "max_length": settings.max_length,
        "pooling": list(settings.pooling),
        "languages": list(settings.languages),
        "matryoshka": list(settings.matryoshka),
        "weights_sha256": weights,
        "files": file_entries(folder),
        "parity": parity.to_dict(),
    }


def _checked(opened: EmbedderFolder, weights: EncoderWeights, out: Path) -> VectorReport:
    settings = opened.settings
    reference = ReferenceEmbedder(
        weights,
        tokenizer_of(settings, out),
        pooling=settings.pooling,
        dense=dense_layers(settings, out),
        normalize=normalizes(opened),
    )
    batched = opened_graph(settings, out, FP32, batched=True)
    graphs: dict[str, Vectors] = {
        of: opened_graph(settings, out, name) for of, name in (("fp32", FP32), ("int8", INT8))
    }
    try:
        return measure_vectors(built_in_texts(), reference, graphs, batched).check()
    except ExportParityError as error:
        (out / INT8).unlink()
        kept = measure_vectors(built_in_texts(), reference, {"fp32": graphs["fp32"]}, batched).check()
        logger.warning("%s has no int8: %s", settings.name, error)
        return kept
