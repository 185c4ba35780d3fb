"""Vectors as matrices that can be measured: checked once, here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def matrix(vectors: ArrayLike, *, least: int = 2, what: str = "vectors") -> NDArray[np.float64]:
    """Return vectors as float64 (n, dim).

    Args:
        vectors: One vector a row.
        least: Rows that there must be.
        what: What they are, for the message.

    Raises:
        EvaluationError: It is no matrix of finite numbers, or has too few rows.
    """
    try:
        found = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError):
        raise EvaluationError(f"Expected {what} of shape (n, dim), all of one width, got something else.") from None
    if found.ndim != 2 or found.shape[1] < 1 or len(found) < least:
        raise EvaluationError(f"Expected {what} of shape (n, dim) with n of {least} or more, got {found.shape}.")
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise EvaluationError(f"Expected finite {what}, got NaN or infinity in row {row}.")
    return found


def unit(vectors: ArrayLike, *, least: int = 2, what: str = "vectors") -> NDArray[np.float64]:
    """Return vectors scaled to length 1, float64 (n, dim).

    Raises:
        EvaluationError: As for `matrix`, or a vector is zero and has no direction.
    """
    found = matrix(vectors, least=least, what=what)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not lengths.all():
        row = int(np.flatnonzero(lengths[:, 0] == 0)[0])
        raise EvaluationError(f"Expected {what} with a direction, got a zero vector in row {row}.")
    scaled: NDArray[np.float64] = found / lengths
    return scaled


def sample(vectors: NDArray[np.float64], most: int, seed: int) -> NDArray[np.float64]:
    """Return at most so many rows, drawn without replacement, in their order."""
    if len(vectors) <= most:
        return vectors
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))
    return vectors[rows]
