"""Vectors in a Chroma collection: in this process, in a folder, or on its server. Chroma embeds nothing here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import SpaceMismatchError, VectorStoreError
from semantic_ranker.indexes.filters import Where, canonical
from semantic_ranker.indexes.passage import Passage
from semantic_ranker.indexes.store import Scored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.spaces import EmbeddingSpace

_SPACE = "semantic_ranker_space"
_Errors: TypeAlias = tuple[type[BaseException], ...]
_T = TypeVar("_T")


class ChromaStore:
    """Vectors in Chroma; see `VectorStore`. The collection's metadata names the embedding space.

    Args:
        client: A client of Chroma; see `local` and `server`.
        collection: Name of the collection, made where it is absent.

    Raises:
        ModuleNotFoundError: The extra ``chroma`` is not installed.
    """

    kind = "chroma"

    def __init__(self, client: Any, collection: str = "semantic-ranker") -> None:
        with requires_extra("chroma"):
            import chromadb
        self._failures: _Errors = (chromadb.errors.ChromaError, ValueError, RuntimeError, OSError, *_http_errors())
        self._client = client
        self._owned = False
        self._name = collection
        self._collection: Any = None
        self._most = 1000

    @classmethod
    def local(cls, path: str | os.PathLike[str], collection: str = "semantic-ranker") -> ChromaStore:
        """Open Chroma in this process, its files in a folder."""
        with requires_extra("chroma"):
            import chromadb
            from chromadb.config import Settings
        client = chromadb.PersistentClient(os.fspath(path), Settings(anonymized_telemetry=False))
        return cls._owning(client, collection)

    @classmethod
    def server(
        cls,
        host: str = "localhost",
        port: int = 8000,
        collection: str = "semantic-ranker",
        *,
        ssl: bool = False,
        headers: dict[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> ChromaStore:
        """Open Chroma on its server.

        Args:
            host: Where it is; keep it on the loopback, or behind something that asks for a password.
            port: Its port.
            collection: Name of the collection.
            ssl: Whether to speak HTTPS.
            headers: Of each request, such as a token.
            timeout_s: Seconds that an answer may take; the client's own has no limit.

        Raises:
            VectorStoreError: It cannot be reached.
        """
        with requires_extra("chroma"):
            import chromadb
            from chromadb.config import Settings
        refused: _Errors = (ValueError, OSError, chromadb.errors.ChromaError, *_http_errors())
        try:
            settings = Settings(anonymized_telemetry=False)
            client = chromadb.HttpClient(host=host, port=port, ssl=ssl, headers=headers, settings=settings)
        except refused as error:
            raise _failed("reached", error) from error
        for connected in _servers(client):
            connected._session.timeout = timeout_s
        return cls._owning(client, collection)

    @classmethod
    def _owning(cls, client: Any, collection: str) -> ChromaStore:
        store = cls(client, collection)
        store._owned = True
        return store

    def connect(self, space: EmbeddingSpace, *, empty: bool) -> None:
        """See `VectorStore.connect`."""
        self._collection = self._try(
            lambda: self._client.get_or_create_collection(
                self._name,
                metadata={_SPACE: space.fingerprint},
                embedding_function=None,
                configuration={"hnsw": {"space": "ip"}},
            )
        )
        found = (self._collection.metadata or {}).get(_SPACE)
        if found != space.fingerprint:
            raise SpaceMismatchError(
                f"Expected the Chroma collection {self._name!r} to hold vectors of space {space.short}, got "
                f"{str(found)[:12]}: use another collection, or the model that it was filled with.",
                fields=("fingerprint",),
            )
        self._most = int(self._try(self._client.get_max_batch_size))

    def upsert(self, passages: Sequence[Passage], vectors: NDArray[np.float32]) -> None:
        """See `VectorStore.upsert`."""
        last = list({passage.id: place for place, passage in enumerate(passages)}.values())
        for start in range(0, len(last), self._most):
            places = last[start : start + self._most]
            part = [passages[place] for place in places]
            self._try(
                partial(
                    self._collection.upsert,
                    ids=[passage.id for passage in part],
                    embeddings=vectors[places],
                    metadatas=[_plain(passage) for passage in part],
                    documents=[passage.text for passage in part],
                )
            )

    def delete(self, ids: Sequence[str]) -> None:
        """See `VectorStore.delete`."""
        for start in range(0, len(ids), self._most):
            self._try(partial(self._collection.delete, ids=list(ids[start : start + self._most])))

    def search(
        self, vectors: NDArray[np.float32], k: int, *, where: Where | None, allowed: AbstractSet[str] | None
    ) -> list[Scored]:
        """See `VectorStore.search`."""
        if not len(vectors):
            return []
        found = self._try(
            lambda: self._collection.query(
                query_embeddings=vectors,
                n_results=k,
                where=None if where is None else canonical(where),
                include=["distances"],
            )
        )
        # Chroma's distance of inner products is one less the product.
        return [
            [(name, 1.0 - float(distance)) for name, distance in zip(names, distances, strict=True)]
            for names, distances in zip(found["ids"], found["distances"], strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """See `VectorStore.describe`."""
        return {"kind": self.kind, "collection": self._name}

    def close(self) -> None:
        """See `VectorStore.close`; a client that the caller gave stays open."""
        if not self._owned:
            return
        servers = _servers(self._client)
        self._client.close()
        # Clients of one server share its connections, and the closing of the last one leaves them open.
        for server in servers:
            if not server._running:
                server._session.close()

    def __len__(self) -> int:
        return int(self._try(self._collection.count))

    def _try(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except self._failures as error:
            raise _failed("used", error) from error


def _servers(client: Any) -> list[Any]:
    """Return what holds a client's connections to a server; its own, and that of its administration."""
    found = (getattr(item, "_server", None) for item in (client, getattr(client, "_admin_client", None)))
    return [server for server in found if hasattr(server, "_session")]


def _http_errors() -> _Errors:
    try:
        import httpx
    except ModuleNotFoundError:
        return ()
    return (httpx.HTTPError,)


def _failed(what: str, error: BaseException) -> VectorStoreError:
    return VectorStoreError(f"Chroma cannot be {what}: {type(error).__name__}: {str(error)[:200]}")


def _plain(passage: Passage) -> dict[str, Any]:
    """Return metadata as Chroma keeps it; it has no empty lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in passage.fields.items() if value != ()
    } | {"titles": json.dumps(passage.titles, ensure_ascii=False)}
