"""Measures a whole retrieval pipeline as its user sees it: quality of each stage, latency, degraded answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from semantic_ranker.collections import Collection
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation._progress import progress
from semantic_ranker.evaluation.metrics import Evaluation, evaluate
from semantic_ranker.evaluation.names import canonical_metrics
from semantic_ranker.evaluation.resampling import RESAMPLES
from semantic_ranker.evaluation.results import DocumentId, PipelineResult, known_id, ranked_ids
from semantic_ranker.evaluation.significance import interval

TOTAL = "total"
_FINAL = "final"
_PERCENTILES = (50, 95, 99)
_MARKS = ("rerank_degraded", "degraded")  # what the adapters write into a document's metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """One stage of a pipeline.

    Attributes:
        name: The pipeline's name of it.
        mean: Mean over the judged queries by canonical metric name.
        intervals: 95 % bootstrap interval of each mean.
        results: Mean number of results a query.
        run: Its results, scores by query id, then document id.
    """

    name: str
    mean: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    results: float
    run: dict[str, dict[str, float]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """What a pipeline did; index it by stage name.

    Attributes:
        stages: Figures of each stage, in the order they ran; the last is what the user gets.
        queries: Judged queries.
        latency_ms: Milliseconds by stage, then percentile (``p50``, ``p95``, ``p99``); ``total`` is measured here,
            round the call, the others are the pipeline's own.
        degraded: Share of the queries, 0 to 1, whose result was second best.
        failed: Share of the queries, 0 to 1, that raised; they count as zero.
        errors: How many queries raised, by type of error.
    """

    stages: tuple[StageFigures, ...]
    queries: int
    latency_ms: dict[str, dict[str, float]]
    degraded: float
    failed: float
    errors: dict[str, int]

    def __getitem__(self, stage: str) -> StageFigures:
        for found in self.stages:
            if found.name == stage:
                return found
        raise KeyError(stage)

    @property
    def mean(self) -> dict[str, float]:
        """Means of the last stage."""
        return self.stages[-1].mean

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold, without the runs."""
        return {
            "stages": [
                {
                    "name": of.name,
                    "mean": dict(of.mean),
                    "intervals": {name: list(ends) for name, ends in of.intervals.items()},
                    "results": of.results,
                }
                for of in self.stages
            ],
            "queries": self.queries,
            "latency_ms": {stage: dict(of) for stage, of in self.latency_ms.items()},
            "degraded": self.degraded,
            "failed": self.failed,
            "errors": dict(self.errors),
        }

    def __str__(self) -> str:
        width = max(len("stage"), *(len(name) for name in [*self.latency_ms, *(of.name for of in self.stages)]))
        names = list(self.mean)
        rows = [f"{'stage':<{width}}  " + "  ".join(f"{name:>10}" for name in names)]
        rows += [f"{of.name:<{width}}  " + "  ".join(f"{of.mean[name]:10.4f}" for name in names) for of in self.stages]
        rows += ["", f"{'latency':<{width}}  " + "  ".join(f"{f'p{p} ms':>10}" for p in _PERCENTILES)]
        rows += [
            f"{stage:<{width}}  " + "  ".join(f"{of[f'p{p}']:10.1f}" for p in _PERCENTILES)
            for stage, of in self.latency_ms.items()
        ]
        return "\n".join([*rows, "", f"{self.queries} queries, {self.degraded:.1%} degraded, {self.failed:.1%} failed"])


class PipelineEvaluator:
    """Asks a pipeline every judged query, one after the other, and measures what comes back.

    Args:
        retrieve: Query text to results: ids or texts, best first; documents of LangChain or LlamaIndex; scores by
            id; or a `PipelineResult`, which gets figures for each of its stages.
        document_id: Gives the collection's id of one result; None looks in the usual places, then at the text.
        on_error: Whether a query that raises ends the evaluation (``raise``) or counts as zero (``count``).

    Raises:
        EvaluationError: ``retrieve`` cannot be called, or ``on_error`` is something else.
    """

    def __init__(
        self, retrieve: Callable[[str], Any], *, document_id: DocumentId | None = None, on_error: str = "raise"
    ) -> None:
        if not callable(retrieve) or on_error not in ("raise", "count"):
            raise EvaluationError(
                "Expected a function from query to results and on_error 'raise' or 'count', got "
                f"{type(retrieve).__name__} and {on_error!r}: of a retriever object pass its method, such as .invoke."
            )
        self.retrieve = retrieve
        self.document_id = document_id
        self.on_error = on_error

    def evaluate(
        self,
        collection: Collection,
        metrics: str | Sequence[str] = ("nDCG@10", "RR@10", "Recall@10"),
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> PipelineReport:
        """Ask every judged query.

        Args:
            collection: Queries, documents and judgments, see `load_beir`.
            metrics: Names in any usual spelling.
            resamples: Resamples of the intervals, 100 or more.
            seed: Of the intervals.

        Raises:
            EvaluationError: A metric is unknown, there is no judged query, every query raised, or a result names no
                document of the collection.
        """
        names = canonical_metrics(metrics)
        qids = [qid for qid, grades in collection.qrels.items() if grades]
        asked = _Asked(self.document_id or known_id(collection.corpus))
        for qid in progress(qids, "ask the pipeline", "query"):
            self._ask(asked, qid, collection.queries[qid])
        if not asked.runs:
            raise EvaluationError(
                f"Expected results for judged queries, got none ({len(qids)} queries, {asked.errors})."
            )
        stages = []
        for stage, run in asked.runs.items():
            found = evaluate(run, collection.qrels, names, corpus=collection.corpus)
            stages.append(_figures(stage, run, found, resamples, seed))
        return PipelineReport(
            stages=tuple(stages),
            queries=len(qids),
            latency_ms={stage: _percentiles(values) for stage, values in asked.latency_ms.items()},
            degraded=asked.degraded / len(qids),
            failed=sum(asked.errors.values()) / len(qids),
            errors=asked.errors,
        )

    def _ask(self, asked: _Asked, qid: str, query: str) -> None:
        start = time.perf_counter()
        try:
            result = self.retrieve(query)
        except Exception as error:
            if self.on_error == "raise":
                raise
            name = type(error).__name__
            asked.errors[name] = asked.errors.get(name, 0) + 1
            return
        asked.take(qid, result, (time.perf_counter() - start) * 1000)


@dataclass(slots=True)
class _Asked:
    """What came back so far."""

    id_of: DocumentId
    runs: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    degraded: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def take(self, qid: str, result: object, elapsed_ms: float) -> None:
        if not isinstance(result, PipelineResult):
            listed = result if isinstance(result, Mapping) else _listed(result)
            result = PipelineResult(stages={_FINAL: listed}, degraded=_is_degraded(listed))
        for stage, results in result.stages.items():
            self.runs.setdefault(stage, {})[qid] = ranked_ids(results, self.id_of)
        for stage, spent in {**result.latency_ms, TOTAL: elapsed_ms}.items():
            self.latency_ms.setdefault(stage, []).append(float(spent))
        self.degraded += result.degraded


def _listed(result: object) -> Any:
    # An answer object holds its documents in a field, as RAG pipelines and query engines return them.
    for name in ("documents", "source_nodes", "results"):
        found = getattr(result, name, None)
        if isinstance(found, (list, tuple)):
            return found
    return result


def _is_degraded(results: object) -> bool:
    return isinstance(results, (list, tuple)) and any(map(_has_mark, results))


def _has_mark(item: object) -> bool:
    inner = getattr(item, "node", None) or getattr(item, "document", None) or item
    metadata = inner if isinstance(inner, Mapping) else getattr(inner, "metadata", None)
    marks = [metadata.get(key) for key in _MARKS] if isinstance(metadata, Mapping) else []
    return any(marks) or bool(getattr(item, "degraded", None))


def _figures(
    stage: str, run: dict[str, dict[str, float]], found: Evaluation, resamples: int, seed: int
) -> StageFigures:
    return StageFigures(
        name=stage,
        mean=found.mean,
        intervals={name: interval(of, resamples=resamples, seed=seed) for name, of in found.per_query.items()},
        results=sum(map(len, run.values())) / len(next(iter(found.per_query.values()))),
        run=run,
    )


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": float(found) for p, found in zip(_PERCENTILES, np.percentile(values, _PERCENTILES), strict=True)}
