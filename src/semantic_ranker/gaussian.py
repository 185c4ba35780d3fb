"""`GaussianRetriever`: documents found by the distance of their vectors, the same distance on every store.

Stores search by inner product. Where nearest means Euclidean, each vector carries one more number, so that the order of
the products is that of the distances, exactly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import numpy as np

from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.canary import Canary
from semantic_ranker.embedding.pooling import normalized
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError
from semantic_ranker.indexes.embedder import IndexEmbedder
from semantic_ranker.indexes.index import PassageIndex
from semantic_ranker.indexes.passage import Passage
from semantic_ranker.indexes.vectors import checked_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.indexes.store import VectorStore
    from semantic_ranker.spaces import EmbeddingSpace

Metric: TypeAlias = Literal["auto", "l2", "cosine"]
_METRICS = ("auto", "l2", "cosine")
_PROBES = (
    "Cats sleep all day.",
    "To change a forgotten password, open Settings.",
    "Water boils at 100 degrees Celsius.",
)


class GaussianRetriever:
    """Finds documents by the distance of their vectors, smallest first.

    Args:
        model_path: Folder or name of the model, as `Embedder` takes it; None is the bundled one.
        embedding_dim: Width that the vectors must have; None takes any. A model of another width is refused.
        use_gpu: Whether torch runs it on a GPU (extra ``torch``).
        metric: ``cosine`` (1 - cos, 0 to 2), ``l2`` (Euclidean), or ``auto``: ``cosine`` for a model whose vectors
            have length 1, else ``l2``.
        store: Where the vectors are: `FaissStore` (the default), `ChromaStore`, `PineconeStore`. For ``l2`` Pinecone's
            index must have the metric ``dotproduct`` and one dimension more than the model.
        embedder: An open embedder in the place of ``model_path``.

    Raises:
        SpaceMismatchError: The model's width is not ``embedding_dim``, or the store holds vectors of another space.
        ModelLoadError: The model is absent, damaged or refused.
        InvalidInputError: ``metric`` is unknown, or both model and embedder are given.

    Example:
        >>> from semantic_ranker import GaussianRetriever
        >>> retriever = GaussianRetriever()
        >>> retriever.add_documents(["Cats sleep all day.", "To change a forgotten password, open Settings."])
        2
        >>> retriever.retrieve("how do I reset my password", top_k=1)[0][0]
        'To change a forgotten password, open Settings.'
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        embedding_dim: int | None = None,
        use_gpu: bool = False,
        *,
        metric: Metric = "auto",
        store: VectorStore | None = None,
        embedder: IndexEmbedder | None = None,
    ) -> None:
        self.embedder = _opened(model_path, use_gpu, embedder)
        self.metric = _metric(metric, self.embedder.space, embedding_dim)
        self._index = PassageIndex(_measured(self.embedder, self.metric), store=store)
        self._next = 0

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model_path: str | os.PathLike[str] | None = None,
        *,
        use_gpu: bool = False,
        metric: Metric = "auto",
        store: VectorStore | None = None,
        embedder: IndexEmbedder | None = None,
    ) -> Self:
        """Open what `save` wrote, with the model that it was built with.

        Raises:
            SpaceMismatchError: It was built with another model or metric.
            StorageError: There is none, or it is damaged.
        """
        found = cls.__new__(cls)
        found.embedder = _opened(model_path, use_gpu, embedder)
        found.metric = _metric(metric, found.embedder.space, None)
        found._index = PassageIndex.open(path, embedder=_measured(found.embedder, found.metric), store=store)
        found._next = 1 + max((int(name) for name in found._index.passages), default=-1)
        return found

    def add_documents(self, documents: Iterable[str]) -> int:
        """Add documents; returns how many were added.

        Args:
            documents: Texts, of which none is empty; the same text twice is two documents.

        Raises:
            InvalidInputError: Something is no text, or empty; nothing was added.
            EmbeddingError: The model failed.
        """
        texts = _checked(documents)
        passages = [Passage(id=f"{self._next + place:012d}", text=text) for place, text in enumerate(texts)]
        added = self._index.add(passages)
        self._next += len(passages)
        return added

    def retrieve(self, query: str, top_k: int = 10) -> list[tuple[str, float]]:
        """Return the nearest documents with their distances, nearest first; see `retrieve_batch`."""
        if not isinstance(query, str):
            raise InvalidInputError(f"Expected a query as str, got {type(query).__name__}.")
        return self.retrieve_batch([query], top_k)[0]

    def retrieve_batch(self, queries: Sequence[str], top_k: int = 10) -> list[list[tuple[str, float]]]:
        """Return the nearest documents of each query.

        Args:
            queries: The questions.
            top_k: How many documents for each, at most.

        Raises:
            InvalidInputError: An argument is not one of these.
            EmbeddingError: The model failed.
        """
        texts = _checked(queries)
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise InvalidInputError(f"Expected top_k to be an int of 1 or more, got {top_k!r}.")
        if not texts or not len(self._index):
            return [[] for _ in texts]
        space = self._index.embedder.space
        vectors = checked_vectors(self._index.embedder.embed_queries(texts), count=len(texts), dim=space.dim)
        found = self._index.store.search(vectors, top_k, where=None, allowed=None)
        return [
            [(self._index.passages[name].text, self._distance(vector, product)) for name, product in scored]
            for vector, scored in zip(vectors, found, strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write documents and vectors to a folder: JSON lines and the store's own file, no pickle.

        Raises:
            StorageError: The disk refuses.
        """
        self._index.save(path)

    @property
    def space(self) -> EmbeddingSpace:
        """Where the model's vectors lie."""
        return self.embedder.space

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the model's vectors of queries, float32 (n, dim)."""
        return self.embedder.embed_queries(texts)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the model's vectors of documents, float32 (n, dim)."""
        return self.embedder.embed_documents(texts)

    def canary(self) -> Canary:
        """Return the probe texts' vectors, for an index of another kind."""
        return self.embedder.canary()

    def close(self) -> None:
        """Let go of the store's connections."""
        self._index.close()

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"GaussianRetriever({len(self)} documents, {self.metric}, space {self.space.short})"

    def _distance(self, query: NDArray[np.float32], product: float) -> float:
        if self.metric == "cosine":
            return max(1 - product, 0.0)
        square = float(query.astype(np.float64) @ query.astype(np.float64))
        return math.sqrt(max(square - 2 * product, 0.0))


class _Euclidean:
    """An embedder whose inner products rank by Euclidean distance; see the module.

    With r the usual length of the model's vectors, a document is (x, (r^2 - |x|^2) / 2r) and a query (q, r): then
    |q - x|^2 = |q|^2 + r^2 - 2 <query, document>. The last number stays small beside the others, so that neighbours are
    still neighbours to a graph index, which compares documents with each other.
    """

    def __init__(self, inner: IndexEmbedder) -> None:
        self._inner = inner
        probes = inner.embed_documents(_PROBES)
        # A power of two: the same whatever machine or precision computed the probes.
        self._length = float(2.0 ** round(math.log2(max(float(np.linalg.norm(probes, axis=1).mean()), 1e-6))))

    @property
    def space(self) -> EmbeddingSpace:
        space = self._inner.space
        return replace(space, dim=space.dim + 1, pooling=f"{space.pooling}+l2({self._length:g})", normalize=False)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._inner.embed_documents(texts)
        last = (self._length**2 - (vectors**2).sum(axis=1, keepdims=True)) / (2 * self._length)
        return np.hstack([vectors, last])

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._inner.embed_queries(texts)
        return np.hstack([vectors, np.full((len(vectors), 1), self._length, np.float32)])

    def canary(self) -> Canary:
        return Canary.record(self.embed_documents, self.embed_queries)


class _Normalized:
    """An embedder whose vectors have length 1, whatever the model's."""

    def __init__(self, inner: IndexEmbedder) -> None:
        self._inner = inner

    @property
    def space(self) -> EmbeddingSpace:
        return replace(self._inner.space, normalize=True)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return normalized(self._inner.embed_documents(texts))

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return normalized(self._inner.embed_queries(texts))

    def canary(self) -> Canary:
        return Canary.record(self.embed_documents, self.embed_queries)


def _opened(model_path: str | os.PathLike[str] | None, use_gpu: bool, embedder: IndexEmbedder | None) -> IndexEmbedder:
    if embedder is None:
        return Embedder(model_path, backend="torch", device="cuda") if use_gpu else Embedder(model_path)
    if model_path is not None or use_gpu:
        raise InvalidInputError("Expected model_path or embedder, got both.")
    return embedder


def _metric(metric: Metric, space: EmbeddingSpace, dim: int | None) -> Literal["l2", "cosine"]:
    if metric not in _METRICS:
        raise InvalidInputError(f"Expected metric to be one of {', '.join(_METRICS)}, got {metric!r}.")
    if dim not in (None, space.dim):
        raise SpaceMismatchError(
            f"Expected a model of embedding_dim={dim}, got {space.describe()}: leave embedding_dim out, or give the "
            "model's own.",
            fields=("dim",),
        )
    if metric == "auto":
        return "cosine" if space.normalize else "l2"
    return metric


def _measured(embedder: IndexEmbedder, metric: str) -> IndexEmbedder:
    if metric == "l2":
        return _Euclidean(embedder)
    return embedder if embedder.space.normalize else _Normalized(embedder)


def _checked(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise InvalidInputError(f"Expected a list of str, got {type(texts).__name__}: put a single text in a list.")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str) or not text.strip():
            what = "an empty text" if isinstance(text, str) else type(text).__name__
            raise InvalidInputError(f"Expected texts, got {what} at index {place}.", place)
    return found
