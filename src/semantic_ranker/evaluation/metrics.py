"""Retrieval metrics with trec_eval's meaning and one tie rule; the arithmetic is ir_measures'."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semantic_ranker.collections import StrPath, read_qrels, read_run
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.names import canonical_metrics

Run: TypeAlias = Mapping[str, Mapping[str, float]]
"""Scores by query id, then document id; higher is better."""

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]
"""Relevance grades by query id, then document id; 0 is judged and not relevant."""

DEFAULT_METRICS = ("nDCG@10", "RR@10", "Recall@100")


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


def evaluate(run: Run | StrPath, qrels: Qrels | StrPath, metrics: str | Sequence[str] = DEFAULT_METRICS) -> Evaluation:
    """Measure a run against judgments.

    Means go over every judged query: one that the run lacks counts as zero. Unjudged documents are not relevant,
    and grades below zero count as zero. The ideal ranking of nDCG, and the denominators of recall and average
    precision, are over all judged documents, retrieved or not. Gains are linear (trec_eval's nDCG). Equal scores
    are ordered by document id, whatever the order of insertion.

    Args:
        run: Scores, or a TREC run file; queries without judgments are left out.
        qrels: Judgments, or a file of them, or a BEIR folder, whose test split is meant.
        metrics: Names in any usual spelling, see `canonical_metric`.

    Raises:
        EvaluationError: A metric is unknown, there are no judgments, run and judgments share no query, a score is
            NaN, a grade is not a whole number, an id is not a string, or a file cannot be read.
    """
    names = canonical_metrics(metrics)
    run, qrels = _read(run, qrels)
    judged = _check_qrels(qrels)
    ranked = {qid: _by_rank(qid, run[qid]) for qid in judged if qid in run}
    if not ranked:
        raise EvaluationError(
            f"Expected run and judgments to share queries, got none in common (the run has {_some(run)}; "
            f"the judgments have {_some(qrels)}): do the ids come from the same collection?"
        )
    per_query = _measure(names, judged, {qid: scores for qid, scores in ranked.items() if scores})
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
    names: Sequence[str], qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    import ir_measures

    measures = {ir_measures.parse_measure(name.replace("Recall", "R")): name for name in names}
    per_query = {name: dict.fromkeys(qrels, 0.0) for name in names}
    if run:
        for found in ir_measures.iter_calc(list(measures), qrels, run):
            per_query[measures[found.measure]][found.query_id] = float(found.value)
    return per_query


def _read(run: Run | StrPath, qrels: Qrels | StrPath) -> tuple[Run, Qrels]:
    if isinstance(run, (str, os.PathLike)):
        run = read_run(run)
    if isinstance(qrels, (str, os.PathLike)):
        qrels = read_qrels(Path(qrels) / "qrels" / "test.tsv" if Path(qrels).is_dir() else qrels)
    return run, qrels


def _tied(rankings: Sequence[Mapping[str, float]]) -> float:
    ranked = sum(map(len, rankings))
    return sum(len(scores) - len(set(scores.values())) for scores in rankings) / ranked if ranked else 0.0


def _by_rank(qid: str, scores: Mapping[str, float]) -> dict[str, float]:
    # Strictly decreasing scores, because ir_measures' providers break ties in two opposite ways.
    for document, score in scores.items():
        if not isinstance(document, str):
            raise EvaluationError(f"Expected str document ids, got {document!r} for query {qid!r} of the run.")
        if math.isnan(score):
            raise EvaluationError(
                f"Expected scores that can be ordered, got NaN for query {qid!r}, document {document!r}."
            )
    order = rank_documents(scores)
    return {document: float(len(order) - rank) for rank, document in enumerate(order)}


def _check_qrels(qrels: Qrels) -> dict[str, dict[str, int]]:
    checked: dict[str, dict[str, int]] = {}
    for qid, grades in qrels.items():
        if not isinstance(qid, str):
            raise EvaluationError(f"Expected str query ids, got {qid!r} in the judgments.")
        if grades:
            checked[qid] = {document: _grade(qid, document, grade) for document, grade in grades.items()}
    if not checked:
        raise EvaluationError("Expected judgments, got none: no query has a judged document.")
    return checked


def _grade(qid: str, document: object, grade: float) -> int:
    if not isinstance(document, str):
        raise EvaluationError(f"Expected str document ids, got {document!r} for query {qid!r} of the judgments.")
    if not math.isfinite(grade) or grade != int(grade):
        raise EvaluationError(
            f"Expected whole relevance grades, got {grade!r} for query {qid!r}, document {document!r}."
        )
    return max(int(grade), 0)


def _some(of: Mapping[str, Any]) -> str:
    return f"{len(of)}, such as {next(iter(of))!r}" if of else "none"
