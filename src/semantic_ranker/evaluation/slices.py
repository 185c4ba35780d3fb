"""Where one run is better than another: the comparison again, for each kind of query."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from semantic_ranker.collections import StrPath
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate
from semantic_ranker.evaluation.resampling import RESAMPLES, check_resamples, holm, show_p
from semantic_ranker.evaluation.significance import paired

Grouping: TypeAlias = Mapping[str, str | None] | Callable[[str], str | None]
"""Label of each query id; None, or no entry, leaves a query out."""

_QUERY_WORDS = (4, 8, 16)
_PASSAGE_WORDS = (50, 100, 200, 400)
SMALLEST = 6
"""Queries that a slice needs for an interval: with five the sign-flip test cannot come below p = 0.0625."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One kind of query.

    Attributes:
        label: Its name.
        queries: How many there are.
        mean_a: Mean of run A over them.
        mean_b: Mean of run B.
        difference: ``mean_b - mean_a``.
        low: Lower end of the difference's 95 % bootstrap interval; None where there are fewer than `SMALLEST` queries,
            which say nothing about others.
        high: Upper end, or None likewise.
        p_value: Two-sided, of the paired randomisation test, or None likewise.
        adjusted_p: The same after Holm's correction over the slices that are tested, or None likewise.
    """

    label: str
    queries: int
    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p: float | None

    @property
    def is_too_small(self) -> bool:
        """Whether there are too few queries to say anything beyond them."""
        return self.low is None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceComparison:
    """Run B against run A, a slice at a time; index it by label.

    Attributes:
        metric: Canonical name of what was measured.
        slices: One entry a label, in the order the labels first came.
        unlabelled: Judged queries without a label, which are in no slice.
    """

    metric: str
    slices: tuple[Slice, ...]
    unlabelled: int

    def __getitem__(self, label: str) -> Slice:
        for found in self.slices:
            if found.label == label:
                return found
        raise KeyError(label)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {**asdict(self), "slices": [asdict(found) for found in self.slices]}

    def __str__(self) -> str:
        width = max(5, *(len(found.label) for found in self.slices))
        head = (
            f"{'slice':<{width}} {'queries':>7} {'A':>7} {'B':>7} {'B - A':>8}  {'95 % interval':<19} {'p Holm':>7}"
            f"  ({self.metric})"
        )
        rows = [
            f"{s.label:<{width}} {s.queries:>7} {s.mean_a:7.4f} {s.mean_b:7.4f} {s.difference:+8.4f}  {_certainty(s)}"
            for s in self.slices
        ]
        return "\n".join([head, *rows])


def compare_slices(
    run_a: Run | StrPath,
    run_b: Run | StrPath,
    qrels: Qrels | StrPath,
    groups: Grouping,
    metric: str = "nDCG@10",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SliceComparison:
    """Compare two runs for each kind of query as `compare` does, p corrected by Holm over the kinds.

    A kind of fewer than `SMALLEST` queries keeps its means, but gets no interval and no p.

    Args:
        run_a: The run to beat, in any form that `evaluate` takes.
        run_b: The run on trial, likewise.
        qrels: Judgments, likewise.
        groups: Label of each query id; see `query_length_groups`, `passage_length_groups` and `source_groups`.
        metric: Name in any usual spelling.
        resamples: Resamples, 100 or more.
        seed: Equal seeds give equal results.

    Raises:
        EvaluationError: As for `compare`, or no judged query has a label.
    """
    return slice_evaluations(
        evaluate(run_a, qrels, metric), evaluate(run_b, qrels, metric), groups, resamples=resamples, seed=seed
    )


def slice_evaluations(
    a: Evaluation, b: Evaluation, groups: Grouping, *, resamples: int = RESAMPLES, seed: int = 0
) -> SliceComparison:
    """Return `compare_slices` of two evaluations by the same judgments, for the first metric of ``a``.

    Raises:
        EvaluationError: No judged query has a label, or there are fewer than 100 resamples.
    """
    check_resamples(resamples)
    metric = next(iter(a.mean))
    members = _members(groups, a.per_query[metric])
    found = [_slice(label, a, b, metric, qids, resamples, seed) for label, qids in members.items()]
    tested = [of.p_value for of in found if of.p_value is not None]
    adjusted = iter(holm(tested))
    return SliceComparison(
        metric=metric,
        slices=tuple(of if of.p_value is None else replace(of, adjusted_p=next(adjusted)) for of in found),
        unlabelled=len(a.per_query[metric]) - sum(map(len, members.values())),
    )


def query_length_groups(queries: Mapping[str, str], bounds: Sequence[int] = _QUERY_WORDS) -> dict[str, str]:
    """Return a label such as ``4-7 words`` by query id, shortest first.

    Args:
        queries: Text by query id.
        bounds: Where the next group begins, in words parted by spaces, increasing.

    Raises:
        EvaluationError: The bounds do not increase.
    """
    return _by_length({qid: len(text.split()) for qid, text in queries.items()}, bounds, "words")


def passage_length_groups(
    corpus: Mapping[str, str], qrels: Qrels, bounds: Sequence[int] = _PASSAGE_WORDS
) -> dict[str, str]:
    """Return a label by query id for the length of its relevant passages, on average, shortest first.

    Queries without a relevant passage in the corpus get none.

    Args:
        corpus: Text by document id.
        qrels: Judgments.
        bounds: Where the next group begins, in words parted by spaces, increasing.

    Raises:
        EvaluationError: The bounds do not increase.
    """
    means: dict[str, float] = {}
    for qid, grades in qrels.items():
        words = [
            len(corpus[document].split()) for document, grade in grades.items() if grade > 0 and document in corpus
        ]
        if words:
            means[qid] = sum(words) / len(words)
    return _by_length(means, bounds, "words")


def source_groups(qrels: Qrels, source: Mapping[str, str] | Callable[[str], str | None]) -> dict[str, str]:
    """Return a label by query id for where its relevant documents come from, ``several sources`` if they differ.

    Args:
        qrels: Judgments.
        source: Source of each document id; None, or no entry, is not known.
    """
    of = source if callable(source) else source.get
    found: dict[str, str] = {}
    for qid, grades in qrels.items():
        known = {name for document, grade in grades.items() if grade > 0 and (name := of(document)) is not None}
        if known:
            found[qid] = known.pop() if len(known) == 1 else "several sources"
    return found


def _by_length(lengths: Mapping[str, float], bounds: Sequence[int], unit: str) -> dict[str, str]:
    if not bounds or list(bounds) != sorted(set(bounds)):
        raise EvaluationError(f"Expected bounds that increase, such as {_QUERY_WORDS}, got {tuple(bounds)!r}.")
    edges = [0, *bounds]
    names = [f"{low}-{high - 1} {unit}" for low, high in zip(edges, bounds, strict=False)]
    names.append(f"{bounds[-1]} {unit} and more")
    ordered = sorted(lengths.items(), key=lambda item: item[1])
    return {qid: names[bisect_right(bounds, length)] for qid, length in ordered}


def _slice(
    label: str, a: Evaluation, b: Evaluation, metric: str, qids: Sequence[str], resamples: int, seed: int
) -> Slice:
    compared = paired(_only(a, metric, qids), _only(b, metric, qids), resamples, seed).metrics[0]
    enough = len(qids) >= SMALLEST
    return Slice(
        label=label,
        queries=len(qids),
        mean_a=compared.mean_a,
        mean_b=compared.mean_b,
        difference=compared.difference,
        low=compared.low if enough else None,
        high=compared.high if enough else None,
        p_value=compared.p_value if enough else None,
        adjusted_p=compared.p_value if enough else None,
    )


def _certainty(of: Slice) -> str:
    if of.low is None or of.high is None or of.adjusted_p is None:
        return "too few queries"
    return f"{f'[{of.low:+.4f}, {of.high:+.4f}]':<19} {show_p(of.adjusted_p):>7}"


def _members(groups: Grouping, judged: Mapping[str, float]) -> dict[str, list[str]]:
    label_of = groups if callable(groups) else groups.get
    # In the mapping's own order, so that slices come as their maker sorted them.
    order = judged if callable(groups) else [qid for qid in groups if qid in judged]
    members: dict[str, list[str]] = {}
    for qid in order:
        label = label_of(qid)
        if label is not None:
            members.setdefault(str(label), []).append(qid)
    if not members:
        raise EvaluationError(f"Expected a label for judged queries, got none for {len(judged)}: are these their ids?")
    return members


def _only(of: Evaluation, metric: str, qids: Sequence[str]) -> Evaluation:
    values = {qid: of.per_query[metric][qid] for qid in qids}
    mean = sum(values.values()) / len(values)
    return Evaluation(mean={metric: mean}, per_query={metric: values}, tied=of.tied)
