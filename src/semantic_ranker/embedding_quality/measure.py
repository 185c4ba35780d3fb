"""Everything about one embedder, or one file of vectors, in one result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.embedding_quality.clustering import clustering_scores
from semantic_ranker.embedding_quality.geometry import HUB_NEIGHBOURS, Geometry, alignment, geometry
from semantic_ranker.embedding_quality.quantization import Judged, QuantizationImpact, quantization_impact
from semantic_ranker.embedding_quality.retrieval import retrieval_scores
from semantic_ranker.embedding_quality.similarity import similarity_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker.collections import Collection
    from semantic_ranker.embedding_quality.files import LabelledTexts, ScoredPairs
    from semantic_ranker.evaluation.embedder import EmbedsQueries

_LEAST_VECTORS = HUB_NEIGHBOURS + 2
_ALIKE = 0.8  # pairs in the upper fifth of the scale count as positive: above 4 of 5 in the STS benchmark
_FILE_QUERIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What was measured on one file, collection or matrix.

    Attributes:
        kind: ``sts``, ``clustering``, ``retrieval`` or ``vectors``.
        name: Of the file or folder.
        scores: Figures in MTEB's field names; ``main_score`` is the one to compare, absent for ``vectors``.
        geometry: How its vectors lie; None with fewer than 12.
        quantization: What storing its vectors in fewer bytes costs.
    """

    kind: str
    name: str
    scores: dict[str, Any]
    geometry: Geometry | None = None
    quantization: Sequence[QuantizationImpact] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "scores": self.scores,
            "geometry": self.geometry.to_dict() if self.geometry else None,
            "quantization": [impact.to_dict() for impact in self.quantization],
        }


@dataclass(frozen=True, slots=True)
class EmbedderMeasurement:
    """Measures an embedder; each text is embedded once for all figures of a task.

    Args:
        embedder: Our `Embedder`, or anything with ``embed_queries`` and ``embed_documents``.
    """

    embedder: EmbedsQueries
    _kept: _Kept = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kept", _Kept(self.embedder))

    def similarity(self, pairs: ScoredPairs) -> TaskResult:
        """Correlate the cosine of pairs with people's scores; ``alignment`` is of the pairs in the upper fifth.

        Raises:
            EvaluationError: The scores are all equal, or there are fewer than 3.
        """
        left, right = self._kept.documents(pairs.left), self._kept.documents(pairs.right)
        scores: dict[str, Any] = similarity_scores(left, right, pairs.scores)
        gold = np.asarray(pairs.scores)
        alike = gold >= gold.min() + _ALIKE * (gold.max() - gold.min())
        scores["alignment"] = alignment(left[alike], right[alike])
        both = np.unique(np.concatenate([left, right]), axis=0)
        return TaskResult(
            kind="sts", name=pairs.name, scores={**scores, "pairs": len(gold)}, geometry=_geometry_of(both)
        )

    def clustering(self, texts: LabelledTexts) -> TaskResult:
        """Compare clusters with labels.

        Raises:
            EvaluationError: There are fewer than 2 labels, or no label occurs twice.
        """
        vectors = self._kept.documents(texts.texts)
        scores: dict[str, Any] = clustering_scores(vectors, texts.labels)
        counts = {"texts": len(vectors), "labels": len(set(texts.labels))}
        return TaskResult(
            kind="clustering", name=texts.name, scores={**scores, **counts}, geometry=_geometry_of(vectors)
        )

    def retrieval(self, collection: Collection) -> TaskResult:
        """Search a collection exactly; ``alignment`` is of the queries with their relevant documents.

        Raises:
            EvaluationError: The collection is empty.
        """
        kept = _Kept(self.embedder)
        scores = retrieval_scores(kept, collection)
        queries, documents = list(collection.queries), sorted(collection.corpus)
        asked = kept.queries([collection.queries[query] for query in queries])
        stored = kept.documents([collection.corpus[document] for document in documents])
        scores["alignment"] = _alignment(collection, dict(zip(queries, asked, strict=True)), kept)
        judged = Judged(queries=queries, documents=documents, qrels=collection.qrels)
        return TaskResult(
            kind="retrieval",
            name=collection.name,
            scores=scores,
            geometry=_geometry_of(stored),
            quantization=quantization_impact(asked, stored, judged=judged) if len(stored) >= _LEAST_VECTORS else (),
        )


def measure_vectors(vectors: ArrayLike, name: str) -> TaskResult:
    """Measure stored vectors alone; their first 200 stand for queries where quantisation needs some.

    Args:
        vectors: (n, dim), 12 or more.
        name: For the report.

    Raises:
        EvaluationError: It is no matrix of finite numbers, or has too few rows.
    """
    found = np.asarray(vectors)
    return TaskResult(
        kind="vectors",
        name=name,
        scores={},
        geometry=geometry(found),
        quantization=quantization_impact(found[:_FILE_QUERIES], found),
    )


class _Kept:
    """An embedder that remembers the vectors of what it has embedded, by role."""

    def __init__(self, embedder: EmbedsQueries) -> None:
        self._embedder = embedder
        self.documents = functools.partial(self._of, {}, embedder.embed_documents)
        self.queries = functools.partial(self._of, {}, embedder.embed_queries)

    def embed_documents(self, texts: list[str], /) -> NDArray[np.float32]:
        """Return vectors, float32 (n, dim)."""
        return self.documents(texts)

    def embed_queries(self, texts: list[str], /) -> NDArray[np.float32]:
        """Return vectors, float32 (n, dim)."""
        return self.queries(texts)

    @staticmethod
    def _of(
        known: dict[str, NDArray[np.float32]], embed: Callable[[list[str]], ArrayLike], texts: Sequence[str]
    ) -> NDArray[np.float32]:
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            known.update(zip(fresh, np.asarray(embed(fresh), dtype=np.float32), strict=True))
        return np.stack([known[text] for text in texts])


def _geometry_of(vectors: NDArray[np.float32]) -> Geometry | None:
    return geometry(vectors) if len(vectors) >= _LEAST_VECTORS else None


def _alignment(collection: Collection, asked: dict[str, NDArray[np.float32]], kept: _Kept) -> float | None:
    pairs = [
        (query, document)
        for query, grades in collection.qrels.items()
        for document, grade in grades.items()
        if grade > 0 and query in asked and document in collection.corpus
    ]
    if not pairs:
        return None
    right = kept.documents([collection.corpus[document] for _, document in pairs])
    return alignment(np.stack([asked[query] for query, _ in pairs]), right)
