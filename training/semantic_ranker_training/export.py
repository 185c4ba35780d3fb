"""From a trained model to a model folder: safetensors, ONNX graphs, tokenizer, card, manifest, two gates.

Nothing is published unless the exported graphs score like their source and, where judged data is given, rank as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker import CrossEncoder
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.backends.onnx import OnnxBackend
from semantic_ranker.conversion.parity import ParityReport, measure_parity
from semantic_ranker.conversion.reranker import tokenizer_of
from semantic_ranker.conversion.sample_pairs import built_in_pairs, canary_pairs
from semantic_ranker.model_folder import SEGMENT_HEAD, SEGMENT_WEIGHTS
from semantic_ranker.tokenization import PairTokenizer
from semantic_ranker_training.card import model_card
from semantic_ranker_training.embedder_export import export_embedder
from semantic_ranker_training.export_graphs import write_graphs
from semantic_ranker_training.export_options import GRAPHS, ExportOptions, Precision, check_apart, check_precisions
from semantic_ranker_training.export_report import ExportReport, Variant
from semantic_ranker_training.export_timing import time_scorers
from semantic_ranker_training.manifest import ModelMetadata, build_manifest, write_manifest
from semantic_ranker_training.origin import WEIGHTS, Origin
from semantic_ranker_training.quality_gate import QualityReport, measure_quality
from semantic_ranker_training.segments import SegmentScorer, has_segments, write_segments

if TYPE_CHECKING:
    import os

    from semantic_ranker.backends import Backend

__all__ = ["GRAPHS", "ExportOptions", "ExportReport", "Precision", "export_embedder", "export_model"]

logger = logging.getLogger(__name__)


def export_model(
    source: str | os.PathLike[str] | InteractionCrossEncoder,
    out: str | os.PathLike[str],
    *,
    precisions: Sequence[Precision] = ("fp32", "int8"),
    pairs: Sequence[tuple[str, str]] | None = None,
    metadata: ModelMetadata | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    options: ExportOptions | None = None,
) -> ExportReport:
    """Write a complete model folder of a reranker; `export_embedder` is for bi-encoders.

    Args:
        source: An `InteractionCrossEncoder`, its folder, or the folder of any one-label sequence classifier that
            transformers opens (BERT, XLM-RoBERTa, DistilBERT, ...) with ``model.safetensors``; or a hub id (extra
            ``hub``).
        out: The folder to write. It appears when it is complete; a killed export leaves no half model.
        precisions: Graphs to keep. With ``fp32`` the folder also has ``model.safetensors``; ``int8`` alone is small.
        pairs: Queries and texts for the parity gate, best hard ones from the model's own domain; None takes 40
            built-in ones.
        metadata: What the card and the manifest say; None takes what the source folder says.
        tokenizer: A ``tokenizer.json`` where the source has none.
        overwrite: Whether a model folder at ``out`` is replaced.
        options: How int8 is made, and judged data for the quality gate.

    Returns:
        What was written and measured.

    Raises:
        InvalidInputError: ``out`` has content and ``overwrite`` is off, or a precision is unknown.
        ModelLoadError: The source is absent, incomplete, no reranker, or has no safetensors.
        ExportParityError: A graph does not score like the source, or ranks judged data worse; nothing was written.
        StorageError: The disk is full or cannot be written.
    """
    check_precisions(precisions)
    target, asked = Path(out), options or ExportOptions()
    if not isinstance(source, InteractionCrossEncoder):
        check_apart(Path(source), target)
    with staged_folder(target, overwrite=overwrite) as folder:
        origin = Origin.collect(source, folder, tokenizer)
        described = metadata or origin.metadata()
        origin = origin.described_by(described)
        chosen = list(built_in_pairs() if pairs is None else pairs)
        (folder / "onnx").mkdir()
        work = _Work(origin, folder, described, precisions)
        if not work.sides_alone(asked):
            write_graphs(origin, folder, precisions, asked)
        report = work.finish(chosen, asked)
    logger.info("wrote %s: %d files, %.1f MB", target.name, len(report.size_bytes), report.megabytes)
    return report.at(target)


class _Work:
    """A folder whose graphs are written: measured, described, hashed."""

    def __init__(self, origin: Origin, folder: Path, metadata: ModelMetadata, precisions: Sequence[Precision]) -> None:
        self.origin = origin
        self.folder = folder
        self.metadata = metadata
        self.precisions = precisions

    def sides_alone(self, options: ExportOptions) -> bool:
        """Whether the folder gets the graphs of one side only, so that those of whole pairs need not be made."""
        alone = options.segments == "only" and set(self.precisions) <= set(SEGMENT_WEIGHTS)
        return alone and self._two_sided() is not None

    def _two_sided(self) -> InteractionCrossEncoder | None:
        """Return the model where it encodes each side alone."""
        model = self.origin.backend.model
        return model if isinstance(model, InteractionCrossEncoder) and has_segments(model) else None

    def finish(self, pairs: Sequence[tuple[str, str]], options: ExportOptions) -> ExportReport:
        segments, scorers = self._segments(pairs, options)
        if segments is not None and self.sides_alone(options):
            parity, variants = segments, self._variants(segments, scorers, SEGMENT_WEIGHTS, pairs)
        else:
            parity, variants = self._compare(pairs, options)
        quality = self._quality(options)
        report = ExportReport(folder=self.folder, size_bytes={}, parity=parity, variants=variants, quality=quality)
        self._remove_unwanted(options)
        self._describe(parity, report, segments)
        sizes = {name: int(entry["bytes"]) for name, entry in file_entries(self.folder).items()}
        return report.sized(sizes)

    def _segments(
        self, pairs: Sequence[tuple[str, str]], options: ExportOptions
    ) -> tuple[ParityReport | None, dict[str, SegmentScorer]]:
        """Write the graphs of one side, where the model has them, and hold them to the same gate."""
        if options.segments == "no" or (model := self._two_sided()) is None:
            return None, {}
        write_segments(model, self.folder, ["fp32", *self.precisions], options.calibration, compact=options.compact)
        scorers = {kind: SegmentScorer(self.folder, kind) for kind in self._written(SEGMENT_WEIGHTS)}
        exact, int8 = scorers["fp32"], scorers.get("int8")
        found = measure_parity(pairs, self._tokenizer(), self.origin.backend, exact, int8, None)
        return found.check(options.thresholds), scorers

    def _remove_unwanted(self, options: ExportOptions) -> None:
        unwanted = []
        if "fp32" not in self.precisions:
            unwanted = [GRAPHS["fp32"], SEGMENT_WEIGHTS["fp32"], *([] if options.weights else [WEIGHTS])]
        if options.segments == "only" and (self.folder / SEGMENT_HEAD).is_file():
            unwanted += [GRAPHS[precision] for precision in self.precisions if precision in SEGMENT_WEIGHTS]
        for name in unwanted:
            (self.folder / name).unlink(missing_ok=True)

    def _tokenizer(self) -> PairTokenizer:
        return tokenizer_of(self.origin.settings, self.folder)

    def _written(self, names: Mapping[Any, str]) -> dict[Any, str]:
        return {kind: name for kind, name in names.items() if (self.folder / name).is_file()}

    def _compare(
        self, pairs: Sequence[tuple[str, str]], options: ExportOptions
    ) -> tuple[ParityReport, tuple[Variant, ...]]:
        graphs = {kind: OnnxBackend(self.folder / name) for kind, name in self._written(GRAPHS).items()}
        logger.info("comparing torch and ONNX on %d pairs", len(pairs))
        torch, int8, fp16 = self.origin.backend, graphs.get("int8"), graphs.get("fp16")
        parity = measure_parity(pairs, self._tokenizer(), torch, graphs["fp32"], int8, fp16).check(options.thresholds)
        return parity, self._variants(parity, graphs, GRAPHS, pairs)

    def _variants(
        self,
        parity: ParityReport,
        graphs: Mapping[Any, Backend],
        names: Mapping[Any, str],
        pairs: Sequence[tuple[str, str]],
    ) -> tuple[Variant, ...]:
        times = time_scorers({"torch": self.origin.backend, **graphs}, self._tokenizer(), pairs)
        files = {"torch": WEIGHTS, **self._written(names)}
        agreement = {"int8": parity.int8_tau, "fp32": parity.fp32_tau, "fp16": parity.fp16_tau}
        return tuple(
            Variant(
                name=kind,
                megabytes=(self.folder / files[kind]).stat().st_size / 1e6,
                milliseconds=milliseconds,
                agreement=agreement.get(kind),
            )
            for kind, milliseconds in times.items()
        )

    def _quality(self, options: ExportOptions) -> QualityReport | None:
        if options.gate is None:
            return None
        # The runtime opens the folder as a user will; this manifest is replaced when all figures are known.
        write_manifest(self.folder, build_manifest(self.folder, self.metadata, self.origin.settings, parity={}))
        smaller: tuple[Precision, ...] = ("int8", "fp16")
        precisions = [kind for kind in smaller if kind in {**self._written(GRAPHS), **self._written(SEGMENT_WEIGHTS)}]
        found = measure_quality(options.gate, self.folder, precisions, kind="reranker")
        return found.check(accept_loss=options.gate.accept_loss)

    def _describe(self, parity: ParityReport, report: ExportReport, segments: ParityReport | None) -> None:
        (self.folder / "README.md").write_text(model_card(self.metadata, parity, self.precisions), encoding="utf-8")
        manifest = build_manifest(self.folder, self.metadata, self.origin.settings, parity=parity.to_dict())
        manifest["export"] = report.facts()
        if segments is not None:
            manifest["segment_parity"] = segments.to_dict()
        write_manifest(self.folder, manifest)
        # The runtime opens the folder as a user will, hashes and all, so the recorded logits are what a user gets.
        write_manifest(self.folder, {**manifest, "canary": self._canary()})

    def _canary(self) -> list[dict[str, Any]]:
        pairs = canary_pairs()
        logits = {}
        for precision in self.precisions:
            with CrossEncoder(self.folder, precision=precision, threads=1, other_languages="score") as model:
                logits[precision] = [float(model.score(query, [text])[0]) for query, text in pairs]
        return [
            {"query": query, "text": text, "logit": {kind: found[index] for kind, found in logits.items()}}
            for index, (query, text) in enumerate(pairs)
        ]
