"""Is one run better than another, or are these the queries' whims: paired tests over queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.collections import StrPath
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 10_000
_LEVEL = 0.95
_CELLS = 2_000_000  # random numbers drawn at once: 16 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of run B against run A.

    Attributes:
        metric: Canonical name.
        mean_a: Mean of run A.
        mean_b: Mean of run B.
        difference: ``mean_b - mean_a``.
        low: Lower end of the difference's 95 % bootstrap interval.
        high: Upper end.
        p_value: Two-sided, of the paired randomisation test.
        adjusted_p: The same after Holm's correction over the metrics compared together.
        per_query: ``b - a`` by query id.
    """

    metric: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    per_query: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Run B against run A, a metric at a time; index it by canonical name.

    Attributes:
        metrics: One entry a metric, in the order asked for.
        queries: How many queries were compared.
        resamples: Resamples of the interval and of the test.
        seed: Seed of both.
    """

    metrics: tuple[MetricComparison, ...]
    queries: int
    resamples: int
    seed: int

    def __getitem__(self, metric: str) -> MetricComparison:
        for found in self.metrics:
            if found.metric == metric:
                return found
        raise KeyError(metric)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {**asdict(self), "metrics": [asdict(found) for found in self.metrics]}

    def __str__(self) -> str:
        head = f"{'metric':<12} {'A':>7} {'B':>7} {'B - A':>8}  {'95 % interval':<19} {'p':>7} {'p Holm':>7}"
        rows = [
            f"{m.metric:<12} {m.mean_a:7.4f} {m.mean_b:7.4f} {m.difference:+8.4f}  "
            f"{f'[{m.low:+.4f}, {m.high:+.4f}]':<19} {m.p_value:7.4f} {m.adjusted_p:7.4f}"
            for m in self.metrics
        ]
        return "\n".join([head, *rows, f"{self.queries} queries, {self.resamples} resamples"])


def compare(
    run_a: Run | StrPath,
    run_b: Run | StrPath,
    qrels: Qrels | StrPath,
    metrics: str | Sequence[str] = ("nDCG@10",),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two runs query by query; differences are B minus A.

    The interval is the percentile bootstrap over queries, the test flips the signs of the differences (all
    combinations where there are few queries), and p is corrected by Holm over the metrics.

    Args:
        run_a: The run to beat, in any form that `evaluate` takes.
        run_b: The run on trial, likewise.
        qrels: Judgments, likewise; a judged query that a run lacks counts as zero there.
        metrics: Names in any usual spelling.
        resamples: Resamples, 100 or more.
        seed: Equal seeds give equal results.

    Raises:
        EvaluationError: As for `evaluate`, or ``resamples`` is below 100.
    """
    check_resamples(resamples)
    return paired(evaluate(run_a, qrels, metrics), evaluate(run_b, qrels, metrics), resamples, seed)


def paired(a: Evaluation, b: Evaluation, resamples: int, seed: int) -> Comparison:
    """Return `compare` of two evaluations by the same judgments and metrics."""
    names = list(a.mean)
    qids = list(a.per_query[names[0]])
    differences = np.array([[b.per_query[name][qid] - a.per_query[name][qid] for name in names] for qid in qids])
    lows, highs = quantiles(bootstrap_means(differences, resamples, seed))
    p_values = sign_flip_p([differences], resamples, seed)
    found = zip(names, differences.T, lows, highs, p_values, holm(p_values.tolist()), strict=True)
    return Comparison(
        metrics=tuple(
            MetricComparison(
                metric=name,
                mean_a=a.mean[name],
                mean_b=b.mean[name],
                difference=float(values.mean()),
                low=float(low),
                high=float(high),
                p_value=float(p),
                adjusted_p=adjusted,
                per_query=dict(zip(qids, values.tolist(), strict=True)),
            )
            for name, values, low, high, p, adjusted in found
        ),
        queries=len(qids),
        resamples=resamples,
        seed=seed,
    )


def interval(
    values: Sequence[float] | Mapping[str, float], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean.

    Args:
        values: One value a query; a mapping by query id is fine.
        resamples: Resamples, 100 or more.
        seed: Equal seeds give equal results.

    Raises:
        EvaluationError: There are no values, one is not finite, or ``resamples`` is below 100.
    """
    check_resamples(resamples)
    low, high = quantiles(bootstrap_means(as_column(values), resamples, seed))
    return float(low[0]), float(high[0])


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

    Args:
        values: float64 (n, m), a row a query.
        resamples: How many means.
        seed: Of the draws.

    Returns:
        float64 (resamples, m).
    """
    rng = np.random.default_rng(seed)
    rows = len(values)
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
    rng = np.random.default_rng(seed)
    extreme = np.zeros(shares.shape[1])
    for size in _chunks(resamples, rows):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (size, rows), dtype=np.int8)
        extreme += (np.abs(signs @ shares) >= observed).sum(axis=0)
    sampled: NDArray[np.float64] = (extreme + 1) / (resamples + 1)
    return sampled


def check_resamples(resamples: int) -> None:
    """Refuse too few resamples for a 95 % interval.

    Raises:
        EvaluationError: ``resamples`` is below 100.
    """
    if resamples < 100:
        raise EvaluationError(f"Expected 100 resamples or more, got {resamples}.")


def _chunks(total: int, width: int) -> Iterator[int]:
    size = max(1, _CELLS // max(1, width))
    while total > 0:
        yield min(size, total)
        total -= size
