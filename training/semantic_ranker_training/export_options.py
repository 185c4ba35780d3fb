"""What can be asked of an export, and the checks that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from semantic_ranker.conversion.graph_builder import RowNorm
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker.conversion.parity import ParityThresholds
    from semantic_ranker_training.quality_gate import QualityGate

Precision = Literal["fp32", "fp16", "int8"]
Segments = Literal["also", "only", "no"]
GRAPHS: dict[str, str] = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_qint8.onnx",
}
"""Where each precision's graph lies in a model folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What seldom has to be said of an export.

    Attributes:
        row_norm: Linear layers whose int8 inputs are divided by each row's peak: the feed-forward ones (``ff``),
            ``all`` or ``none``. ``benchmarks/export.py`` measures what each costs in order: ``ff`` gains much over
            ``none``, ``all`` nothing more that could be told from chance.
        gate: Judged data that int8 has to hold its quality on; None leaves that out.
        thresholds: Of the parity gate; None takes the usual ones.
        segments: For models that encode query and passage each alone: ``also`` writes the graph of one side beside
            that of pairs, and our runtime takes it; ``only`` leaves the one of pairs out, which other tools need;
            ``no`` is the pairs' alone.
        calibration: Ids of texts, ``[CLS] text [SEP]``, that the int8 segment graph is fitted to: a few hundred like
            those that will be ranked, no labels. It halves the error of int8 (see `calibrated`); none leaves it out.
        compact: Whether the int8 segment graph keeps word embeddings in 4 bits, positions in 8 and the projection in
            float16. Of all-MiniLM-L6-v2 that saves 6.7 MB, and makes the error of a token's state, 1 - cosine, 0.003
            larger.
        weights: Whether ``model.safetensors`` stays beside int8 alone, so that the folder can be trained further.
    """

    row_norm: RowNorm = "ff"
    gate: QualityGate | None = None
    thresholds: ParityThresholds | None = None
    segments: Segments = "also"
    calibration: Sequence[Sequence[int]] = ()
    compact: bool = False
    weights: bool = False

    def __post_init__(self) -> None:
        if self.row_norm not in get_args(RowNorm):
            raise InvalidInputError(f"Expected row_norm out of {', '.join(get_args(RowNorm))}, got {self.row_norm!r}.")
        if self.segments not in get_args(Segments):
            raise InvalidInputError(f"Expected segments out of {', '.join(get_args(Segments))}, got {self.segments!r}.")


def check_precisions(precisions: Sequence[str]) -> None:
    """Refuse anything but a list of known precisions.

    Raises:
        InvalidInputError: It is empty, a string, or has an unknown one.
    """
    if not precisions or isinstance(precisions, str) or not set(precisions) <= set(GRAPHS):
        raise InvalidInputError(f"Expected a list of precisions out of {', '.join(GRAPHS)}, got {precisions!r}.")


def check_apart(source: Path, out: Path) -> None:
    """Refuse to write an export over its own source.

    Raises:
        InvalidInputError: ``out`` is or contains the source.
    """
    if source.resolve().is_relative_to(out.resolve()):
        raise InvalidInputError(
            f"Expected another folder than the source for the export, got {str(out)!r}, which is or contains it."
        )
