"""Says which documents of a folder are new, changed or gone since the last time; the state is one small file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker.documents.document import Document, Skipped
from semantic_ranker.documents.files import MAX_BYTES, list_files
from semantic_ranker.documents.reading import distinct_contents, read_files
from semantic_ranker.errors import DataFormatError, StorageError

if TYPE_CHECKING:
    from semantic_ranker.documents.redaction import Redactor

READER_VERSION = 1
"""Changes when the same bytes give another text: then every document counts as changed."""

_KIND = "documents-state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to do to an index so that it holds a folder's documents again; then call `commit`.

    Attributes:
        added: Documents that are new.
        changed: Documents whose bytes, or reader or options, are others; their sources are in the index already.
        deleted: Sources to take out: gone, or not readable as documents any more.
        unchanged: Sources that stay as they are.
        skipped: What was left out, with reasons. A file that the system refuses to open now stays in the index.
    """

    added: tuple[Document, ...]
    changed: tuple[Document, ...]
    deleted: tuple[str, ...]
    unchanged: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    _state: Path = field(repr=False)
    _content: str = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)

    def commit(self) -> None:
        """Write the state: the index holds these changes now. Until then the next `sync` gives them again.

        Raises:
            StorageError: The state cannot be written; the old one is untouched.
        """
        write_atomically(self._state, self._content)


def sync(
    folder: StrPath,
    state: StrPath,
    *,
    options: str = "",
    max_bytes: int = MAX_BYTES,
    redactor: Redactor | None = None,
) -> Changes:
    """Compare a folder with its state, by content; reads the documents that are new or changed.

    Args:
        folder: Folder or file of documents.
        state: The state file; absent the first time. Outside of the folder, or with a hidden name.
        options: What else changes the documents or passages, such as the chunk sizes: with other options every
            document counts as changed.
        max_bytes: Larger files are left out.
        redactor: Takes personal data out; whether there is one counts as an option.

    Raises:
        InvalidInputError: There is no such folder.
        StorageError: The state cannot be read.
        DataFormatError: It is damaged or something else.
    """
    path = Path(state)
    made_with = f"{READER_VERSION}|{'redacted' if redactor is not None else ''}|{options}"
    before, same_options = _read(path, made_with)
    files, skipped = list_files(folder)
    state_path = os.path.realpath(path)
    files = [item for item in files if os.path.realpath(item[1]) != state_path]
    contents = distinct_contents(files, skipped, max_bytes)
    fresh = {
        source: found for source, found in contents.items() if not (same_options and before.get(source) == found[1])
    }
    documents = list(read_files(fresh, skipped, max_bytes=max_bytes, redactor=redactor))
    now = {source: contents[source][1] for source in contents if source not in fresh}
    unchanged = set(now)
    now |= {document.source: document.sha256 for document in documents}
    stay = _out_of_reach(before, now, skipped)
    now |= {source: before[source] if same_options else "" for source in stay}
    return Changes(
        added=tuple(document for document in documents if document.source not in before),
        changed=tuple(document for document in documents if document.source in before),
        deleted=tuple(sorted(set(before) - set(now))),
        unchanged=tuple(sorted(unchanged | stay)),
        skipped=tuple(sorted(skipped, key=lambda item: item.source)),
        _state=path,
        _content=_written(now, made_with),
    )


def _out_of_reach(before: dict[str, str], now: dict[str, str], skipped: list[Skipped]) -> set[str]:
    """Return sources that cannot be read now but may be there: a lost permission must not empty an index."""
    closed = {item.source for item in skipped if item.reason == "unreadable"}
    if "." in closed:
        return set(before) - set(now)
    return {
        source
        for source in before
        if source not in now and (source in closed or any(str(parent) in closed for parent in Path(source).parents))
    }


def _read(path: Path, made_with: str) -> tuple[dict[str, str], bool]:
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, True
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(_other(path, "broken JSON"), str(path)) from error
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or content.get("kind") != _KIND or content.get("schema_version") != 1:
        raise DataFormatError(_other(path, "something else, or a newer version"), str(path))
    if not all(isinstance(digest, str) for digest in files.values()):
        raise DataFormatError(_other(path, "hashes that are no strings"), str(path))
    return files, content.get("made_with") == made_with


def _other(path: Path, found: str) -> str:
    return (
        f"Expected the state of a folder of documents in {str(path)!r}, got {found}; delete it, and the index with it, "
        "to begin again."
    )


def _written(files: dict[str, str], made_with: str) -> str:
    content = {"schema_version": 1, "kind": _KIND, "made_with": made_with, "files": dict(sorted(files.items()))}
    return json.dumps(content, ensure_ascii=True, indent=1) + "\n"
