"""Reads documents from bytes, files and folders; what cannot be read is named with its reason, never a crash."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from semantic_ranker._files import StrPath
from semantic_ranker.documents.chunking import ChunkConfig, chunk_document
from semantic_ranker.documents.document import REASONS, Chunk, Document, Piece, Skipped, assemble
from semantic_ranker.documents.files import MAX_BYTES, list_files, printable, read_bytes
from semantic_ranker.documents.readers.registry import FORMATS, Refusal, parse
from semantic_ranker.documents.tokens import Count
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker.documents.redaction import Redactor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DocumentSet:
    """Documents of a folder, and what was left out.

    Attributes:
        documents: In the order of their sources.
        skipped: Each file that was left out, with the reason.
    """

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def reasons(self) -> dict[str, int]:
        """How many files were left out, by reason."""
        return dict(sorted(Counter(item.reason for item in self.skipped).items()))

    def chunks(self, config: ChunkConfig | None = None, *, count: Count | None = None) -> Iterator[Chunk]:
        """Give the passages of every document, see `chunk_document`."""
        for document in self.documents:
            yield from chunk_document(document, config, count=count)


def parse_document(data: bytes, source: str, *, redactor: Redactor | None = None) -> Document:
    """Read a document from its bytes.

    Args:
        data: The bytes of a file.
        source: Name or path of the document; its suffix says what it is.
        redactor: Takes personal data out of each block, the title and the metadata.

    Raises:
        InvalidInputError: It cannot be read; the message says why.
        ModuleNotFoundError: The extra ``docs-ingest`` is not installed.
    """
    try:
        return _parsed(data, source, redactor)
    except Refusal as refusal:
        raise _error(source, refusal) from refusal


def read_document(path: StrPath, *, max_bytes: int = MAX_BYTES, redactor: Redactor | None = None) -> Document:
    """Read one file.

    Args:
        path: The file; its name is the document's source.
        max_bytes: Larger files are refused.
        redactor: See `parse_document`.

    Raises:
        InvalidInputError: It cannot be read; the message says why.
        ModuleNotFoundError: The extra ``docs-ingest`` is not installed.
    """
    try:
        return _parsed(read_bytes(Path(path), max_bytes), printable(Path(path).name), redactor)
    except Refusal as refusal:
        raise _error(str(path), refusal) from refusal


def read_folder(path: StrPath, *, max_bytes: int = MAX_BYTES, redactor: Redactor | None = None) -> DocumentSet:
    """Read the documents below a folder, or one file; of equal files the first is read.

    Args:
        path: Folder or file.
        max_bytes: Larger files are left out.
        redactor: See `parse_document`.

    Raises:
        InvalidInputError: There is no such path.
        ModuleNotFoundError: The extra ``docs-ingest`` is not installed.
    """
    files, skipped = list_files(path)
    contents = distinct_contents(files, skipped, max_bytes)
    documents = list(read_files(contents, skipped, max_bytes=max_bytes, redactor=redactor))
    return DocumentSet(tuple(documents), tuple(sorted(skipped, key=lambda item: item.source)))


def distinct_contents(
    files: Sequence[tuple[str, Path]], skipped: list[Skipped], max_bytes: int = MAX_BYTES
) -> dict[str, tuple[Path, str]]:
    """Return path and hash of each file by its source, without repeated content; says what was left out."""
    first: dict[str, str] = {}
    found: dict[str, tuple[Path, str]] = {}
    for source, path in _progress(files, "hash files"):
        try:
            digest = hashlib.sha256(read_bytes(path, max_bytes)).hexdigest()
        except Refusal as refusal:
            skipped.append(Skipped(source, refusal.reason, refusal.detail))
            continue
        if first.setdefault(digest, source) == source:
            found[source] = path, digest
        else:
            skipped.append(Skipped(source, "duplicate", f"of {first[digest]}"))
    return found


def read_files(
    contents: Mapping[str, tuple[Path, str]],
    skipped: list[Skipped],
    *,
    max_bytes: int = MAX_BYTES,
    redactor: Redactor | None = None,
) -> Iterator[Document]:
    """Give the document of each file; says what was left out."""
    for source, (path, _) in _progress(list(contents.items()), "read documents"):
        try:
            yield _parsed(read_bytes(path, max_bytes), source, redactor)
        except Refusal as refusal:
            logger.info("Left out a document: %s.", refusal.reason)
            skipped.append(Skipped(source, refusal.reason, refusal.detail))


def _parsed(data: bytes, source: str, redactor: Redactor | None) -> Document:
    try:
        parsed = parse(data, source)
    except (RecursionError, AssertionError, ValueError, IndexError, KeyError) as error:
        raise Refusal("damaged", type(error).__name__) from error
    pieces, title, metadata = parsed.pieces, parsed.title, dict(parsed.metadata)
    if redactor is not None:
        pieces = [Piece(piece.kind, redactor(piece.text), piece.level, piece.page) for piece in pieces]
        title = redactor(title)
        metadata = {
            key: redactor(value) if isinstance(value, str) else tuple(map(redactor, value))
            for key, value in metadata.items()
        }
    text, blocks = assemble(pieces)
    if not text:
        raise Refusal("no text")
    first = next((text[block.start : block.end] for block in blocks if block.kind == "heading"), "")
    return Document(
        source=source,
        title=title.strip() or first,
        text=text,
        blocks=blocks,
        format=FORMATS[PurePath(source).suffix.lower()],
        sha256=hashlib.sha256(data).hexdigest(),
        encoding=parsed.encoding,
        metadata=MappingProxyType(metadata),
        notes=parsed.notes,
    )


def _error(source: str, refusal: Refusal) -> InvalidInputError:
    detail = f" ({refusal.detail})" if refusal.detail else ""
    return InvalidInputError(
        f"Cannot read {source!r}: {refusal.reason}{detail}: {REASONS[refusal.reason]}. "
        f"Files that end in {', '.join(FORMATS)} are read."
    )


def _progress(items: Sequence[Any], what: str) -> Any:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    return tqdm(items, desc=what, unit="file", disable=None, delay=2)
