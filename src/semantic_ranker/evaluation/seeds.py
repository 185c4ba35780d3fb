"""Two ways of training compared over several seeds each: one lucky seed is no result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.collections import StrPath
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate
from semantic_ranker.evaluation.names import canonical_metrics
from semantic_ranker.evaluation.resampling import RESAMPLES, bootstrap_means, check_resamples, quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsMetric:
    """One metric of way B against way A.

    Attributes:
        metric: Canonical name.
        mean_a: Mean of way A over queries and seeds.
        mean_b: Mean of way B.
        sd_a: Standard deviation of way A's means over its seeds.
        sd_b: The same of way B.
        difference: ``mean_b - mean_a``.
        low: Lower end of the difference's 95 % bootstrap interval, over queries and seeds.
        high: Upper end.
        better: Share, 0 to 1, of the pairs of a seed of B and a seed of A in which B is better; half for a tie.
        by_seed_a: Mean of each seed of A.
        by_seed_b: Mean of each seed of B.
    """

    metric: str
    mean_a: float
    mean_b: float
    sd_a: float
    sd_b: float
    difference: float
    low: float
    high: float
    better: float
    by_seed_a: dict[str, float]
    by_seed_b: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsComparison:
    """Way B against way A; index it by canonical metric name.

    Attributes:
        metrics: One entry a metric.
        queries: How many queries were compared.
        resamples: Resamples of the interval.
        seed: Seed of the resampling.
    """

    metrics: tuple[SeedsMetric, ...]
    queries: int
    resamples: int
    seed: int

    def __getitem__(self, metric: str) -> SeedsMetric:
        for found in self.metrics:
            if found.metric == metric:
                return found
        raise KeyError(metric)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {**asdict(self), "metrics": [asdict(found) for found in self.metrics]}

    def __str__(self) -> str:
        head = (
            f"{'metric':<12} {'A':>7} {'sd':>6} {'B':>7} {'sd':>6} {'B - A':>8}  {'95 % interval':<19} {'B better':>8}"
        )
        rows = [
            f"{m.metric:<12} {m.mean_a:7.4f} {m.sd_a:6.4f} {m.mean_b:7.4f} {m.sd_b:6.4f} {m.difference:+8.4f}  "
            f"{f'[{m.low:+.4f}, {m.high:+.4f}]':<19} {m.better:8.0%}"
            for m in self.metrics
        ]
        seeds = f"{len(self.metrics[0].by_seed_a)} and {len(self.metrics[0].by_seed_b)} seeds"
        return "\n".join([head, *rows, f"{self.queries} queries, {seeds}, {self.resamples} resamples"])


def compare_seeds(
    runs_a: Mapping[Hashable, Run | StrPath],
    runs_b: Mapping[Hashable, Run | StrPath],
    qrels: Qrels | StrPath,
    metrics: str | Sequence[str] = ("nDCG@10",),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SeedsComparison:
    """Compare two ways of training, each run with several seeds; differences are B minus A.

    Every resample draws queries, the same ones for all runs, and seeds, for A and B apart: the interval speaks of
    new queries and of another training run. With few seeds it is too narrow (two seeds show little of their spread).

    Args:
        runs_a: Runs of the way to beat by training seed, two or more, in any form that `evaluate` takes.
        runs_b: Runs of the way on trial, likewise; the seeds need not be the same.
        qrels: Judgments, likewise.
        metrics: Names in any usual spelling.
        resamples: Resamples, 100 or more.
        seed: Of the resampling; equal seeds give equal results.

    Raises:
        EvaluationError: As for `evaluate`, or a way has fewer than two seeds, or there are fewer than 100 resamples.
    """
    check_resamples(resamples)
    if min(len(runs_a), len(runs_b)) < 2:
        raise EvaluationError(
            f"Expected two training seeds or more of each, got {len(runs_a)} and {len(runs_b)}: "
            "compare single runs with compare()."
        )
    names = canonical_metrics(metrics)
    a = {str(key): evaluate(run, qrels, names) for key, run in runs_a.items()}
    b = {str(key): evaluate(run, qrels, names) for key, run in runs_b.items()}
    return SeedsComparison(
        metrics=tuple(_of_metric(name, a, b, resamples, seed) for name in names),
        queries=len(next(iter(a.values())).per_query[names[0]]),
        resamples=resamples,
        seed=seed,
    )


def _of_metric(
    name: str, a: Mapping[str, Evaluation], b: Mapping[str, Evaluation], resamples: int, seed: int
) -> SeedsMetric:
    means_a, means_b = _means(name, a), _means(name, b)
    low, high = quantiles(_differences(_values(name, a), _values(name, b), resamples, seed)[:, None])
    above = np.sign(means_b[:, None] - means_a[None, :])
    return SeedsMetric(
        metric=name,
        mean_a=float(means_a.mean()),
        mean_b=float(means_b.mean()),
        sd_a=float(means_a.std(ddof=1)),
        sd_b=float(means_b.std(ddof=1)),
        difference=float(means_b.mean() - means_a.mean()),
        low=float(low[0]),
        high=float(high[0]),
        better=float((above / 2 + 0.5).mean()),
        by_seed_a={key: of.mean[name] for key, of in a.items()},
        by_seed_b={key: of.mean[name] for key, of in b.items()},
    )


def _differences(a: NDArray[np.float64], b: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return resampled differences, float64 (resamples,), of float64 (queries, seeds) each."""
    means = bootstrap_means(np.hstack([a, b]), resamples, seed)
    rng = np.random.default_rng([seed, 1])
    return _drawn(means[:, a.shape[1] :], rng) - _drawn(means[:, : a.shape[1]], rng)


def _drawn(means: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    chosen = rng.integers(0, means.shape[1], means.shape)
    drawn: NDArray[np.float64] = np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    return drawn


def _means(name: str, of: Mapping[str, Evaluation]) -> NDArray[np.float64]:
    return np.array([found.mean[name] for found in of.values()])


def _values(name: str, of: Mapping[str, Evaluation]) -> NDArray[np.float64]:
    # Judgments decide the queries and their order, so the columns fit together.
    return np.array([list(found.per_query[name].values()) for found in of.values()]).T
