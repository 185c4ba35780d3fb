"""Brings an index in line with a folder of documents: new and changed ones in, deleted ones out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._files import StrPath
from semantic_ranker.indexes.passage import Passage, Value

if TYPE_CHECKING:
    from semantic_ranker.documents import ChunkConfig, Document, Redactor, Skipped
    from semantic_ranker.documents.tokens import Count
    from semantic_ranker.indexes.index import PassageIndex

STATE = "documents.json"
"""Beside the manifest: which documents the index holds, by their hashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of a folder of documents.

    Attributes:
        added: Documents that are new.
        changed: Documents that were read again.
        deleted: Documents that were taken out.
        unchanged: Documents that stayed as they were.
        skipped: Files that were left out, with reasons.
        passages: Passages that the index holds now.
        redacted: How many of each kind of personal data were taken out of what was read.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    skipped: tuple[Skipped, ...]
    passages: int
    redacted: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        from collections import Counter

        return {
            "documents": {name: getattr(self, name) for name in ("added", "changed", "deleted", "unchanged")},
            "skipped": dict(sorted(Counter(item.reason for item in self.skipped).items())),
            "passages": self.passages,
            "redacted": self.redacted,
        }


def index_folder(
    index: PassageIndex,
    documents: StrPath,
    path: StrPath,
    *,
    config: ChunkConfig | None = None,
    redactor: Redactor | None = None,
    count: Count | None = None,
) -> Ingested:
    """Bring an index in line with a folder and save it; killed half-way, the next call does what is left.

    Args:
        index: The index, opened from ``path`` or new.
        documents: Folder or file of documents.
        path: Where the index is saved.
        config: How long passages are; with another one every document is read again.
        redactor: Takes personal data out before anything is stored.
        count: Counts tokens; an estimate by default.

    Raises:
        InvalidInputError: There is no such folder, or the index is read-only.
        StorageError: The disk refuses.
        ModuleNotFoundError: The extra ``docs-ingest`` is not installed.
    """
    from semantic_ranker.documents import ChunkConfig, sync

    config = config or ChunkConfig()
    if not len(index):
        # Nothing is in the index, whatever an old state says.
        Path(path, STATE).unlink(missing_ok=True)
    changes = sync(documents, os.path.join(path, STATE), options=repr(config), redactor=redactor)
    fresh = [*changes.added, *changes.changed]
    index.delete_sources([*changes.deleted, *(document.source for document in fresh)])
    index.add(_passages(fresh, config, count))
    index.save(path)
    changes.commit()
    return Ingested(
        added=len(changes.added),
        changed=len(changes.changed),
        deleted=len(changes.deleted),
        unchanged=len(changes.unchanged),
        skipped=changes.skipped,
        passages=len(index),
        redacted=redactor.counts if redactor is not None else {},
    )


def _passages(documents: list[Document], config: ChunkConfig, count: Count | None) -> Iterator[Passage]:
    from semantic_ranker.documents import chunk_document

    for document in documents:
        metadata: dict[str, Value] = {
            key: value
            for key, value in document.metadata.items()
            if key not in ("source", "title") and key and not key.startswith("$")
        }
        for chunk in chunk_document(document, config, count=count):
            yield Passage.of(chunk, {**metadata, "format": document.format})
