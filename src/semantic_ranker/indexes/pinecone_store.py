"""Vectors in a Pinecone index, one namespace for each embedding space. The index itself is made at Pinecone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, VectorStoreError
from semantic_ranker.indexes.filters import Where, canonical
from semantic_ranker.indexes.passage import Passage
from semantic_ranker.indexes.store import Scored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.spaces import EmbeddingSpace

API_KEY = "PINECONE_API_KEY"
"""Where the key is looked for."""

_MOST_VECTORS = 200  # Pinecone takes 1,000
_MOST_BYTES = 1_500_000  # and 2 MB
_MOST_DELETED = 1000
_MOST_FOUND = 10_000
_MOST_METADATA = 38_000  # bytes of 40 KB a vector
_ATTEMPTS = 4
_AT_ONCE = 8
_BUSY = 429
_T = TypeVar("_T")


class PineconeStore:
    """Vectors in Pinecone; see `VectorStore`. The texts stay in the passage index.

    Args:
        index: An open index of Pinecone's client, see `at`; its metric is ``cosine`` or ``dotproduct``.
        namespace: First part of the namespace's name; the space's fingerprint is the other.
        timeout_s: Seconds that one answer may take. Servers that are busy are asked up to four times, with waits.

    Raises:
        ModuleNotFoundError: The extra ``pinecone`` is not installed.
    """

    kind = "pinecone"

    def __init__(self, index: Any, namespace: str = "semantic-ranker", *, timeout_s: float = 10.0) -> None:
        with requires_extra("pinecone"):
            import tenacity
            import urllib3
            from pinecone.exceptions import PineconeException
        self._failures = (PineconeException, urllib3.exceptions.HTTPError, ValueError, OSError)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: getattr(error, "status", None) == _BUSY),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=3),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        self._index = index
        self._prefix = namespace
        self._namespace = namespace
        self._timeout_s = timeout_s

    @classmethod
    def at(
        cls, host: str, namespace: str = "semantic-ranker", *, api_key: str | None = None, timeout_s: float = 10.0
    ) -> PineconeStore:
        """Open an index at its host.

        Args:
            host: Of the index, as Pinecone shows it; with ``http://`` for a server on this machine.
            namespace: See `PineconeStore`.
            api_key: The key; None takes it from ``PINECONE_API_KEY``.
            timeout_s: See `PineconeStore`.

        Raises:
            InvalidInputError: There is no key.
        """
        with requires_extra("pinecone"):
            from pinecone import Pinecone
        if not (key := api_key or os.environ.get(API_KEY)):
            raise InvalidInputError(f"Expected a key for Pinecone, got none: set {API_KEY}.")
        return cls(Pinecone(api_key=key).Index(host=host), namespace, timeout_s=timeout_s)

    def connect(self, space: EmbeddingSpace, *, empty: bool) -> None:
        """See `VectorStore.connect`."""
        self._namespace = f"{self._prefix}__{space.short}"
        found = self._stats()
        if (dim := getattr(found, "dimension", None)) and dim != space.dim:
            raise SpaceMismatchError(
                f"Expected vectors of {dim} numbers, as the Pinecone index has, got a model of {space.dim}.",
                fields=("dim",),
            )

    def upsert(self, passages: Sequence[Passage], vectors: NDArray[np.float32]) -> None:
        """See `VectorStore.upsert`."""
        last = {passage.id: place for place, passage in enumerate(passages)}
        # Python's own floats: the client refuses numpy's.
        items = (
            {"id": name, "values": vectors[place].tolist(), "metadata": _plain(passages[place])}
            for name, place in last.items()
        )
        for part in _batches(items):
            self._try(partial(self._index.upsert, vectors=part, show_progress=False, **self._call))

    def delete(self, ids: Sequence[str]) -> None:
        """See `VectorStore.delete`."""
        for start in range(0, len(ids), _MOST_DELETED):
            part = list(ids[start : start + _MOST_DELETED])
            try:
                self._try(partial(self._index.delete, ids=part, **self._call))
            except VectorStoreError as error:
                if getattr(error.__cause__, "status", None) != 404:  # a namespace that never had a vector
                    raise

    def search(
        self, vectors: NDArray[np.float32], k: int, *, where: Where | None, allowed: AbstractSet[str] | None
    ) -> list[Scored]:
        """See `VectorStore.search`; queries go side by side, Pinecone takes one at a time."""
        wanted = None if where is None else canonical(where)

        def ask(vector: list[float]) -> Scored:
            found = self._try(
                lambda: self._index.query(
                    vector=vector,
                    top_k=min(k, _MOST_FOUND),
                    filter=wanted,
                    include_values=False,
                    include_metadata=False,
                    **self._call,
                )
            )
            return [(match.id, float(match.score)) for match in found.matches]

        if len(vectors) < 2:
            return [ask(vector) for vector in vectors.tolist()]
        with ThreadPoolExecutor(min(_AT_ONCE, len(vectors))) as pool:
            return list(pool.map(ask, vectors.tolist()))

    def describe(self) -> dict[str, Any]:
        """See `VectorStore.describe`."""
        return {"kind": self.kind, "namespace": self._prefix}

    def close(self) -> None:
        """See `VectorStore.close`."""
        self._index.close()

    def __len__(self) -> int:
        found = (getattr(self._stats(), "namespaces", None) or {}).get(self._namespace)
        return int(found.vector_count) if found is not None else 0

    @property
    def _call(self) -> dict[str, Any]:
        return {"namespace": self._namespace, "_request_timeout": self._timeout_s}

    def _stats(self) -> Any:
        return self._try(lambda: self._index.describe_index_stats(_request_timeout=self._timeout_s))

    def _try(self, call: Callable[[], _T]) -> _T:
        try:
            return self._retrying.copy()(call)
        except self._failures as error:
            # The client's message holds the headers of the answer; the status says enough.
            status = getattr(error, "status", None)
            said = f"HTTP {status}" if status else str(error)[:200]
            raise VectorStoreError(f"Pinecone cannot be used: {type(error).__name__}: {said}") from error


def _batches(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    size = 0
    for item in items:
        # A float in JSON takes up to 24 signs.
        own = 24 * len(item["values"]) + len(json.dumps(item["metadata"])) + 600
        if part and (len(part) == _MOST_VECTORS or size + own > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += own
    if part:
        yield part


def _plain(passage: Passage) -> dict[str, Any]:
    metadata = {key: list(value) if isinstance(value, tuple) else value for key, value in passage.fields.items()}
    if len(json.dumps(metadata).encode()) > _MOST_METADATA:
        raise VectorStoreError(
            f"Expected metadata of less than 40 KB for Pinecone, got more in the passage {passage.id!r:.80}."
        )
    return metadata
