"""Two models side by side: their figures, where they came from, and a paired test on the same candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from semantic_ranker.errors import EvaluationError, InvalidInputError
from semantic_ranker.registry.entries import Figure, ModelEntry

if TYPE_CHECKING:
    from semantic_ranker.collections import Collection
    from semantic_ranker.evaluation import Comparison, RerankTask


@dataclass(frozen=True, slots=True, kw_only=True)
class FigurePair:
    """One figure of two models; None is not measured.

    Attributes:
        collection: What it was measured on.
        metric: Its name.
        a: Of the first.
        b: Of the second.
    """

    collection: str
    metric: str
    a: Figure | None
    b: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelComparison:
    """Two models side by side.

    Attributes:
        a: The model to beat.
        b: The model on trial.
        figures: What their manifests hold; measured at different times, so that only ``measured`` is a test.
        lineage: What differs of their lineage: values of both by key, a recipe's keys as ``recipe.KEY``, a data
            source's hash as ``data.NAME``.
        measured: Both on the same candidates, B minus A, or None when no data was given.
    """

    a: ModelEntry
    b: ModelEntry
    figures: tuple[FigurePair, ...]
    lineage: Mapping[str, tuple[str, str]]
    measured: Comparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "figures": [asdict(pair) for pair in self.figures],
            "lineage": {key: list(values) for key, values in self.lineage.items()},
            "measured": self.measured.to_dict() if self.measured else None,
        }


def compare_entries(
    a: ModelEntry, b: ModelEntry, *, data: Collection | None, metrics: tuple[str, ...], depth: int
) -> ModelComparison:
    """Return what `ModelRegistry.compare` promises, of two entries."""
    keys = dict.fromkeys((figure.collection, figure.metric) for entry in (a, b) for figure in entry.figures)
    return ModelComparison(
        a=a,
        b=b,
        figures=tuple(
            FigurePair(collection=of, metric=metric, a=a.figure(of, metric), b=b.figure(of, metric))
            for of, metric in keys
        ),
        lineage=_lineage_difference(a, b),
        measured=_measure(a, b, data, metrics, depth) if data is not None else None,
    )


def bm25_task(data: Collection, depth: int) -> RerankTask:
    """Return BM25's best documents of every judged query, as a task for `RankerEvaluator`.

    Raises:
        EvaluationError: No judged query has a candidate.
    """
    from semantic_ranker.bm25 import BM25Index
    from semantic_ranker.evaluation import RerankTask

    ids = list(data.corpus)
    found = BM25Index([data.corpus[document] for document in ids]).search_many(list(data.queries.values()), depth)
    candidates = {
        qid: {ids[place]: score for place, score in hits} for qid, hits in zip(data.queries, found, strict=True) if hits
    }
    if not candidates:
        raise EvaluationError(f"Expected BM25 to find candidates in {data.name!r}, it found none for any query.")
    return RerankTask(queries=data.queries, corpus=data.corpus, qrels=data.qrels, candidates=candidates)


def _measure(a: ModelEntry, b: ModelEntry, data: Collection, metrics: tuple[str, ...], depth: int) -> Comparison:
    from semantic_ranker.evaluation import RankerEvaluator, compare

    for entry in (a, b):
        if entry.kind != "reranker":
            raise InvalidInputError(
                f"Expected two rerankers to compare on data, got the {entry.kind} {entry.reference}."
            )
    task = bm25_task(data, depth)
    runs = [RankerEvaluator(entry.path).evaluate(task, metrics, resamples=100).run for entry in (a, b)]
    return compare(runs[0], runs[1], data.qrels, metrics)


def _lineage_difference(a: ModelEntry, b: ModelEntry) -> dict[str, tuple[str, str]]:
    of_a, of_b = _flat(a), _flat(b)
    keys = dict.fromkeys([*of_a, *of_b])
    return {key: (of_a.get(key, ""), of_b.get(key, "")) for key in keys if of_a.get(key, "") != of_b.get(key, "")}


def _flat(entry: ModelEntry) -> dict[str, str]:
    lineage = entry.lineage
    flat = {
        "base_model": lineage.base_model,
        "parent": lineage.parent,
        "created": lineage.created,
        "languages": ", ".join(entry.languages),
    }
    flat |= {f"recipe.{key}": str(value) for key, value in lineage.recipe.items()}
    return flat | {f"data.{name}": digest for name, digest in lineage.data.items()}
