"""From a trained model to a model folder: safetensors, ONNX fp32 and int8, tokenizer, card, manifest, parity gate.

Nothing is published unless the exported graphs score like their source.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from semantic_ranker import CrossEncoder
from semantic_ranker.backends.onnx import OnnxBackend
from semantic_ranker.backends.torch import InteractionCrossEncoder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.tokenization import PairTokenizer
from semantic_ranker_training.card import model_card
from semantic_ranker_training.graph import export_graph, with_row_linear
from semantic_ranker_training.manifest import ModelMetadata, build_manifest, file_entries, write_manifest
from semantic_ranker_training.origin import WEIGHTS, Origin
from semantic_ranker_training.parity import ParityReport, measure_parity
from semantic_ranker_training.parity_pairs import built_in_pairs, canary_pairs
from semantic_ranker_training.quantization import RowNorm, export_int8
from semantic_ranker_training.staging import staged_folder

if TYPE_CHECKING:
    import os

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "int8"]
GRAPHS: dict[str, str] = {"fp32": "onnx/model.onnx", "int8": "onnx/model_qint8.onnx"}
"""Where each precision's graph lies in a model folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        folder: The model folder.
        size_bytes: Of each file, by its path in the folder.
        parity: What the gate measured.
    """

    folder: Path
    size_bytes: dict[str, int]
    parity: ParityReport

    def summary(self) -> str:
        """Return a few lines for people: each file's size, then the parity figures."""
        lines = [f"{name}  {size / 1e6:.1f} MB" for name, size in self.size_bytes.items()]
        figures = [f"{name} {value:.4g}" for name, value in self.parity.to_dict().items() if value is not None]
        return "\n".join([*lines, "parity: " + ", ".join(figures)])


def export_model(
    source: str | os.PathLike[str] | InteractionCrossEncoder,
    out: str | os.PathLike[str],
    *,
    precisions: Sequence[Precision] = ("fp32", "int8"),
    int8_row_norm: RowNorm = "ff",
    pairs: Sequence[tuple[str, str]] | None = None,
    metadata: ModelMetadata | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a complete model folder.

    Args:
        source: An `InteractionCrossEncoder`, its folder, or the folder of any one-label sequence classifier that
            transformers opens (BERT, XLM-RoBERTa, DistilBERT, ...) with ``model.safetensors``; or a hub id (extra
            ``hub``).
        out: The folder to write. It appears when it is complete; a killed export leaves no half model.
        precisions: Graphs to keep. With ``fp32`` the folder also has ``model.safetensors``; ``int8`` alone is small.
        int8_row_norm: Linear layers whose int8 inputs are normalised row by row: the feed-forward ones (``ff``, best
            at nearly no cost), ``all`` or ``none``.
        pairs: Queries and texts for the parity gate, best from the model's own domain; None takes 40 built-in ones.
        metadata: What the card and the manifest say; None takes what the source folder says.
        tokenizer: A ``tokenizer.json`` where the source has none.
        overwrite: Whether a model folder at ``out`` is replaced.

    Returns:
        What was written and measured.

    Raises:
        InvalidInputError: ``out`` has content and ``overwrite`` is off, or a precision is unknown.
        ModelLoadError: The source is absent, incomplete, no reranker, or has no safetensors.
        ExportParityError: An exported graph does not score like the source; nothing was written.
    """
    _check_options(precisions, int8_row_norm)
    target = Path(out)
    if not isinstance(source, InteractionCrossEncoder):
        _check_apart(Path(source), target)
    with staged_folder(target, overwrite=overwrite) as folder:
        origin = Origin.collect(source, folder, tokenizer)
        described = metadata or origin.metadata()
        origin = origin.described_by(described)
        _write_graphs(origin, folder, precisions, int8_row_norm)
        parity = _parity(origin, folder, built_in_pairs() if pairs is None else pairs).check()
        _remove_other(folder, precisions)
        _describe(origin, folder, described, parity, precisions)
        sizes = {name: int(entry["bytes"]) for name, entry in file_entries(folder).items()}
    logger.info("wrote %s: %d files, %.1f MB", target.name, len(sizes), sum(sizes.values()) / 1e6)
    return ExportReport(folder=target, size_bytes=sizes, parity=parity)


def _check_options(precisions: Sequence[str], row_norm: str) -> None:
    if not precisions or isinstance(precisions, str) or not set(precisions) <= set(GRAPHS):
        raise InvalidInputError(f"Expected precisions out of {', '.join(GRAPHS)}, got {precisions!r}.")
    if row_norm not in get_args(RowNorm):
        raise InvalidInputError(f"Expected int8_row_norm out of {', '.join(get_args(RowNorm))}, got {row_norm!r}.")


def _check_apart(source: Path, out: Path) -> None:
    if source.resolve().is_relative_to(out.resolve()):
        raise InvalidInputError(
            f"Expected another folder than the source for the export, got {str(out)!r}, which is or contains it."
        )


def _write_graphs(origin: Origin, folder: Path, precisions: Sequence[str], row_norm: RowNorm) -> None:
    (folder / "onnx").mkdir()
    model, token_types, limit = origin.backend.model, origin.backend.uses_token_types, origin.settings.length_limit
    # Always: int8 is measured against it.
    logger.info("exporting %s to ONNX fp32", origin.settings.name)
    export_graph(with_row_linear(model), folder / GRAPHS["fp32"], token_types=token_types, max_length=limit)
    if "int8" in precisions:
        logger.info("exporting %s to ONNX int8", origin.settings.name)
        path = folder / GRAPHS["int8"]
        export_int8(model, path, token_types=token_types, max_length=limit, row_norm=row_norm)


def _parity(origin: Origin, folder: Path, pairs: Sequence[tuple[str, str]]) -> ParityReport:
    settings = origin.settings
    tokenizer = PairTokenizer(
        (folder / "tokenizer.json").read_bytes(),
        layout=settings.layout,
        max_length=settings.max_length,
        max_query_tokens=settings.max_query_tokens,
    )
    graphs = {kind: OnnxBackend(folder / name) for kind, name in GRAPHS.items() if (folder / name).is_file()}
    logger.info("comparing torch and ONNX on %d pairs", len(pairs))
    return measure_parity(pairs, tokenizer, origin.backend, graphs["fp32"], graphs.get("int8"))


def _remove_other(folder: Path, precisions: Sequence[str]) -> None:
    if "fp32" not in precisions:
        (folder / GRAPHS["fp32"]).unlink()
        (folder / WEIGHTS).unlink()


def _describe(
    origin: Origin, folder: Path, metadata: ModelMetadata, parity: ParityReport, precisions: Sequence[Precision]
) -> None:
    (folder / "README.md").write_text(model_card(metadata, parity, precisions), encoding="utf-8")
    manifest = build_manifest(folder, metadata, origin.settings, parity=parity.to_dict())
    write_manifest(folder, manifest)
    # The runtime opens the folder as a user will, hashes and all, so the recorded logits are what a user gets.
    write_manifest(folder, {**manifest, "canary": _canary(folder, precisions)})


def _canary(folder: Path, precisions: Sequence[Precision]) -> list[dict[str, Any]]:
    pairs = canary_pairs()
    logits = {}
    for precision in precisions:
        with CrossEncoder(folder, precision=precision, threads=1) as model:
            logits[precision] = [float(model.score(query, [text])[0]) for query, text in pairs]
    return [
        {"query": query, "text": text, "logit": {precision: found[index] for precision, found in logits.items()}}
        for index, (query, text) in enumerate(pairs)
    ]
