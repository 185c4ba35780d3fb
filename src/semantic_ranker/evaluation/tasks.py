"""Test data of a reranker: queries, candidates and judgments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.metrics import Qrels


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedQuery:
    """A query with its candidates and their relevance: the smallest test data.

    Attributes:
        query: The question.
        documents: The candidates, in the order of the first stage.
        labels: Relevance of each, whole numbers, 0 is not relevant.
    """

    query: str
    documents: Sequence[str]
    labels: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankTask:
    """Candidates of a test collection, to be reranked.

    Attributes:
        queries: Text by query id.
        corpus: Text by document id.
        qrels: Judgments, of all relevant documents, found by the first stage or not.
        candidates: For each query id the candidates: scores by document id, or document ids, best first.
    """

    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    qrels: Qrels
    candidates: Mapping[str, Mapping[str, float] | Sequence[str]]


def as_task(items: Sequence[JudgedQuery | Mapping[str, Any]]) -> RerankTask:
    """Return judged queries as a task, documents in the order of the first stage.

    Raises:
        EvaluationError: There are none, or an item's keys or lengths do not fit.
    """
    if isinstance(items, (str, bytes, Mapping)) or not len(items):
        raise EvaluationError("Expected a RerankTask or a list of judged queries, got something else or no items.")
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for index, item in enumerate(items):
        judged = _as_judged(index, item)
        # Padded numbers, so that equal scores keep the order of the documents.
        qid = f"{index:08d}"
        ids = [f"{qid}-{position:08d}" for position in range(len(judged.documents))]
        queries[qid] = judged.query
        corpus.update(zip(ids, judged.documents, strict=True))
        qrels[qid] = dict(zip(ids, judged.labels, strict=True))
    return RerankTask(
        queries=queries, corpus=corpus, qrels=qrels, candidates={qid: list(grades) for qid, grades in qrels.items()}
    )


def _as_judged(index: int, item: JudgedQuery | Mapping[str, Any]) -> JudgedQuery:
    if isinstance(item, Mapping):
        if set(item) != {"query", "documents", "labels"}:
            raise EvaluationError(
                f"Expected the keys query, documents and labels in item {index}, got {sorted(map(str, item))}."
            )
        item = JudgedQuery(**item)
    if not len(item.documents) == len(item.labels) > 0:
        raise EvaluationError(
            f"Expected documents with one label each in item {index}, got {len(item.documents)} documents "
            f"and {len(item.labels)} labels."
        )
    return item


def with_scores(qid: str, candidates: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """Return a query's candidates as scores by document id; a list's order becomes decreasing scores.

    Raises:
        EvaluationError: A document is repeated.
    """
    if isinstance(candidates, Mapping):
        return dict(candidates)
    scores = {document: float(len(candidates) - rank) for rank, document in enumerate(candidates)}
    if len(scores) != len(candidates):
        raise EvaluationError(f"Expected each candidate once, got a repeated one for query {qid!r}.")
    return scores


def check_texts(task: RerankTask, first: dict[str, dict[str, float]]) -> None:
    """Refuse a task without the text of a query or candidate in ``first``.

    Raises:
        EvaluationError: A text is missing.
    """
    for qid, candidates in first.items():
        if qid not in task.queries:
            raise EvaluationError(f"Expected a text for every query with candidates, got none for {qid!r}.")
        for document in candidates:
            if document not in task.corpus:
                raise EvaluationError(
                    f"Expected a text for every candidate, got none for {document!r} of query {qid!r}: "
                    "do corpus and candidates belong together?"
                )
