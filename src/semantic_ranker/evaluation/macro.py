"""Means over several collections, each weighing the same, with stratified intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.resampling import (
    RESAMPLES,
    as_column,
    bootstrap_means,
    check_resamples,
    quantiles,
    show_p,
    sign_flip_p,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class MacroComparison:
    """System B against system A over several collections.

    Attributes:
        mean_a: Mean over collections of system A's mean over queries.
        mean_b: The same of system B.
        difference: ``mean_b - mean_a``.
        low: Lower end of the difference's 95 % stratified bootstrap interval.
        high: Upper end.
        p_value: Two-sided, of the paired randomisation test on the macro mean.
        per_collection: Difference of each collection, in the order given.
        queries: Queries of each collection.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    per_collection: tuple[float, ...]
    queries: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return asdict(self) | {"per_collection": list(self.per_collection), "queries": list(self.queries)}

    def __str__(self) -> str:
        return (
            f"A {self.mean_a:.4f}, B {self.mean_b:.4f}, B - A {self.difference:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}], p {show_p(self.p_value)}, "
            f"{len(self.queries)} collections, {sum(self.queries)} queries"
        )


def macro_compare(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], *, resamples: int = RESAMPLES, seed: int = 0
) -> MacroComparison:
    """Compare two systems over several collections; differences are B minus A.

    Every collection weighs the same. The bootstrap resamples queries inside each collection, so the interval
    speaks of new queries on these collections, not of new collections.

    Args:
        pairs: For each collection one metric of system A and of system B by query id, such as
            ``evaluate(...).per_query["nDCG@10"]``.
        resamples: Resamples, 100 or more.
        seed: Equal seeds give equal results.

    Raises:
        EvaluationError: There is no collection or no query, the two systems have other queries, a value is not
            finite, or ``resamples`` is below 100.
    """
    for index, (a, b) in enumerate(pairs):
        if a.keys() != b.keys():
            raise EvaluationError(
                f"Expected the same queries of both systems in collection {index}, got {len(a.keys() - b.keys())} "
                f"only in A and {len(b.keys() - a.keys())} only in B: evaluate both against the same judgments."
            )
    groups = [as_column([b[qid] - a[qid] for qid in a]) for a, b in pairs]
    low, high = _stratified(groups, resamples, seed)
    return MacroComparison(
        mean_a=_macro_mean([as_column(a) for a, _ in pairs]),
        mean_b=_macro_mean([as_column(b) for _, b in pairs]),
        difference=_macro_mean(groups),
        low=low,
        high=high,
        p_value=float(sign_flip_p(groups, resamples, seed)[0]),
        per_collection=tuple(float(group.mean()) for group in groups),
        queries=tuple(len(group) for group in groups),
    )


def macro_interval(
    values: Sequence[Mapping[str, float]], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % stratified bootstrap interval of the mean over collections.

    Args:
        values: For each collection one value a query.
        resamples: Resamples, 100 or more.
        seed: Equal seeds give equal results.

    Raises:
        EvaluationError: There is no collection or no query, a value is not finite, or ``resamples`` is below 100.
    """
    return _stratified([as_column(of) for of in values], resamples, seed)


def _stratified(groups: list[NDArray[np.float64]], resamples: int, seed: int) -> tuple[float, float]:
    check_resamples(resamples)
    if not groups:
        raise EvaluationError("Expected at least one collection, got none.")
    # A stream of its own for each collection: shared draws would tie collections of equal size together.
    seeds = np.random.SeedSequence(seed).generate_state(len(groups))
    means = [bootstrap_means(group, resamples, int(own)) for group, own in zip(groups, seeds, strict=True)]
    low, high = quantiles(np.mean(means, axis=0))
    return float(low[0]), float(high[0])


def _macro_mean(groups: Sequence[NDArray[np.float64]]) -> float:
    return float(np.mean([group.mean() for group in groups]))
