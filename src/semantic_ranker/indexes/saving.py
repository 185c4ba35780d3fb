"""Writes and reads the parts of a passage index: passages, words, and vectors where they are FAISS's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker.bm25 import BM25Index
from semantic_ranker.embedding.manifest import SpaceManifest
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError
from semantic_ranker.indexes.faiss_store import FaissStore
from semantic_ranker.indexes.passage import Passage

if TYPE_CHECKING:
    from semantic_ranker.indexes.store import VectorStore

_PASSAGES = "passages.jsonl"


def write_parts(data: Path, passages: Iterable[Passage], words: BM25Index, store: VectorStore) -> None:
    """Write the parts into a folder.

    Raises:
        StorageError: The disk is full or refuses.
    """
    with (data / _PASSAGES).open("w", encoding="utf-8") as file:
        for passage in passages:
            file.write(json.dumps(passage.to_dict(), ensure_ascii=True) + "\n")
    words.save(data)
    if isinstance(store, FaissStore):
        store.save(data)


def read_parts(
    data: Path, said: dict[str, Any], store: VectorStore | None
) -> tuple[list[Passage], BM25Index, VectorStore]:
    """Read what `write_parts` wrote.

    Args:
        data: The folder.
        said: The manifest.
        store: The store that the caller gave, if any.

    Raises:
        StorageError: Parts are damaged or do not belong together.
        InvalidInputError: The store is of another kind than the index's.
    """
    kind = (said.get("store") or {}).get("kind")
    if kind != (store.kind if store is not None else FaissStore.kind):
        raise InvalidInputError(
            f"Expected the store that the index was built with, {kind!r}, got "
            f"{'none' if store is None else repr(store.kind)}: pass it as store=."
        )
    try:
        with (data / _PASSAGES).open(encoding="utf-8") as file:
            passages = [Passage.from_dict(json.loads(line)) for line in file]
    except (ValueError, RecursionError) as error:
        raise StorageError(f"Cannot read the passages in {str(data)!r} ({type(error).__name__}).") from error
    words = BM25Index.load(data)
    found = FaissStore.load(data) if store is None or isinstance(store, FaissStore) else store
    if isinstance(found, FaissStore) and not found.ids <= {passage.id for passage in passages}:
        raise StorageError(f"The index in {str(data.parent)!r} is damaged: vectors without passages; build it anew.")
    if not len(passages) == len(words) == said.get("passages"):
        raise StorageError(
            f"The index in {str(data.parent)!r} is damaged: {len(passages)} passages, {len(words)} in BM25, "
            f"{said.get('passages')} in the manifest; build it anew."
        )
    return passages, words, found


def space_of(path: Path, content: dict[str, Any]) -> SpaceManifest | None:
    """Return the embedding space that a manifest names; None for an index without passages.

    Raises:
        SpaceMismatchError: There are passages, and no space.
    """
    if (values := content.get("space")) is None:
        if content.get("passages"):
            raise SpaceMismatchError(
                f"Expected the embedding space in the manifest of {str(path)!r}, found none: build the index anew.",
                fields=("manifest",),
            )
        return None
    return SpaceManifest.from_dict(values)
