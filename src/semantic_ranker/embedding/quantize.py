"""Smaller vectors for an index: fp16, int8 and binary, compared with exact queries (asymmetric scoring)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)

Codec = Literal["fp32", "fp16", "int8", "int8-calibrated", "binary"]
MAX_DIM = 65_535
"""Longest vector: what the header of a cached value can say."""
COSINE_FLOOR = 0.99
"""Mean cosine between vectors and their codes below which a warning is logged."""
_FP16_MOST = float(np.finfo(np.float16).max)
_ROWS_AT_ONCE = 4096
_CLIPPED_SHARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Quantised vectors.

    Attributes:
        codec: How they are stored. ``fp16`` becomes ``fp32`` where a number is beyond fp16's range.
        dim: Length of a vector.
        data: (n, dim) float32, float16, int8 or uint8; for ``binary`` uint8 (n, ceil(dim / 8)), one bit a sign.
        scales: float32 (n,), the value of one step of each vector, for ``int8``; empty for others.
        clipped: How many numbers were outside the calibrated range.
    """

    codec: Codec
    dim: int
    data: NDArray[Any] = field(repr=False)
    scales: NDArray[np.float32] = field(repr=False)
    clipped: int = 0

    def __len__(self) -> int:
        return len(self.data)

    @property
    def nbytes(self) -> int:
        """Bytes that the vectors take."""
        return int(self.data.nbytes + self.scales.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class Quantizer:
    """Turns vectors into codes, and codes into vectors or scores.

    ``int8`` has one step a vector (its largest number over 127). ``int8-calibrated`` has a range a dimension, found by
    `fit`, like sentence-transformers' ``quantize_embeddings``: better where some dimensions are far larger than others.
    ``binary`` keeps the signs.

    Attributes:
        codec: One of `Codec`.
        low: Least value of each dimension, float32 (dim,); only for ``int8-calibrated``.
        step: Value of one step of each dimension, float32 (dim,); only for ``int8-calibrated``.
    """

    codec: Codec = "fp16"
    low: NDArray[np.float32] | None = field(default=None, repr=False)
    step: NDArray[np.float32] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise InvalidInputError(f"Expected codec out of {', '.join(get_args(Codec))}, got {self.codec!r}.")

    @classmethod
    def fit(cls, vectors: ArrayLike, codec: Codec = "int8-calibrated") -> Self:
        """Return a quantizer with the ranges of these vectors, float (n, dim), a fair sample of those to come.

        Raises:
            InvalidInputError: There are none, or one holds NaN or infinity.
        """
        if codec != "int8-calibrated":
            return cls(codec)
        sample = _checked(vectors)
        if not len(sample):
            raise InvalidInputError("Expected at least one vector to calibrate with, got none.")
        low, high = sample.min(axis=0), sample.max(axis=0)
        with np.errstate(over="ignore"):
            step = (high / 255.0 - low / 255.0).astype(np.float32)
        return cls(codec, low, np.where(step > 0, step, np.float32(1.0)))

    def encode(self, vectors: ArrayLike) -> Codes:
        """Return the codes of vectors, float (n, dim), of any byte order and memory layout.

        Raises:
            InvalidInputError: One holds NaN or infinity; ``.index`` says which. Or they do not fit the calibration.
        """
        rows = _checked(vectors)
        codes = self._encode(rows)
        if len(rows) and self.codec.startswith("int8"):
            self._warn(rows[:_ROWS_AT_ONCE], codes)
        return codes

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return vectors, float32 (n, dim); binary ones have the length 1."""
        if codes.codec == "int8":
            return codes.data.astype(np.float32) * codes.scales[:, None]
        if codes.codec == "int8-calibrated":
            low, step = self._ranges(codes.dim)
            return codes.data.astype(np.float32) * step + low
        if codes.codec == "binary":
            return _signs(codes.data, codes.dim) / np.float32(np.sqrt(codes.dim))
        return codes.data.astype(np.float32)

    def scores(self, queries: ArrayLike, codes: Codes) -> NDArray[np.float32]:
        """Return inner products of exact queries with codes, float32 (n_queries, n).

        Args:
            queries: float (n_queries, dim).
            codes: Of the documents; decoded in parts, so that no float table is kept.
        """
        exact = _checked(queries)
        if exact.shape[1] != codes.dim:
            raise InvalidInputError(f"Expected queries of {codes.dim} dimensions, got {exact.shape[1]}.")
        found = np.empty((len(exact), len(codes)), np.float32)
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            part = slice_codes(codes, start, start + _ROWS_AT_ONCE)
            found[:, start : start + len(part)] = exact @ self.decode(part).T
        return found

    def search(self, queries: ArrayLike, codes: Codes, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best ``k`` rows a query, best first, ties in row order, as int64 and float32 (n_queries, k)."""
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InvalidInputError(f"Expected k to be an int of 1 or more, got {k!r}.")
        scores = self.scores(queries, codes)
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return rows, np.take_along_axis(scores, rows, axis=1)

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the calibration by name, ready to be saved; empty where there is none."""
        return {} if self.low is None or self.step is None else {"low": self.low, "step": self.step}

    @classmethod
    def from_arrays(cls, codec: Codec, arrays: Mapping[str, NDArray[np.float32]]) -> Self:
        """Read what `to_arrays` gave."""
        return cls(codec, arrays.get("low"), arrays.get("step"))

    def _encode(self, rows: NDArray[np.float32]) -> Codes:
        none, dim = np.empty(0, np.float32), rows.shape[1]
        if self.codec == "int8":
            return _absmax(rows)
        if self.codec == "int8-calibrated":
            low, step = self._ranges(dim)
            levels = np.rint((rows - low) / step)
            clipped = int(((levels < 0) | (levels > 255)).sum())
            return Codes(self.codec, dim, np.clip(levels, 0, 255).astype(np.uint8), none, clipped)
        if self.codec == "binary":
            return Codes(self.codec, dim, np.packbits(rows > 0, axis=1), none)
        if self.codec == "fp16" and not (np.abs(rows) > _FP16_MOST).any():
            return Codes(self.codec, dim, rows.astype(np.float16), none)
        return Codes("fp32", dim, rows.copy(), none)

    def _ranges(self, dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self.low is None or self.step is None:
            raise InvalidInputError("Expected a calibrated quantizer: make it with Quantizer.fit(a sample of vectors).")
        if self.low.shape != (dim,):
            raise InvalidInputError(f"Expected vectors of {len(self.low)} dimensions, as calibrated, got {dim}.")
        return self.low, self.step

    def _warn(self, rows: NDArray[np.float32], codes: Codes) -> None:
        mean = float(cosines(rows, self.decode(slice_codes(codes, 0, len(rows)))).mean())
        if mean < COSINE_FLOOR:
            better = "'int8-calibrated' or 'fp16'" if self.codec == "int8" else "'fp16'"
            logger.warning("%s codes keep a mean cosine of %.4f only: use %s", self.codec, mean, better)
        if codes.clipped > _CLIPPED_SHARE * codes.data.size:
            logger.warning(
                "%.1f %% of the numbers are outside the calibrated range: calibrate again with such vectors",
                100 * codes.clipped / codes.data.size,
            )


def slice_codes(codes: Codes, start: int, stop: int) -> Codes:
    """Return some of the codes, without a copy."""
    return replace(codes, data=codes.data[start:stop], scales=codes.scales[start:stop], clipped=0)


def join_codes(first: Codes, second: Codes) -> Codes:
    """Return the codes one after the other.

    Raises:
        InvalidInputError: They are of two codecs or dimensions.
    """
    if (first.codec, first.dim) != (second.codec, second.dim):
        raise InvalidInputError(
            f"Expected {first.codec} codes of {first.dim} dimensions, got {second.codec} of {second.dim}."
        )
    data, scales = np.concatenate((first.data, second.data)), np.concatenate((first.scales, second.scales))
    return Codes(first.codec, first.dim, data, scales, first.clipped + second.clipped)


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each row with the same row, float64 (n,); 1 for two zero rows, 0 where one is zero."""
    a, b = (_unit(rows.astype(np.float64)) for rows in (first, second))
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    found: NDArray[np.float64] = np.where(both_zero, 1.0, (a * b).sum(axis=1))
    return found


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    # Divided by the largest number first: the square of 1e-30 is still something, that of 1e-200 is not.
    largest = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    rows = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return found


def _absmax(rows: NDArray[np.float32]) -> Codes:
    scales = (np.abs(rows).max(axis=1, initial=0.0) / np.float32(127.0)).astype(np.float32)
    safe = np.where(scales > 0, scales, np.float32(1.0))
    data = np.clip(np.rint(rows / safe[:, None]), -127, 127).astype(np.int8)
    return Codes("int8", rows.shape[1], data, scales)


def _signs(data: NDArray[np.uint8], dim: int) -> NDArray[np.float32]:
    return np.unpackbits(data, axis=1, count=dim).astype(np.float32) * np.float32(2.0) - np.float32(1.0)


def _checked(vectors: ArrayLike) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"Expected vectors as numbers of shape (n, dim): {error}.") from error
    if rows.ndim != 2 or not 1 <= rows.shape[1] <= MAX_DIM:
        raise InvalidInputError(f"Expected vectors of shape (n, dim) with dim from 1 to {MAX_DIM}, got {rows.shape}.")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        index = int(np.argmin(finite))
        raise InvalidInputError(f"Expected finite vectors, got NaN or infinity at index {index}.", index)
    return rows
