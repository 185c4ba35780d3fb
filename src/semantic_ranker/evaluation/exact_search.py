"""Exact nearest neighbours of many queries in a stream of vectors, in bounded memory, ties by position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Similarity: TypeAlias = Literal["cosine", "dot", "l2"]
"""``l2`` ranks by the distance, nearest first; its scores are negative squared distances."""

_QUERIES_AT_ONCE = 1024
_LOW_HALF = np.uint64(0xFFFFFFFF)
_SIGN = np.uint32(0x80000000)


class ExactSearch:
    """Keeps the best documents of each query while blocks of documents pass by.

    Memory is a few blocks of 1,024 queries by one block of documents, and 8 bytes a kept document.

    Args:
        queries: (queries, dim).
        k: Documents to keep a query.
        similarity: What nearest means.

    Raises:
        EvaluationError: The vectors are not a matrix of finite numbers.
    """

    def __init__(self, queries: ArrayLike, k: int, similarity: Similarity = "cosine") -> None:
        self._similarity = similarity
        self._queries = _prepared(queries, similarity, None, "query")
        self._k = k
        # Score and position in one unique number each: the cut of a partition is then never a matter of chance.
        self._keys = np.zeros((len(self._queries), 0), dtype=np.uint64)
        self._seen = 0

    def add(self, documents: ArrayLike) -> None:
        """Offer a block of documents, (n, dim); positions go on where the last block ended.

        Raises:
            EvaluationError: The vectors are not a matrix of finite numbers, or of another width than the queries.
        """
        block = _prepared(documents, self._similarity, self._queries.shape[1], "document")
        positions = _LOW_HALF - np.arange(self._seen, self._seen + len(block), dtype=np.uint64)
        kept = min(self._k, self._keys.shape[1] + len(block))
        merged = np.empty((len(self._queries), kept), dtype=np.uint64)
        for start in range(0, len(self._queries), _QUERIES_AT_ONCE):
            rows = slice(start, start + _QUERIES_AT_ONCE)
            fresh = _sortable(self._scores(self._queries[rows], block)) << np.uint64(32) | positions
            both = np.concatenate([self._keys[rows], fresh], axis=1)
            merged[rows] = np.partition(both, both.shape[1] - kept, axis=1)[:, both.shape[1] - kept :]
        self._keys = merged
        self._seen += len(block)

    def best(self, query: int) -> list[tuple[int, float]]:
        """Return position and score of a query's best documents, best first, equal scores by position."""
        keys = np.sort(self._keys[query])[::-1]
        positions = (_LOW_HALF - (keys & _LOW_HALF)).tolist()
        return list(zip(positions, _unsortable(keys >> np.uint64(32)).tolist(), strict=True))

    def _scores(self, queries: NDArray[np.float32], block: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = queries @ block.T
        if self._similarity == "l2":
            lengths = (queries**2).sum(axis=1)[:, None] + (block**2).sum(axis=1)[None, :]
            scores = 2 * scores - lengths
        return scores


def _prepared(vectors: ArrayLike, similarity: Similarity, dim: int | None, kind: str) -> NDArray[np.float32]:
    matrix = np.asarray(vectors, dtype=np.float32)
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or dim not in (None, matrix.shape[1]):
        finite = "finite" if np.isfinite(matrix).all() else "with NaN or infinity"
        raise EvaluationError(
            f"Expected finite {kind} vectors of shape (n, {dim or 'dim'}), got shape {matrix.shape}, {finite}."
        )
    if similarity != "cosine":
        return matrix
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)


def _sortable(scores: NDArray[np.float32]) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(scores + np.float32(0.0)).view(np.uint32)  # adding 0 makes -0.0 equal to 0.0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN).astype(np.uint64)


def _unsortable(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    bits = keys.astype(np.uint32)
    return np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float32)
