"""Is one run better than another, or are these the queries' whims: paired tests over queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semantic_ranker.collections import StrPath
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate
from semantic_ranker.evaluation.resampling import (
    RESAMPLES,
    as_column,
    bootstrap_means,
    check_resamples,
    holm,
    quantiles,
    show_p,
    sign_flip_p,
)


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
        won: Queries where B is better.
        lost: Queries where A is better.
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
    won: int
    lost: int

    def extremes(self, count: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """Return the worst and the best queries for B, at most ``count`` each, the most extreme first.

        Queries that both systems answer equally well are in neither list; equal differences are ordered by query id.
        """
        moved = sorted((item for item in self.per_query.items() if item[1]), key=lambda item: (item[1], item[0]))
        worst = [item for item in moved[:count] if item[1] < 0]
        best = sorted(moved[len(moved) - min(count, len(moved)) :], key=lambda item: (-item[1], item[0]))
        return worst, [item for item in best if item[1] > 0]


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
        head = (
            f"{'metric':<12} {'A':>7} {'B':>7} {'B - A':>8}  {'95 % interval':<19} {'p':>7} {'p Holm':>7} "
            f"{'won':>7} {'lost':>7}"
        )
        rows = [
            f"{m.metric:<12} {m.mean_a:7.4f} {m.mean_b:7.4f} {m.difference:+8.4f}  "
            f"{f'[{m.low:+.4f}, {m.high:+.4f}]':<19} {show_p(m.p_value):>7} {show_p(m.adjusted_p):>7} "
            f"{m.won:>7} {m.lost:>7}"
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
    combinations where there are few queries), and p is corrected by Holm over the metrics. From 20,000 queries on
    both come from the normal distributions that resampling tends to.

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
                won=int((values > 0).sum()),
                lost=int((values < 0).sum()),
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
