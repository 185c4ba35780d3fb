"""Measures an embedder as a first stage: exact search over the whole collection, no index in between."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from semantic_ranker.collections import Collection
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation._progress import progress
from semantic_ranker.evaluation.exact_search import ExactSearch, Similarity
from semantic_ranker.evaluation.metrics import evaluate
from semantic_ranker.evaluation.names import canonical_metrics
from semantic_ranker.evaluation.resampling import RESAMPLES
from semantic_ranker.evaluation.significance import interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

EMBEDDER_METRICS = (
    *(f"Recall@{cutoff}" for cutoff in (1, 5, 10, 20, 50, 100)),
    "RR@10",
    "nDCG@10",
    "AP@100",
)
_WHOLE_RANKING = 1000  # documents kept where a metric has no cut-off, as trec_eval's runs have


class EmbedsQueries(Protocol):
    """What is measured: our `Embedder`, or anything with these methods."""

    def embed_queries(self, texts: list[str], /) -> ArrayLike:
        """Return (n, dim) vectors."""
        ...

    def embed_documents(self, texts: list[str], /) -> ArrayLike:
        """Return (n, dim) vectors."""
        ...


class EmbedsQuery(Protocol):
    """The same for LangChain's ``Embeddings``, which embed one query at a time."""

    def embed_query(self, text: str, /) -> ArrayLike:
        """Return a (dim,) vector."""
        ...

    def embed_documents(self, texts: list[str], /) -> ArrayLike:
        """Return (n, dim) vectors."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderReport:
    """What an embedder found.

    Attributes:
        mean: Mean over the judged queries by canonical metric name.
        intervals: 95 % bootstrap interval of each mean.
        per_query: Value of each judged query by canonical name, then query id.
        queries: Judged queries.
        documents: Documents searched.
        dim: Width of the vectors.
        similarity: What nearest meant.
        queries_per_s: Queries embedded a second.
        documents_per_s: Documents embedded a second.
        tied: Share of the ranked documents that the tie rule placed and not their score.
        run: The documents found, scores by query id, then document id.
    """

    mean: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_query: dict[str, dict[str, float]] = field(repr=False)
    queries: int
    documents: int
    dim: int
    similarity: Similarity
    queries_per_s: float
    documents_per_s: float
    tied: float
    run: dict[str, dict[str, float]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold, without run and values of single queries."""
        return {
            "mean": dict(self.mean),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "queries": self.queries,
            "documents": self.documents,
            "dim": self.dim,
            "similarity": self.similarity,
            "queries_per_s": self.queries_per_s,
            "documents_per_s": self.documents_per_s,
            "tied": self.tied,
        }

    def __str__(self) -> str:
        rows = [
            f"{name:<12} {value:7.4f}  [{self.intervals[name][0]:.4f}, {self.intervals[name][1]:.4f}]"
            for name, value in self.mean.items()
        ]
        return "\n".join(
            [
                f"{'metric':<12} {'mean':>7}  95 % interval",
                *rows,
                f"{self.queries} queries in {self.documents} documents, {self.dim} dimensions, {self.similarity}",
            ]
        )


class EmbedderEvaluator:
    """Searches a collection with an embedder, exactly, and measures what it finds.

    Args:
        embedder: Our `Embedder`, LangChain's ``Embeddings``, or anything with ``embed_documents`` and
            ``embed_queries`` (or ``embed_query``).
        similarity: What nearest means; the same as the index in use.
        block_size: Documents embedded and searched at once, which bounds the memory.

    Raises:
        EvaluationError: The embedder lacks a method, or an option is out of range.
    """

    def __init__(
        self, embedder: EmbedsQueries | EmbedsQuery, *, similarity: Similarity = "cosine", block_size: int = 2048
    ) -> None:
        if not hasattr(embedder, "embed_documents") or not (
            hasattr(embedder, "embed_queries") or hasattr(embedder, "embed_query")
        ):
            raise EvaluationError(
                f"Expected an embedder with embed_queries and embed_documents, got {type(embedder).__name__}."
            )
        if similarity not in ("cosine", "dot", "l2") or block_size < 1:
            raise EvaluationError(
                "Expected similarity 'cosine', 'dot' or 'l2' and a block size of 1 or more, "
                f"got {similarity!r} and {block_size!r}."
            )
        self.embedder = embedder
        self.similarity = similarity
        self.block_size = block_size

    def evaluate(
        self,
        collection: Collection,
        metrics: str | Sequence[str] = EMBEDDER_METRICS,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> EmbedderReport:
        """Embed the collection, find the nearest documents of every judged query, and measure them.

        Equal scores are ordered by document id. Metrics without a cut-off see the best 1,000 documents.

        Args:
            collection: What to search, see `load_beir`.
            metrics: Names in any usual spelling.
            resamples: Resamples of the intervals, 100 or more.
            seed: Of the intervals.

        Raises:
            EvaluationError: A metric is unknown, the collection is empty, or the embedder returns something else
                than one finite vector a text.
        """
        names = canonical_metrics(metrics)
        qids = [qid for qid, grades in collection.qrels.items() if grades]
        documents = sorted(collection.corpus)
        if not qids or not documents:
            raise EvaluationError(f"Expected judged queries and documents, got {len(qids)} and {len(documents)}.")
        start = time.perf_counter()
        vectors = self._embed_queries([collection.queries[qid] for qid in qids])
        query_s = time.perf_counter() - start
        search = ExactSearch(vectors, _depth(names), self.similarity)
        document_s = self._search(search, collection, documents)
        run = {
            qid: {documents[position]: score for position, score in search.best(row)} for row, qid in enumerate(qids)
        }
        found = evaluate(run, collection.qrels, names, corpus=collection.corpus)
        return EmbedderReport(
            mean=found.mean,
            intervals={
                name: interval(found.per_query[name], resamples=resamples, seed=seed) for name in found.per_query
            },
            per_query=found.per_query,
            queries=len(qids),
            documents=len(documents),
            dim=int(vectors.shape[1]),
            similarity=self.similarity,
            queries_per_s=len(qids) / max(query_s, 1e-9),
            documents_per_s=len(documents) / max(document_s, 1e-9),
            tied=found.tied,
            run=run,
        )

    def _search(self, search: ExactSearch, collection: Collection, documents: list[str]) -> float:
        """Return the seconds that embedding took, without the search."""
        seconds = 0.0
        for start in progress(range(0, len(documents), self.block_size), "embed documents", "block"):
            texts = [collection.corpus[document] for document in documents[start : start + self.block_size]]
            began = time.perf_counter()
            vectors = _checked(self.embedder.embed_documents(texts), len(texts), "documents")
            seconds += time.perf_counter() - began
            search.add(vectors)
        return seconds

    def _embed_queries(self, texts: list[str]) -> NDArray[np.float32]:
        blocks = []
        for start in range(0, len(texts), self.block_size):
            block = texts[start : start + self.block_size]
            blocks.append(_checked(self._of_queries(block), len(block), "queries"))
        return np.concatenate(blocks)

    def _of_queries(self, texts: list[str]) -> ArrayLike:
        many: Callable[[list[str]], ArrayLike] | None = getattr(self.embedder, "embed_queries", None)
        if many is not None:
            return many(texts)
        one: Callable[[str], Any] = self.embedder.embed_query  # type: ignore[union-attr]
        return [one(text) for text in texts]


def _checked(vectors: ArrayLike, expected: int, kind: str) -> NDArray[np.float32]:
    try:
        matrix = np.asarray(vectors, dtype=np.float32)
    except ValueError:
        raise EvaluationError(f"Expected vectors of one width for {expected} {kind}, got several widths.") from None
    if matrix.ndim != 2 or len(matrix) != expected:
        raise EvaluationError(f"Expected vectors of shape ({expected}, dim) for the {kind}, got {matrix.shape}.")
    return matrix


def _depth(names: Sequence[str]) -> int:
    cutoffs = [re.search(r"@(\d+)$", name) for name in names]
    return max(int(found[1]) if found else _WHOLE_RANKING for found in cutoffs)
