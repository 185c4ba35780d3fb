"""Several systems against one baseline, with one correction over all of the comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semantic_ranker.collections import StrPath
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate
from semantic_ranker.evaluation.resampling import RESAMPLES, check_resamples, holm
from semantic_ranker.evaluation.significance import Comparison, paired


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemsComparison:
    """Several systems against one baseline; index it by system name.

    Attributes:
        systems: Comparison of the baseline (A) with each system (B), by name. Each ``adjusted_p`` is corrected over
            all systems and metrics.
    """

    systems: dict[str, Comparison]

    def __getitem__(self, name: str) -> Comparison:
        return self.systems[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {name: found.to_dict() for name, found in self.systems.items()}

    def __str__(self) -> str:
        return "\n\n".join(f"{name}\n{found}" for name, found in self.systems.items())


def compare_many(
    baseline: Run | StrPath,
    runs: Mapping[str, Run | StrPath],
    qrels: Qrels | StrPath,
    metrics: str | Sequence[str] = ("nDCG@10",),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SystemsComparison:
    """Compare several runs with one baseline as `compare` does, p corrected by Holm over all systems and metrics.

    Args:
        baseline: The run to beat, in any form that `evaluate` takes.
        runs: The runs on trial, by name.
        qrels: Judgments; a judged query that a run lacks counts as zero there.
        metrics: Names in any usual spelling.
        resamples: Resamples, 100 or more.
        seed: Equal seeds give equal results.

    Raises:
        EvaluationError: As for `evaluate`, or there are no runs, or ``resamples`` is below 100.
    """
    check_resamples(resamples)
    return compare_evaluations(
        evaluate(baseline, qrels, metrics),
        {name: evaluate(run, qrels, metrics) for name, run in runs.items()},
        resamples=resamples,
        seed=seed,
    )


def compare_evaluations(
    baseline: Evaluation, others: Mapping[str, Evaluation], *, resamples: int = RESAMPLES, seed: int = 0
) -> SystemsComparison:
    """Return `compare_many` of evaluations by the same judgments and metrics.

    Raises:
        EvaluationError: There are none, they have other queries or metrics, or ``resamples`` is below 100.
    """
    check_resamples(resamples)
    if not others:
        raise EvaluationError("Expected at least one run to compare with the baseline, got none.")
    for name, other in others.items():
        _check_alike(name, baseline, other)
    found = {name: paired(baseline, other, resamples, seed) for name, other in others.items()}
    adjusted = iter(holm([metric.p_value for of in found.values() for metric in of.metrics]))
    return SystemsComparison(
        systems={
            name: replace(of, metrics=tuple(replace(metric, adjusted_p=next(adjusted)) for metric in of.metrics))
            for name, of in found.items()
        }
    )


def _check_alike(name: str, a: Evaluation, b: Evaluation) -> None:
    if a.mean.keys() != b.mean.keys() or any(a.per_query[of].keys() != b.per_query[of].keys() for of in a.mean):
        raise EvaluationError(
            f"Expected {name!r} to be measured by the baseline's metrics and judgments ({', '.join(a.mean)}), got "
            f"others ({', '.join(b.mean)}): evaluate both in the same way."
        )
