"""Measures systems on held-out queries: who ranks how well, how sure that is, and how long it takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation import Comparison, Evaluation, RankerEvaluator, RerankTask, evaluate, interval
from semantic_ranker.evaluation.ranker import Scorer
from semantic_ranker.evaluation.resampling import holm
from semantic_ranker.evaluation.systems import compare_evaluations
from semantic_ranker.evaluation.tasks import with_scores
from semantic_ranker.fusion import fuse_weighted
from semantic_ranker.fusion_weight import fit_fusion_weight
from semantic_ranker.source_weight import fit_source_weight
from semantic_ranker.sources import drawn_run

Run = Mapping[str, Mapping[str, float]]
METRICS = ("nDCG@10", "RR@10", "Recall@5")
DEPTH = 100
SLOW_DEPTH = 30
"""Candidates for models that read pairs, which cost tens of milliseconds each."""
GUARD_DEPTH = 50
"""Candidates on guard collections."""
_DEFAULT_WEIGHT = 0.8
_TIMED_TEXTS, _TIMED_QUERIES = 20, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Queries to be measured on.

    Attributes:
        name: Of the set.
        queries: Text by id.
        qrels: Relevance by query id, then passage id.
        corpus: Text by passage id.
        kinds: What asked each query.
        sources: The document of each passage, where passages have one.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    corpus: Mapping[str, str]
    kinds: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def judged(self) -> dict[str, dict[str, int]]:
        """Return the judgments as plain dicts."""
        return {qid: dict(grades) for qid, grades in self.qrels.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How a model's scores are put together with what else is known.

    Attributes:
        fusion_weight: Share of the reranker in its fusion with the first stage.
        source_weight: Share of the best passage of the same document in a passage's score.
        source_fit: What each weight that was tried for it gave, as JSON values; None where it was not fitted.
    """

    fusion_weight: float
    source_weight: float
    source_fit: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the weights as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was measured on one task.

    Attributes:
        task: The task.
        runs: Rankings by system, in the order of the table.
        evaluations: Figures by system.
        comparisons: Of ``tuned`` with each other system; the other one is A. p is corrected over all of them.
    """

    task: Task
    runs: Mapping[str, Run]
    evaluations: Mapping[str, Evaluation]
    comparisons: Mapping[str, Comparison]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, without single queries."""
        return {
            "name": self.task.name,
            "queries": len(self.task.queries),
            "passages": len(self.task.corpus),
            "systems": {
                name: {
                    metric: {"mean": of.mean[metric], "interval": list(interval(of.per_query[metric]))}
                    for metric in METRICS
                }
                for name, of in self.evaluations.items()
            },
            "tuned_against": {
                name: {
                    of.metric: {
                        "difference": of.difference, "low": of.low, "high": of.high, "p": of.p_value,
                        "p_holm": of.adjusted_p, "won": of.won, "lost": of.lost,
                    }
                    for of in found.metrics
                }
                for name, found in self.comparisons.items()
            },
        }  # fmt: skip


def rerank(model: Scorer, task: Task, candidates: Run) -> dict[str, dict[str, float]]:
    """Return the candidates of each query in the model's order."""
    return RankerEvaluator(model).evaluate(rerank_task(task, candidates), METRICS[0], resamples=100).run


def rerank_task(task: Task, candidates: Run) -> RerankTask:
    """Return a task for `RankerEvaluator`."""
    return RerankTask(queries=task.queries, corpus=task.corpus, qrels=task.judged(), candidates=candidates)


def fitted_weight(reranked: Run, first: Run, task: Task) -> float:
    """Return the share of the reranker in its fusion with the first stage, fitted on queries that are not tested."""
    try:
        return fit_fusion_weight(
            {qid: dict(of) for qid, of in reranked.items()}, {qid: dict(of) for qid, of in first.items()}, task.judged()
        ).weight
    except EvaluationError:  # too few queries
        return _DEFAULT_WEIGHT


def validation_weights(model: Scorer, validation: RerankTask, sources: Mapping[str, str]) -> Weights:
    """Return the weights of a model, fitted on the validation queries and their candidates.

    Args:
        model: The model.
        validation: The queries, none of which is tested.
        sources: The document of each passage.
    """
    first = {qid: with_scores(qid, of) for qid, of in validation.candidates.items()}
    task = Task(name="validation", queries=validation.queries, qrels=validation.qrels, corpus=validation.corpus)
    run = rerank(model, task, first)
    try:
        found = fit_source_weight(run, sources, task.judged(), METRICS[0])
    except EvaluationError:  # too few queries
        weight, fit = 0.0, None
    else:
        weight, fit = found.weight, found.to_dict()
    fusion = fitted_weight(drawn_run(run, sources, weight), first, task)
    return Weights(fusion_weight=fusion, source_weight=weight, source_fit=fit)


def fused(reranked: Run, first: Run, weight: float) -> dict[str, dict[str, float]]:
    """Return the weighted fusion of a reranker with the first stage."""
    return fuse_weighted(
        [{qid: dict(of) for qid, of in reranked.items()}, {qid: dict(of) for qid, of in first.items()}],
        [weight, 1.0 - weight],
    )


def find(task: Task, runs: Mapping[str, Run], tuned: str, *, seed: int = 0) -> Findings:
    """Evaluate rankings and compare one of them with all others.

    Args:
        task: The queries.
        runs: Rankings by system.
        tuned: Name of the one.
        seed: Of intervals and tests.
    """
    qrels = task.judged()
    found = {name: evaluate({q: dict(of) for q, of in run.items()}, qrels, METRICS) for name, run in runs.items()}
    comparisons = {}
    for name, other in found.items():
        if name != tuned:
            comparisons[name] = compare_evaluations(other, {tuned: found[tuned]}, seed=seed)[tuned]
    return Findings(task=task, runs=runs, evaluations=found, comparisons=_holm(comparisons))


def latency_ms(models: Mapping[str, CrossEncoder], task: Task) -> dict[str, float]:
    """Return the median milliseconds to rank 20 fresh passages, models in turn."""
    texts, queries = list(task.corpus.values()), list(task.queries.values())
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(min(_TIMED_QUERIES, max(1, len(texts) // _TIMED_TEXTS)) + 1):
        rows = [texts[(number * _TIMED_TEXTS + place) % len(texts)] for place in range(_TIMED_TEXTS)]
        for name, model in models.items():
            started = time.perf_counter()
            model.score(queries[number % len(queries)], rows)
            if number:  # the first one opens the model
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(of)) for name, of in times.items()}


def open_model(folder: Path | None) -> CrossEncoder:
    """Open a reranker so that it ranks whatever the language; without a cache, so that times are those of new texts."""
    return CrossEncoder(folder, other_languages="score", cache_bytes=0)


def open_cached(folder: Path | None) -> CrossEncoder:
    """Open a reranker so that it ranks whatever the language, and remembers passages."""
    return CrossEncoder(folder, other_languages="score")


def sampled(queries: Sequence[str], most: int) -> list[str]:
    """Return at most so many, in their order; which ones depends on nothing but themselves."""
    if len(queries) <= most:
        return list(queries)
    chosen = set(sorted(queries, key=lambda of: hashlib.sha256(of.encode("utf-8", "replace")).digest())[:most])
    return [of for of in queries if of in chosen]


def _holm(comparisons: dict[str, Comparison]) -> dict[str, Comparison]:
    adjusted = iter(holm([metric.p_value for of in comparisons.values() for metric in of.metrics]))
    return {
        name: replace(of, metrics=tuple(replace(metric, adjusted_p=next(adjusted)) for metric in of.metrics))
        for name, of in comparisons.items()
    }
