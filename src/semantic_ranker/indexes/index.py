"""`PassageIndex`: passages, their words and their vectors, searched together; one embedding space, one folder."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from semantic_ranker.bm25 import BM25Index
from semantic_ranker.embedding.manifest import SpaceManifest
from semantic_ranker.errors import EmbeddingError, InvalidInputError, VectorStoreError
from semantic_ranker.indexes import folder
from semantic_ranker.indexes.faiss_store import FaissStore
from semantic_ranker.indexes.filters import Where, matches
from semantic_ranker.indexes.passage import Candidates, Hit, Passage
from semantic_ranker.indexes.saving import read_parts, space_of, write_parts
from semantic_ranker.indexes.searching import Fusion, Mode, checked_search, fused, parts, timed
from semantic_ranker.indexes.vectors import checked_vectors, zero_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.indexes.embedder import IndexEmbedder
    from semantic_ranker.indexes.store import Scored, VectorStore

logger = logging.getLogger(__name__)

_AT_ONCE = 1024  # passages embedded and added together
_DEPTH = 100  # of each list that is fused, at least
_OVERFETCH = 3  # a store may still hold vectors of passages that are gone


class PassageIndex:
    """Passages that are found by meaning (vectors), by words (BM25), or both.

    The vectors are in FAISS, or in a store such as `ChromaStore` or `PineconeStore`; passages and words are here. Every
    addition and query is held to one embedding space. Where the vectors fail, a hybrid search answers by words and says
    ``degraded``. Threads may share an index; only one at a time should change it.

    Args:
        embedder: Makes the vectors; None is the bundled model.
        store: Where the vectors are; None is `FaissStore`.
        language: Snowball stemmer of BM25, such as ``english`` or ``spanish``.

    Raises:
        SpaceMismatchError: The store holds vectors of another space.

    Example:
        >>> from semantic_ranker.indexes import Passage, PassageIndex
        >>> index = PassageIndex()
        >>> texts = {"a": "Cats sleep all day.", "b": "To change a forgotten password, open Settings."}
        >>> index.add([Passage(id=name, text=text) for name, text in texts.items()])
        2
        >>> index.search("how do I reset my password")[0].passage.id
        'b'
    """

    def __init__(
        self,
        embedder: IndexEmbedder | None = None,
        *,
        store: VectorStore | None = None,
        language: str = "english",
    ) -> None:
        BM25Index([], language=language)  # refuses an unknown language now rather than at the first search
        self._embedder = embedder or _bundled()
        self._store = store if store is not None else FaissStore()
        self._language = language
        self._passages: dict[str, Passage] = {}
        self._words: tuple[BM25Index, list[str]] | None = None
        self._space: SpaceManifest | None = None
        self._lock = threading.RLock()
        self._path: Path | None = None
        self._saved: str | None = None
        self._read_only = False
        self._store.connect(self._embedder.space, empty=True)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        embedder: IndexEmbedder | None = None,
        store: VectorStore | None = None,
        read_only: bool = False,
    ) -> Self:
        """Open a saved index.

        Args:
            path: Its folder.
            embedder: The model that it was built with; None is the bundled one.
            store: Where its vectors are, if that is not FAISS: a store with the settings that it was built with.
            read_only: Refuse changes. Any number of processes may have it open, and one may save meanwhile.

        Raises:
            StorageError: There is none, or it is damaged.
            SpaceMismatchError: It was built with another model.
            InvalidInputError: Its vectors are in another kind of store than the one that is given.
        """
        saved, (passages, words, found) = folder.read(Path(path), lambda data, said: read_parts(data, said, store))
        index = cls.__new__(cls)
        index._embedder = embedder or _bundled()
        index._store, index._language = found, str(saved.content.get("language", "english"))
        index._passages = {passage.id: passage for passage in passages}
        index._words = words, list(index._passages)
        index._space = space_of(Path(path), saved.content)
        index._lock, index._path, index._saved = threading.RLock(), Path(path), saved.data
        index._read_only = read_only
        if index._space is not None:
            index._space.check(index._embedder, action="open")
        index._store.connect(index._space.space if index._space else index._embedder.space, empty=not passages)
        return index

    @property
    def embedder(self) -> IndexEmbedder:
        """What makes the vectors."""
        return self._embedder

    @property
    def store(self) -> VectorStore:
        """Where the vectors are."""
        return self._store

    @property
    def language(self) -> str:
        """Of BM25's stemmer."""
        return self._language

    @property
    def passages(self) -> Mapping[str, Passage]:
        """The passages by id, in the order they were added. Not a copy."""
        return self._passages

    @property
    def without_vector(self) -> int:
        """Passages that can be found by their words only: the model's vector of them was zero."""
        return max(0, len(self._passages) - len(self._store))

    def add(self, passages: Iterable[Passage], *, vectors: NDArray[np.float32] | None = None) -> int:
        """Add passages; those with a known id take the place of the old.

        Args:
            passages: The passages; a generator is read in parts.
            vectors: Their vectors, float (n, dim), made by this index's model; None embeds them.

        Returns:
            How many there are now that were not there before.

        Raises:
            EmbedderContractError: A vector is of another dimension, NaN, infinite, or one of those given is zero;
                nothing of its part was added.
            EmbeddingError: The model failed.
            SpaceMismatchError: The model's space is not the index's.
            VectorStoreError: The store failed.
            InvalidInputError: Something is no passage, or the index is read-only.
        """
        self._writable()
        before, start = len(self._passages), 0
        for part in parts(passages, _AT_ONCE):
            given = None if vectors is None else vectors[start : start + len(part)]
            with self._lock:
                self._add(part, given, start)
            start += len(part)
        if vectors is not None and len(vectors) != start:
            raise InvalidInputError(f"Expected one vector a passage ({start}), got {len(vectors)}.")
        return len(self._passages) - before

    def delete(self, ids: Iterable[str]) -> int:
        """Take passages out; returns how many there were.

        Raises:
            InvalidInputError: The index is read-only.
            VectorStoreError: The store failed; nothing was taken out.
        """
        self._writable()
        known = [name for name in dict.fromkeys(ids) if name in self._passages]
        with self._lock:
            if known:
                self._store.delete(known)
                self._words = None
            for name in known:
                del self._passages[name]
        return len(known)

    def delete_sources(self, sources: Iterable[str]) -> int:
        """Take the passages of documents out; returns how many there were."""
        gone = frozenset(sources)
        return self.delete([passage.id for passage in list(self._passages.values()) if passage.source in gone])

    def search(
        self, query: str, k: int = 10, *, mode: Mode = "hybrid", fusion: Fusion = "rrf", where: Where | None = None
    ) -> Candidates:
        """Return the best passages for a query, see `search_many`."""
        return self.search_many([query], k, mode=mode, fusion=fusion, where=where)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: Mode = "hybrid",
        fusion: Fusion = "rrf",
        where: Where | None = None,
    ) -> list[Candidates]:
        """Return the best passages for each query, embedded and searched together.

        Args:
            queries: The questions.
            k: How many passages for each, at most.
            mode: ``hybrid`` fuses both searches; ``dense`` is vectors alone, ``lexical`` BM25 alone.
            fusion: ``rrf``, or the weight of the vectors, 0 to 1, for z-scores of both.
            where: Which passages count, see `filters`.

        Raises:
            InvalidInputError: An argument is not one of these.
            SpaceMismatchError: The model's space is not the index's.
            EmbeddingError: The model failed, and the mode is ``dense``.
            VectorStoreError: The store failed, and the mode is ``dense``.
        """
        where = checked_search(queries, k, mode, fusion, where)
        if not queries or not self._passages:
            return [Candidates(hits=()) for _ in queries]
        allowed = None if where is None else self._allowed(where)
        depth = k if mode != "hybrid" else max(k, _DEPTH)
        latency: dict[str, float] = {}
        dense: list[Scored] = [[] for _ in queries]
        reasons: list[str | None] = [None] * len(queries)
        if mode != "lexical":
            try:
                dense, reasons = self._dense(queries, depth, where, allowed, latency)
            except (EmbeddingError, VectorStoreError) as error:
                if mode == "dense":
                    raise
                logger.warning("searched by words alone: %s", type(error).__name__)
                reasons = [f"by words alone: {error}"] * len(queries)
        words: list[Scored] = [[] for _ in queries]
        if mode != "dense":
            words = timed(latency, "lexical", lambda: self._lexical(queries, depth, allowed))
        found = timed(latency, "fusion", lambda: fused(mode, fusion, dense, words))
        share = {name: value / len(queries) for name, value in latency.items()}
        return [
            Candidates(hits=self._hits(scored[:k]), degraded=reason, latency_ms=share)
            for scored, reason in zip(found, reasons, strict=True)
        ]

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the index to a folder; killed half-way, the old state is there.

        Args:
            path: The folder; None is the one that it was opened from, or saved to last.

        Raises:
            StorageError: The disk refuses, or another process is saving, or has saved since.
            InvalidInputError: There is no folder yet, it holds something else, or the index is read-only.
        """
        self._writable()
        target = self._path if path is None else Path(path)
        if target is None:
            raise InvalidInputError("Expected a folder to save the index to, got none: it was saved nowhere yet.")
        with self._lock:
            same = self._path is not None and os.path.realpath(target) == os.path.realpath(self._path)
            now = folder.current(target)
            before = self._saved if same else (now.data if now else None)
            self._saved = folder.write(target, self._fill, before=before)
            self._path = target

    def close(self) -> None:
        """Let go of the store's connections."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._passages)

    def __contains__(self, name: object) -> bool:
        return name in self._passages

    def __repr__(self) -> str:
        return f"PassageIndex({len(self)} passages, {self._store.kind}, space {self._embedder.space.short})"

    def _writable(self) -> None:
        if self._read_only:
            raise InvalidInputError("Expected an index that may be changed, got one opened with read_only=True.")

    def _add(self, part: list[Passage], given: NDArray[np.float32] | None, start: int) -> None:
        for place, passage in enumerate(part):
            if not isinstance(passage, Passage):
                raise InvalidInputError(f"Expected a Passage, got {type(passage).__name__}.", start + place)
        self._claim()
        space = self._space.space if self._space else self._embedder.space
        if given is not None:
            rows = checked_vectors(given, count=len(part), dim=space.dim)
            lost: AbstractSet[int] = frozenset()
        else:
            texts = [passage.titled_text for passage in part]
            rows = checked_vectors(self._embedder.embed_documents(texts), count=len(part), dim=space.dim, zeros=True)
            lost = frozenset(zero_rows(rows))
        if lost:
            logger.warning("%d passages have a vector of zero: they are found by their words only", len(lost))
            self._store.delete([part[place].id for place in sorted(lost)])
        kept = [place for place in range(len(part)) if place not in lost]
        self._store.upsert([part[place] for place in kept], rows[kept])
        self._passages.update((passage.id, passage) for passage in part)
        self._words = None

    def _claim(self) -> None:
        """Hold the model to the index's space; the first vectors decide."""
        if self._space is None:
            self._space = SpaceManifest.of(self._embedder)
        self._space.space.require(self._embedder.space, action="add to", same_family=True)

    def _allowed(self, where: Where) -> AbstractSet[str]:
        # A copy: another thread may add meanwhile.
        return {name for name, passage in list(self._passages.items()) if matches(where, passage.fields)}

    def _dense(
        self,
        queries: Sequence[str],
        k: int,
        where: Where | None,
        allowed: AbstractSet[str] | None,
        latency: dict[str, float],
    ) -> tuple[list[Scored], list[str | None]]:
        if self._space is not None:
            self._space.space.require(self._embedder.space, action="query", same_family=True)
        vectors = timed(latency, "embed", lambda: self._embedder.embed_queries(list(queries)))
        rows = checked_vectors(vectors, count=len(queries), dim=self._embedder.space.dim, zeros=True)
        zero = frozenset(zero_rows(rows))
        good = [place for place in range(len(queries)) if place not in zero]
        most = k if len(self._store) <= len(self._passages) else k * _OVERFETCH
        found = timed(
            latency, "dense", lambda: self._store.search(rows[good], most, where=where, allowed=allowed) if good else []
        )
        results: list[Scored] = [[] for _ in queries]
        for place, scored in zip(good, found, strict=True):
            known = (item for item in scored if item[0] in self._passages)
            results[place] = [item for item in known if allowed is None or item[0] in allowed][:k]
        return results, ["the model knows no word of the query" if at in zero else None for at in range(len(queries))]

    def _lexical(self, queries: Sequence[str], k: int, allowed: AbstractSet[str] | None) -> list[Scored]:
        index, ids = self._by_words()
        most = k if allowed is None else max(len(ids), 1)
        return [
            [(ids[row], score) for row, score in scored if allowed is None or ids[row] in allowed][:k]
            for scored in index.search_many(queries, most)
        ]

    def _by_words(self) -> tuple[BM25Index, list[str]]:
        with self._lock:
            if self._words is None:
                passages = list(self._passages.values())
                texts = [passage.titled_text for passage in passages]
                self._words = BM25Index(texts, language=self._language), [passage.id for passage in passages]
            return self._words

    def _hits(self, scored: Scored) -> tuple[Hit, ...]:
        found = ((self._passages.get(name), score) for name, score in scored)
        return tuple(Hit(passage, score) for passage, score in found if passage is not None)

    def _fill(self, data: Path) -> dict[str, Any]:
        write_parts(data, self._passages.values(), self._by_words()[0], self._store)
        return {
            "passages": len(self._passages),
            "language": self._language,
            "store": self._store.describe(),
            "space": None if self._space is None else self._space.to_dict(),
        }


def _bundled() -> IndexEmbedder:
    from semantic_ranker.embedder import Embedder

    return Embedder()
