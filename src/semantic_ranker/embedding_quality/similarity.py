"""Semantic textual similarity: does the cosine of two texts order pairs as people do? MTEB's protocol and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker._extras import requires_extra
from semantic_ranker.embedding_quality.matrices import matrix, unit
from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def similarity_scores(left: ArrayLike, right: ArrayLike, gold: Sequence[float]) -> dict[str, float]:
    """Correlate similarities of pairs with people's scores.

    Args:
        left: Vectors of the first texts, (n, dim).
        right: Vectors of the second texts, (n, dim).
        gold: People's scores, n; any scale.

    Returns:
        ``cosine_spearman`` (MTEB's main score), ``cosine_pearson``, ``euclidean_spearman``, ``manhattan_spearman``,
        each -1 to 1, and ``main_score``.

    Raises:
        EvaluationError: Lengths differ, there are fewer than 3 pairs, a score is not finite, or all are equal.
        ModuleNotFoundError: The extra ``report`` is not installed.
    """
    with requires_extra("report"):
        from scipy.stats import pearsonr, spearmanr

    first, second = matrix(left, least=3), matrix(right, least=3)
    scores = np.asarray(gold, dtype=np.float64)
    _check(first, second, scores)
    found = {
        "cosine": (unit(first) * unit(second)).sum(axis=1),
        "euclidean": -np.linalg.norm(first - second, axis=1),
        "manhattan": -np.abs(first - second).sum(axis=1),
    }
    for name, values in found.items():
        if np.ptp(values) == 0:
            raise EvaluationError(f"Expected pairs of different {name} similarity, got {values[0]:.4f} for all.")
    spearman = {f"{name}_spearman": float(spearmanr(values, scores).statistic) for name, values in found.items()}
    pearson = float(pearsonr(found["cosine"], scores).statistic)
    return {**spearman, "cosine_pearson": pearson, "main_score": spearman["cosine_spearman"]}


def _check(first: NDArray[np.float64], second: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
    if first.shape != second.shape or scores.shape != (len(first),):
        raise EvaluationError(
            "Expected two vectors of one width and one score a pair, got shapes "
            f"{first.shape}, {second.shape} and {scores.shape}."
        )
    if not np.isfinite(scores).all() or np.ptp(scores) == 0:
        raise EvaluationError("Expected finite scores that differ, got others: there is nothing to correlate with.")
