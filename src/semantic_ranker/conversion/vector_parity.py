"""The gate of a bi-encoder's export: its vectors, and the order they give, must be those of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from semantic_ranker.embedding.pooling import normalized
from semantic_ranker.errors import ExportParityError, InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOP = 10
_LEAST_TEXTS = 12


class Vectors(Protocol):
    """What turns texts into float32 (n_texts, dim)."""

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorThresholds:
    """How far a bi-encoder's export may be from its source.

    Attributes:
        fp32_cosine: Least cosine of a text's vector, fp32 ONNX against torch, alone or in a padded batch.
        fp16_cosine: The same of fp16 against fp32.
        int8_cosine: Least mean cosine of int8 against fp32. Measured on all-MiniLM-L6-v2: 0.997.
        int8_overlap: Least share of the ten nearest texts that int8 and fp32 have in common.
    """

    fp32_cosine: float = 0.9999
    fp16_cosine: float = 0.999
    int8_cosine: float = 0.995
    int8_overlap: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorReport:
    """What was measured.

    Attributes:
        texts: Texts embedded.
        dim: Dimension of the vectors.
        fp32_min_cosine: Least cosine of fp32 ONNX to torch, one unpadded text a run; None where there is no torch.
        batch_min_cosine: Least cosine of fp32 ONNX in padded batches to one text a run.
        fp16_min_cosine: Least cosine of fp16 to fp32; None without fp16.
        int8_mean_cosine: Mean cosine of int8 to fp32; None without int8.
        int8_min_cosine: The least; None without int8.
        int8_overlap: Share of each text's ten nearest others that int8 and fp32 have in common, mean; None without.
    """

    texts: int
    dim: int
    fp32_min_cosine: float | None
    batch_min_cosine: float
    fp16_min_cosine: float | None = None
    int8_mean_cosine: float | None = None
    int8_min_cosine: float | None = None
    int8_overlap: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def check(self, thresholds: VectorThresholds | None = None) -> Self:
        """Return the report itself where every figure is within its threshold.

        Raises:
            ExportParityError: One is not; the message has the figures.
        """
        least = thresholds or VectorThresholds()
        limits = [
            ("fp32 ONNX against torch, least cosine", self.fp32_min_cosine, least.fp32_cosine),
            ("fp32 ONNX, padded batches against single texts, least cosine", self.batch_min_cosine, least.fp32_cosine),
            ("fp16 against fp32, least cosine", self.fp16_min_cosine, least.fp16_cosine),
            ("int8 against fp32, mean cosine", self.int8_mean_cosine, least.int8_cosine),
            ("int8 against fp32, common share of the ten nearest texts", self.int8_overlap, least.int8_overlap),
        ]
        failures = [
            f"{name}: expected at least {limit:g}, got {value:.5f}"
            for name, value, limit in limits
            if value is not None and not value >= limit
        ]
        if failures:
            raise ExportParityError(
                f"The export does not embed like its source on {self.texts} texts: {'; '.join(failures)}. Nothing was "
                "written. Export fp32 only, or report it with the model's config.json."
            )
        return self


def measure_vectors(
    texts: Sequence[str], reference: Vectors | None, graphs: Mapping[str, Vectors], batched: Vectors
) -> VectorReport:
    """Embed texts with each backend and compare.

    Args:
        texts: Unlike ones of many lengths, a dozen or more.
        reference: The source in torch, or None.
        graphs: The exports by precision, one text a run; ``fp32`` must be there.
        batched: The fp32 export in padded batches.

    Raises:
        InvalidInputError: There are too few texts.
    """
    chosen = list(dict.fromkeys(texts))
    if len(chosen) < _LEAST_TEXTS:
        raise InvalidInputError(f"Expected {_LEAST_TEXTS} or more different texts for parity, got {len(chosen)}.")
    exact = graphs["fp32"].run(chosen)
    found: dict[str, Any] = {"fp32_min_cosine": None, "batch_min_cosine": _least(batched.run(chosen), exact)}
    if reference is not None:
        found["fp32_min_cosine"] = _least(exact, reference.run(chosen))
    if "fp16" in graphs:
        found["fp16_min_cosine"] = _least(graphs["fp16"].run(chosen), exact)
    if "int8" in graphs:
        coarse = graphs["int8"].run(chosen)
        found["int8_mean_cosine"] = float(np.mean(cosines(coarse, exact)))
        found["int8_min_cosine"] = _least(coarse, exact)
        found["int8_overlap"] = neighbour_overlap(coarse, exact)
    return VectorReport(texts=len(chosen), dim=exact.shape[1], **found)


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each row of two float32 (n, dim)."""
    found: NDArray[np.float32] = (normalized(left) * normalized(right)).sum(axis=1)
    return found


def neighbour_overlap(left: NDArray[np.float32], right: NDArray[np.float32], top: int = _TOP) -> float:
    """Return the mean share of each row's ``top`` nearest other rows, by cosine, that both have."""
    nearest = [_nearest(normalized(vectors), top) for vectors in (left, right)]
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(*nearest, strict=True)]))


def _nearest(vectors: NDArray[np.float32], top: int) -> list[list[int]]:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    found: list[list[int]] = np.argsort(-similarity, axis=1, kind="stable")[:, : min(top, len(vectors) - 1)].tolist()
    return found


def _least(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    return float(cosines(left, right).min())
