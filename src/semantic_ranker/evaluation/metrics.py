"""Retrieval metrics with trec_eval's meaning and one tie rule; the arithmetic is ir_measures'."""

from __future__ import annotations

import math
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from semantic_ranker.collections import StrPath
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.files import read_qrels_file, read_run_file
from semantic_ranker.evaluation.names import canonical_metrics

Run: TypeAlias = Mapping[str, Mapping[str, float]]
"""Scores by query id, then document id; higher is better."""

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]
"""Relevance grades by query id, then document id; 0 is judged and not relevant."""

DEFAULT_METRICS = ("nDCG@10", "RR@10", "Recall@100")

_FOREIGN_FROM = 10  # queries; in fewer, a bad run of the right collection may well find no judged document
_QUERIES_AT_ONCE = 5_000  # bounds what the copy for trec_eval costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics of one run.

    Attributes:
        mean: Mean over the judged queries, by canonical name.
        per_query: Value of each judged query, by canonical name, then query id.
        tied: Share of the ranked documents, 0 to 1, that the tie rule placed and not their score.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]
    tied: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        per_query = {name: dict(of) for name, of in self.per_query.items()}
        return {"mean": dict(self.mean), "per_query": per_query, "tied": self.tied}

    def __str__(self) -> str:
        width = max(map(len, self.mean))
        return "\n".join(f"{name:<{width}}  {value:.4f}" for name, value in self.mean.items())


def evaluate(
    run: Run | StrPath,
    qrels: Qrels | StrPath,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    *,
    corpus: Container[str] | None = None,
) -> Evaluation:
    """Measure a run against judgments.

    Means go over every judged query: one that the run lacks counts as zero. Unjudged documents are not relevant,
    and grades below zero count as zero. The ideal ranking of nDCG, and the denominators of recall and average
    precision, are over all judged documents, retrieved or not. Gains are linear (trec_eval's nDCG). Equal scores
    are ordered by document id, whatever the order of insertion.

    Args:
        run: Scores, or a TREC run file, or a ``.json`` file; queries without judgments are left out.
        qrels: Judgments, or a file of them, or a BEIR folder, whose test split is meant.
        metrics: Names in any usual spelling, see `canonical_metric`.
        corpus: Ids that there are, such as a collection's ``corpus``; a run with others is then refused.

    Raises:
        EvaluationError: A metric is unknown, there are no judgments, run and judgments share no query (or not one
            document, where they share ten queries or less than half of the run's), a score is NaN or no number, a
            grade is not a whole number, an id is not a string or not in ``corpus``, or a file cannot be read.
    """
    names = canonical_metrics(metrics)
    run, qrels = _read(run, qrels)
    judged = _check_qrels(qrels)
    ranked = {qid: run[qid] for qid in judged if qid in run}
    for qid, scores in ranked.items():
        _check_scores(qid, scores, corpus)
    _check_collection(run, judged, ranked, ids_known=corpus is not None)
    per_query = {name: dict.fromkeys(judged, 0.0) for name in names}
    for part in _parts([qid for qid, scores in ranked.items() if scores]):
        # Scores become ranks, because ir_measures' providers break ties in two opposite ways.
        ranks = {qid: _by_rank(ranked[qid]) for qid in part}
        _measure(per_query, {qid: judged[qid] for qid in part}, ranks)
    return Evaluation(
        mean={name: float(np.mean(list(per_query[name].values()))) for name in names},
        per_query=per_query,
        tied=_tied([run[qid] for qid in ranked]),
    )


def rank_documents(scores: Mapping[str, float]) -> list[str]:
    """Return the document ids, best first, equal scores by id.

    Args:
        scores: Scores by document id, none of them NaN.
    """
    return sorted(scores, key=lambda document: (-scores[document], document))


def _measure(
    per_query: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]
) -> None:
    import ir_measures

    measures = {ir_measures.parse_measure(name.replace("Recall", "R")): name for name in per_query}
    for found in ir_measures.iter_calc(list(measures), qrels, run):
        per_query[measures[found.measure]][found.query_id] = float(found.value)


def _parts(qids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(qids), _QUERIES_AT_ONCE):
        yield qids[start : start + _QUERIES_AT_ONCE]


def _read(run: Run | StrPath, qrels: Qrels | StrPath) -> tuple[Run, Qrels]:
    if isinstance(run, (str, os.PathLike)):
        run = read_run_file(run)
    if isinstance(qrels, (str, os.PathLike)):
        qrels = read_qrels_file(qrels)
    return run, qrels


def _tied(rankings: Sequence[Mapping[str, float]]) -> float:
    ranked = sum(map(len, rankings))
    return sum(len(scores) - len(set(scores.values())) for scores in rankings) / ranked if ranked else 0.0


def _by_rank(scores: Mapping[str, float]) -> dict[str, float]:
    order = rank_documents(scores)
    return {document: float(len(order) - rank) for rank, document in enumerate(order)}


def _check_scores(qid: str, scores: Mapping[str, float], corpus: Container[str] | None) -> None:
    if not isinstance(scores, Mapping):
        raise EvaluationError(
            f"Expected scores by document id for query {qid!r} of the run, got a {type(scores).__name__}."
        )
    for document, score in scores.items():
        if not isinstance(document, str):
            raise EvaluationError(f"Expected str document ids, got {document!r} for query {qid!r} of the run.")
        if not _is_number(score):
            raise EvaluationError(f"Expected numbers as scores, got {score!r} for query {qid!r}, {document!r}.")
        if math.isnan(score):
            raise EvaluationError(
                f"Expected scores that can be ordered, got NaN for query {qid!r}, document {document!r}."
            )
        if corpus is not None and document not in corpus:
            raise EvaluationError(
                f"Expected documents of the collection, got {document!r} for query {qid!r}: was the run made on it?"
            )


def _check_collection(run: Run, judged: Qrels, ranked: Run, *, ids_known: bool) -> None:
    if not ranked:
        raise EvaluationError(
            f"Expected run and judgments to share queries, got none in common (the run has {_some(run)}; "
            f"the judgments have {_some(judged)}): do the ids come from the same collection?"
        )
    # A few ids in common, of a run that has many others, are as good as none.
    few = len(ranked) < _FOREIGN_FROM and 2 * len(ranked) > len(run)
    if ids_known or few or not any(ranked.values()):
        return
    known = {document for grades in judged.values() for document in grades}
    if not any(document in known for scores in ranked.values() for document in scores):
        raise EvaluationError(
            f"Expected a run of the judged collection, got {len(ranked)} queries without one document that is judged "
            f"for any query (the run has {_some(next(filter(None, ranked.values())))}; the judgments have "
            f"{_some(dict.fromkeys(known))}): is it a run of another collection?"
        )


def _check_qrels(qrels: Qrels) -> dict[str, dict[str, int]]:
    checked: dict[str, dict[str, int]] = {}
    for qid, grades in qrels.items():
        if not isinstance(qid, str):
            raise EvaluationError(f"Expected str query ids, got {qid!r} in the judgments.")
        if not isinstance(grades, Mapping):
            raise EvaluationError(f"Expected grades by document id for query {qid!r}, got a {type(grades).__name__}.")
        if grades:
            checked[qid] = {document: _grade(qid, document, grade) for document, grade in grades.items()}
    if not checked:
        raise EvaluationError("Expected judgments, got none: no query has a judged document.")
    return checked


def _grade(qid: str, document: object, grade: float) -> int:
    if not isinstance(document, str):
        raise EvaluationError(f"Expected str document ids, got {document!r} for query {qid!r} of the judgments.")
    if not _is_number(grade) or not math.isfinite(grade) or grade != int(grade):
        raise EvaluationError(
            f"Expected whole relevance grades, got {grade!r} for query {qid!r}, document {document!r}."
        )
    return max(int(grade), 0)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def _some(of: Mapping[str, Any]) -> str:
    return f"{len(of)}, such as {next(iter(of))!r}" if of else "none"
