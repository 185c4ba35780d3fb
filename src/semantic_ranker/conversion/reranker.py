"""From a BERT-like reranker's safetensors to a model folder with fp32 and int8 graphs; numpy and onnxruntime only."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._machine import default_threads
from semantic_ranker._settings import MANIFEST, SCHEMA_VERSION
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.backends.onnx import OnnxBackend
from semantic_ranker.conversion.encoder_graph import encoder_statistics, reranker_graph
from semantic_ranker.conversion.encoder_weights import EncoderWeights, tensors_of
from semantic_ranker.conversion.first_load import FILES, WEIGHTS
from semantic_ranker.conversion.fitting_texts import fitting_pairs
from semantic_ranker.conversion.parity import ParityReport, measure_parity
from semantic_ranker.conversion.reference import ReferenceReranker
from semantic_ranker.conversion.sample_pairs import built_in_pairs
from semantic_ranker.errors import ExportParityError
from semantic_ranker.tokenization import PairTokenizer

if TYPE_CHECKING:
    from semantic_ranker._settings import ModelSettings
    from semantic_ranker.conversion.calibrated import InputStatistics
    from semantic_ranker.model_folder import ModelFolder

logger = logging.getLogger(__name__)

FP32, INT8 = "onnx/model.onnx", "onnx/model_qint8.onnx"
_PAIRS = 20  # four queries: a second or two for six layers


def convert_reranker(folder: ModelFolder, target: Path) -> None:
    """Write a model folder with graphs, checked against the weights.

    Where int8 strays too far from fp32, the folder has fp32 alone, and a warning says so.

    Args:
        folder: A BERT-like one-label classifier with ``model.safetensors`` and ``tokenizer.json``.
        target: The folder to write; a half one there is replaced.

    Raises:
        ModelLoadError: The source is damaged, or has no head.
        ExportParityError: The fp32 graph does not score like the weights.
        StorageError: The disk is full or cannot be written.
    """
    config: dict[str, Any] = json.loads(folder.config.content)
    file = folder.read(WEIGHTS)
    weights = EncoderWeights.of(config, tensors_of(file.content, file.path.name), file.path.name)
    with staged_folder(target, overwrite=True) as out:
        (out / "onnx").mkdir()
        for name in ("config.json", "tokenizer.json", *FILES):
            if (folder.path / name).is_file():
                (out / name).write_bytes((folder.path / name).read_bytes())
        (out / FP32).write_bytes(reranker_graph(weights))
        seen = pair_statistics(folder.settings, weights, out)
        (out / INT8).write_bytes(reranker_graph(weights, int8=True, statistics=seen))
        parity = _checked(folder, weights, out)
        manifest = _manifest(folder, config, parity) | {"files": file_entries(out), "weights_sha256": file.sha256}
        (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def tokenizer_of(settings: ModelSettings, folder: Path) -> PairTokenizer:
    """Return the tokenizer of a folder with ``tokenizer.json``."""
    return PairTokenizer(
        (folder / "tokenizer.json").read_bytes(),
        layout=settings.layout,
        max_length=settings.max_length,
        max_query_tokens=settings.max_query_tokens,
    )


def pair_statistics(settings: ModelSettings, weights: EncoderWeights, folder: Path) -> list[InputStatistics]:
    """Return what `fitting_pairs` put into the products of a reranker, to round its int8 weights by.

    Args:
        settings: The model's.
        weights: Its encoder.
        folder: With its ``tokenizer.json``.
    """
    tokenizer, pairs = tokenizer_of(settings, folder), fitting_pairs()
    queries = tokenizer.queries([query for query, _ in pairs])
    inputs = [pieces[0] for pieces in tokenizer.pairs(queries, [text for _, text in pairs], windows=False)]
    return encoder_statistics(weights, inputs, threads=default_threads())


def _checked(folder: ModelFolder, weights: EncoderWeights, out: Path) -> ParityReport:
    settings = folder.settings
    tokenizer = tokenizer_of(settings, out)
    pairs, exact = built_in_pairs()[:_PAIRS], OnnxBackend(out / FP32)
    found = measure_parity(pairs, tokenizer, ReferenceReranker(weights), exact, OnnxBackend(out / INT8))
    try:
        return found.check()
    except ExportParityError as error:
        (out / INT8).unlink()
        kept = measure_parity(pairs, tokenizer, ReferenceReranker(weights), exact).check()
        logger.warning("%s has no int8: %s", settings.name, error)
        return kept


def _manifest(folder: ModelFolder, config: Mapping[str, Any], parity: ParityReport) -> dict[str, Any]:
    settings, known = folder.settings, folder.manifest or {}
    return dict(known) | {
        "schema_version": SCHEMA_VERSION,
        "kind": "reranker",
        "name": settings.name,
        "version": str(known.get("version", "1.0.0")),
        "base_model": str(known.get("base_model") or config.get("_name_or_path") or settings.name),
        "input_layout": settings.layout,
        "max_length": settings.max_length,
        "max_query_tokens": settings.max_query_tokens,
        "activation": settings.activation,
        "calibration": {"scale": settings.scale, "bias": settings.bias},
        "languages": list(settings.languages),
        "parity": parity.to_dict(),
    }
