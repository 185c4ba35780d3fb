"""Measures a reranker on a stated candidate set: what it was given, what it made of it, what was possible."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from semantic_ranker.evaluation._progress import progress
from semantic_ranker.evaluation.metrics import Qrels, evaluate
from semantic_ranker.evaluation.resampling import RESAMPLES, show_p
from semantic_ranker.evaluation.significance import compare
from semantic_ranker.evaluation.tasks import JudgedQuery, RerankTask, as_task, check_texts, with_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUERIES_AT_ONCE = 32  # bounds the encoded pairs held in memory


class Scorer(Protocol):
    """What is measured: `CrossEncoder`, or anything with its `score_many`."""

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]
    ) -> Sequence[NDArray[np.float32]]:
        """Return float32 (n_i,) scores of each query's texts, in input order, higher is better."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankMetric:
    """One metric before and after reranking.

    Attributes:
        metric: Canonical name.
        first_stage: Mean of the candidates in the order they came.
        reranked: Mean after reranking.
        ceiling: Mean of the best possible order of the same candidates.
        gain: ``reranked - first_stage``.
        low: Lower end of the gain's 95 % bootstrap interval.
        high: Upper end.
        p_value: Two-sided, of the paired randomisation test.
    """

    metric: str
    first_stage: float
    reranked: float
    ceiling: float
    gain: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankReport:
    """What reranking did; index it by canonical metric name.

    Attributes:
        metrics: One entry a metric.
        queries: Judged queries, those without candidates included.
        candidates: Mean number of candidates a judged query.
        closed_set: Whether all relevant documents are among the candidates, which makes scores high and not
            comparable with those of a whole collection.
        run: The reranked run, scores by query id, then document id.
    """

    metrics: tuple[RerankMetric, ...]
    queries: int
    candidates: float
    closed_set: bool
    run: dict[str, dict[str, float]] = field(repr=False)

    def __getitem__(self, metric: str) -> RerankMetric:
        for found in self.metrics:
            if found.metric == metric:
                return found
        raise KeyError(metric)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold, without the run."""
        return {
            "metrics": [asdict(found) for found in self.metrics],
            "queries": self.queries,
            "candidates": self.candidates,
            "closed_set": self.closed_set,
        }

    def __str__(self) -> str:
        head = f"{'metric':<12} {'first':>7} {'rerank':>7} {'ceiling':>7} {'gain':>8}  {'95 % interval':<19} {'p':>7}"
        rows = [
            f"{m.metric:<12} {m.first_stage:7.4f} {m.reranked:7.4f} {m.ceiling:7.4f} {m.gain:+8.4f}  "
            f"{f'[{m.low:+.4f}, {m.high:+.4f}]':<19} {show_p(m.p_value):>7}"
            for m in self.metrics
        ]
        closed = ", all relevant documents among them (closed set)" if self.closed_set else ""
        return "\n".join(
            [head, *rows, f"{self.queries} queries, {round(self.candidates, 1):g} candidates each{closed}"]
        )


class RankerEvaluator:
    """Reranks test data and reports gain and ceiling beside the score.

    Args:
        model: What `CrossEncoder` opens (a folder, a hub id, None or ``bundled`` for the bundled model), or an open
            scorer.
    """

    def __init__(self, model: str | os.PathLike[str] | Scorer | None = None) -> None:
        if model is None or isinstance(model, (str, os.PathLike)):
            from semantic_ranker.cross_encoder import CrossEncoder

            self.model: Scorer = CrossEncoder(model)
        else:
            self.model = model

    def evaluate(
        self,
        test_data: RerankTask | Sequence[JudgedQuery | Mapping[str, Any]],
        metrics: str | Sequence[str] = ("nDCG@10", "RR@10"),
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> RerankReport:
        """Rerank the candidates of every judged query.

        Args:
            test_data: A `RerankTask`, or `JudgedQuery` items, or mappings with their keys.
            metrics: Names in any usual spelling.
            resamples: Resamples of interval and test, 100 or more.
            seed: Of both.

        Raises:
            EvaluationError: The test data is empty or does not fit together, or a metric is unknown.
            InvalidInputError: A query or document is not a string.
        """
        task = test_data if isinstance(test_data, RerankTask) else as_task(test_data)
        first = {qid: with_scores(qid, candidates) for qid, candidates in task.candidates.items() if qid in task.qrels}
        before = evaluate(first, task.qrels, metrics)  # fails on bad names and ids before anything is scored
        check_texts(task, first)
        names, queries = list(before.mean), len(before.per_query[next(iter(before.mean))])
        reranked = self._rerank(task, first)
        ceiling = evaluate(_ideal(first, task.qrels), task.qrels, names)
        found = compare(first, reranked, task.qrels, names, resamples=resamples, seed=seed)
        return RerankReport(
            metrics=tuple(
                RerankMetric(
                    metric=m.metric,
                    first_stage=m.mean_a,
                    reranked=m.mean_b,
                    ceiling=ceiling.mean[m.metric],
                    gain=m.difference,
                    low=m.low,
                    high=m.high,
                    p_value=m.p_value,
                )
                for m in found.metrics
            ),
            queries=queries,
            candidates=sum(map(len, first.values())) / queries,
            closed_set=all(
                document in first.get(qid, {})
                for qid, grades in task.qrels.items()
                for document, grade in grades.items()
                if grade > 0
            ),
            run=reranked,
        )

    def _rerank(self, task: RerankTask, first: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        run: dict[str, dict[str, float]] = {}
        qids = list(first)
        for start in progress(range(0, len(qids), _QUERIES_AT_ONCE), "rerank", f"{_QUERIES_AT_ONCE} queries"):
            batch = qids[start : start + _QUERIES_AT_ONCE]
            texts = [[task.corpus[document] for document in first[qid]] for qid in batch]
            scores = self.model.score_many([task.queries[qid] for qid in batch], texts)
            for qid, values in zip(batch, scores, strict=True):
                run[qid] = dict(zip(first[qid], map(float, values), strict=True))
        return run


def _ideal(first: dict[str, dict[str, float]], qrels: Qrels) -> dict[str, dict[str, float]]:
    # Unjudged candidates go below judged ones, so that Judged@k is at its best as well.
    return {
        qid: {document: float(qrels[qid].get(document, -1)) for document in candidates}
        for qid, candidates in first.items()
    }
