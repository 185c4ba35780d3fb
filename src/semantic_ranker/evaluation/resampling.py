"""The arithmetic of resampling: intervals of means, paired tests, corrections. Knows nothing of metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 10_000
_LEVEL = 0.95
_CELLS = 2_000_000  # random numbers drawn at once: 16 MB
# From here on means are as good as normal, and resampling would take minutes for the same digits.
_NORMAL_FROM = 20_000  # queries


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values, in the order given."""
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def as_column(values: Sequence[float] | Mapping[str, float]) -> NDArray[np.float64]:
    """Return the values as float64 (n, 1).

    Raises:
        EvaluationError: There are none, or one is not finite.
    """
    column = np.asarray(list(values.values() if isinstance(values, Mapping) else values), dtype=np.float64)
    if column.ndim != 1 or not len(column) or not np.isfinite(column).all():
        raise EvaluationError(f"Expected one finite value a query, got {len(column)} values of which some are not.")
    return column[:, None]


def bootstrap_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return means of rows drawn with replacement.

    Of 20,000 rows and more the means are drawn from the normal distribution that resampling tends to.

    Args:
        values: float64 (n, m), a row a query.
        resamples: How many means.
        seed: Of the draws.

    Returns:
        float64 (resamples, m).
    """
    rng = np.random.default_rng(seed)
    rows = len(values)
    if rows >= _NORMAL_FROM:
        spread = np.cov(values, rowvar=False, bias=True).reshape(values.shape[1], -1) / rows
        return rng.multivariate_normal(values.mean(axis=0), spread, resamples, method="eigh")
    parts = [
        values[rng.integers(0, rows, (size, rows))].mean(axis=1) for size in _chunks(resamples, rows * values.shape[1])
    ]
    return np.concatenate(parts)


def quantiles(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends, each float64 (m,), of the 95 % percentile interval of float64 (resamples, m)."""
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    return low, high


def sign_flip_p(groups: Sequence[NDArray[np.float64]], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return two-sided p of the paired randomisation test, on the mean of the groups' means.

    For 20,000 rows and more the test's normal limit stands for the random patterns.

    Args:
        groups: Differences, each float64 (n_i, m), a row a query; one group is the ordinary test.
        resamples: Random sign patterns; where there are no more patterns than that, all are taken, and p is exact.
        seed: Of the patterns.

    Returns:
        float64 (m,), never 0.
    """
    # A query's share of the statistic: the mean over groups of the mean over queries is a plain sum of these rows.
    shares = np.concatenate([group / (len(group) * len(groups)) for group in groups])
    observed = np.abs(shares.sum(axis=0)) - 1e-12
    rows = len(shares)
    if rows < 63 and 2**rows <= resamples:
        patterns = (np.arange(2**rows)[:, None] >> np.arange(rows)) & 1
        exact: NDArray[np.float64] = (np.abs((1.0 - 2.0 * patterns) @ shares) >= observed).mean(axis=0)
        return exact
    if rows >= _NORMAL_FROM:
        return _normal_p(observed, shares)
    rng = np.random.default_rng(seed)
    extreme = np.zeros(shares.shape[1])
    for size in _chunks(resamples, rows):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (size, rows), dtype=np.int8)
        extreme += (np.abs(signs @ shares) >= observed).sum(axis=0)
    sampled: NDArray[np.float64] = (extreme + 1) / (resamples + 1)
    return sampled


def _normal_p(observed: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    # A random sign leaves a share's square: the sum's variance under the hypothesis is the sum of squares.
    spread = np.sqrt((shares**2).sum(axis=0))
    z = np.maximum(observed, 0.0) / np.where(spread > 0, spread, 1.0)
    # As in sampling, p is never 0: the smallest normal number stands for what lies beyond.
    return np.maximum([math.erfc(value / math.sqrt(2)) for value in z], np.finfo(np.float64).tiny)


def check_resamples(resamples: int) -> None:
    """Refuse too few resamples for a 95 % interval.

    Raises:
        EvaluationError: ``resamples`` is below 100.
    """
    if resamples < 100:
        raise EvaluationError(f"Expected 100 resamples or more, got {resamples}.")


def show_p(p: float) -> str:
    """Return p with four decimals; one too small for them as ``<.0001``."""
    return f"{p:.4f}" if p >= 0.0001 else "<.0001"


def _chunks(total: int, width: int) -> Iterator[int]:
    size = max(1, _CELLS // max(1, width))
    while total > 0:
        yield min(size, total)
        total -= size
