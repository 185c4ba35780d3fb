"""How much of the first stage to keep: a fusion weight fitted on judged queries, and what it is worth, honestly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semantic_ranker.errors import EvaluationError, InvalidInputError
from semantic_ranker.evaluation.metrics import Qrels, Run, evaluate
from semantic_ranker.evaluation.names import canonical_metric
from semantic_ranker.fusion import fuse_weighted

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
_FEWEST_QUERIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionWeight:
    """A fitted weight.

    Attributes:
        weight: Share of the reranker's z-scores in the sum, 0 (first stage alone) to 1 (reranker alone).
        metric: Canonical name of what it was fitted for.
        mean: The metric's mean with that weight, on the queries that it was fitted on: flattering.
        held_out: The mean where each query was fused with a weight fitted on other queries: what to expect.
        per_query: The metric by query id, fused with the weight of the other folds.
        by_weight: Mean of each weight tried.
    """

    weight: float
    metric: str
    mean: float
    held_out: float
    per_query: dict[str, float]
    by_weight: dict[float, float]

    def fuse(self, reranked: Run, first_stage: Run) -> dict[str, dict[str, float]]:
        """Return the fused run."""
        return fuse_weighted([reranked, first_stage], [self.weight, 1.0 - self.weight])

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, without the queries."""
        return {
            "weight": self.weight,
            "metric": self.metric,
            "mean": self.mean,
            "held_out": self.held_out,
            "by_weight": {f"{weight:g}": mean for weight, mean in self.by_weight.items()},
        }


def fit_fusion_weight(
    reranked: Run,
    first_stage: Run,
    qrels: Qrels,
    metric: str = "nDCG@10",
    *,
    weights: Sequence[float] = WEIGHTS,
    folds: int = 5,
    seed: int = 0,
) -> FusionWeight:
    """Choose the weight of the reranker in its weighted fusion with the first stage (`fusion.fuse_weighted`).

    Args:
        reranked: The reranker's scores by query id, then document id.
        first_stage: The first stage's scores, likewise.
        qrels: Judgments; synthetic queries will do where people's are not at hand.
        metric: What is to be highest, in any usual spelling.
        weights: Weights to try; the means of neighbours are averaged before the best is chosen, so that one lucky
            weight between two bad ones does not win.
        folds: Groups of queries for the held-out figure, each fused with the weight that the others chose.
        seed: Of the groups.

    Raises:
        EvaluationError: There are fewer than 10 judged queries, or the metric is unknown.
        InvalidInputError: A weight is outside 0 to 1, there is none, or ``folds`` is below 2.
    """
    tried = check_weights(weights)
    if folds < 2:
        raise InvalidInputError(f"Expected 2 folds or more, got {folds}.")
    name = canonical_metric(metric)
    found = [_per_query(reranked, first_stage, qrels, name, weight) for weight in tried]
    queries = sorted(found[0])
    check_queries(queries, "a fusion weight", "fuse by ranks (`fuse_rrf`)")
    table = np.array([[values[query] for query in queries] for values in found])
    fold = np.random.default_rng(seed).permutation(len(queries)) % folds
    chosen = np.array([best_row(table[:, fold != group]) if (fold == group).any() else 0 for group in range(folds)])
    held_out = table[chosen[fold], np.arange(len(queries))]
    best = best_row(table)
    return FusionWeight(
        weight=tried[best],
        metric=name,
        mean=float(table[best].mean()),
        held_out=float(held_out.mean()),
        per_query=dict(zip(queries, held_out.tolist(), strict=True)),
        by_weight=dict(zip(tried, table.mean(1).tolist(), strict=True)),
    )


def _per_query(reranked: Run, first_stage: Run, qrels: Qrels, metric: str, weight: float) -> dict[str, float]:
    fused = fuse_weighted([reranked, first_stage], [weight, 1.0 - weight])
    return evaluate(fused, qrels, [metric]).per_query[metric]


def check_weights(weights: Sequence[float]) -> list[float]:
    """Return the weights, each once, ascending.

    Raises:
        InvalidInputError: One is outside 0 to 1, or there is none.
    """
    tried = sorted(set(weights))
    if not tried or not all(0.0 <= weight <= 1.0 for weight in tried):
        raise InvalidInputError(f"Expected weights between 0 and 1, got {list(weights)}.")
    return tried


def check_queries(queries: Sequence[str], fitted: str, instead: str) -> None:
    """Refuse to fit on too few queries.

    Raises:
        EvaluationError: There are fewer than 10; it names what was to be fitted, and what to do instead.
    """
    if len(queries) < _FEWEST_QUERIES:
        raise EvaluationError(
            f"Expected at least {_FEWEST_QUERIES} judged queries to fit {fitted}, got {len(queries)}: judge more, or "
            f"{instead}."
        )


def best_row(table: np.ndarray[Any, Any]) -> int:
    """Return the row whose mean, averaged with its neighbours', is highest; the later one of equals."""
    means = np.pad(table.mean(1), 1, mode="edge")
    smooth = (means[:-2] + means[1:-1] + means[2:]) / 3.0
    return len(smooth) - 1 - int(np.argmax(np.round(smooth, 12)[::-1]))
