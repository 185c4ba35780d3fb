"""How much of its document a passage's score should have: a source weight fitted on judged queries."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semantic_ranker.evaluation.metrics import Qrels, Run, evaluate
from semantic_ranker.evaluation.names import canonical_metric
from semantic_ranker.fusion_weight import best_row, check_queries, check_weights
from semantic_ranker.sources import drawn_run

# Up to a half: a passage speaks for itself at least as loudly as its document.
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(6))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWeight:
    """A fitted weight.

    Attributes:
        weight: Share of the best passage of the same source in a passage's score, 0 (none) to 1.
        metric: Canonical name of what it was fitted for.
        mean: The metric's mean with that weight, on the queries that it was fitted on: flattering.
        by_weight: Mean of each weight tried.
    """

    weight: float
    metric: str
    mean: float
    by_weight: dict[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "weight": self.weight,
            "metric": self.metric,
            "mean": self.mean,
            "by_weight": {f"{weight:g}": mean for weight, mean in self.by_weight.items()},
        }


def fit_source_weight(
    run: Run,
    sources: Mapping[str, Hashable],
    qrels: Qrels,
    metric: str = "nDCG@10",
    *,
    weights: Sequence[float] = WEIGHTS,
) -> SourceWeight:
    """Choose the weight of `drawn_to_sources` on judged queries.

    Args:
        run: The reranker's scores by query id, then passage id.
        sources: The document of each passage; passages without one keep their scores.
        qrels: Judgments; synthetic queries will do where people's are not at hand.
        metric: What is to be highest, in any usual spelling.
        weights: Weights to try; the means of neighbours are averaged before the best is chosen, and of equals the
            smallest is.

    Raises:
        EvaluationError: There are fewer than 10 judged queries, or the metric is unknown.
        InvalidInputError: A weight is outside 0 to 1, or there is none.
    """
    tried = check_weights(weights)[::-1]  # of equals the later row is taken: here the smallest
    name = canonical_metric(metric)
    found = [evaluate(drawn_run(run, sources, weight), qrels, [name]).per_query[name] for weight in tried]
    queries = sorted(found[0])
    check_queries(queries, "a source weight", "leave the weight at 0")
    table = np.array([[values[query] for query in queries] for values in found])
    best = best_row(table)
    return SourceWeight(
        weight=tried[best],
        metric=name,
        mean=float(table[best].mean()),
        by_weight=dict(sorted(zip(tried, table.mean(1).tolist(), strict=True))),
    )
