"""What a document, its blocks and its chunks are. Reads nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]
Format = Literal["text", "markdown", "rst", "html", "pdf"]

_BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """A block that a reader found, before the document is put together.

    Attributes:
        kind: What it is.
        text: Plain text, or verbatim for code.
        level: Of a heading, 1 for the highest; else 0.
        page: Page of a PDF it begins on, from 1; else 0.
    """

    kind: BlockKind
    text: str
    level: int = 0
    page: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, paragraph, list, table or code block of a document.

    Attributes:
        kind: What it is.
        start: Its first character in `Document.text`.
        end: The character after its last.
        level: Of a heading, 1 for the highest; else 0.
        page: Page of a PDF it begins on, from 1; else 0.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as plain, normalised text.

    Attributes:
        source: Path below the folder it was read from, with forward slashes.
        title: Its title; its first heading, or empty, where it says none.
        text: Plain text: blocks parted by an empty line.
        blocks: Where each block is in the text, in order.
        format: What it was read as.
        sha256: Hash of the file's bytes.
        encoding: How the bytes were read; empty for PDF.
        metadata: Front matter, or what a page or PDF says of itself; plain strings and tuples of them.
        notes: What is odd about it, such as ``mojibake`` or ``read as cp1252, it is not UTF-8``.
    """

    source: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    format: Format = "text"
    sha256: str = ""
    encoding: str = ""
    metadata: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage of a document that can be found, ranked and cited.

    Attributes:
        id: 32 hexadecimal digits of source, titles and text: the same in every run, and where text above it changed.
        text: The passage; always ``document.text[span[0]:span[1]]``.
        source: The document's source.
        title_path: The document's title and the headings that the whole passage is under, highest first.
        span: First character in the document's text, and the one after the last.
        tokens: As the counter counts them.
        kinds: Kinds of its blocks, in order, each once.
        page: Page of a PDF it begins on, from 1; else 0.
    """

    id: str
    text: str
    source: str
    title_path: tuple[str, ...]
    span: tuple[int, int]
    tokens: int
    kinds: tuple[BlockKind, ...] = ()
    page: int = 0

    @property
    def titled_text(self) -> str:
        """The passage below its titles, ``A > B``: what to embed and to rank."""
        return f"{' > '.join(self.title_path)}\n\n{self.text}" if self.title_path else self.text


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was left out.

    Attributes:
        source: Its path below the folder.
        reason: One of the `REASONS`.
        detail: More about it; never text of the file.
    """

    source: str
    reason: str
    detail: str = ""


REASONS: Mapping[str, str] = MappingProxyType(
    {
        "empty folder": "there is no file in it",
        "hidden": "its name begins with a dot",
        "other kind": "its suffix is none that is read",
        "not a file": "a pipe, socket or device",
        "broken link": "the link leads nowhere",
        "link loop": "the link leads to a folder that was walked already",
        "link outside": "the link leaves the folder",
        "unreadable": "the system refuses to open or list it; it may be readable later",
        "too large": "above the limit of bytes",
        "binary": "its bytes are not text",
        "no text": "nothing to read is in it; a scanned PDF needs character recognition first",
        "encrypted": "the PDF needs a password",
        "damaged": "the format's reader refuses it",
        "duplicate": "the same bytes as another document",
    }
)
"""Why files are left out, and what each word means."""


def assemble(pieces: Iterable[Piece]) -> tuple[str, tuple[Block, ...]]:
    """Put pieces together to the text of a document and the places of its blocks; empty ones are left out."""
    texts: list[str] = []
    blocks: list[Block] = []
    place = 0
    for piece in pieces:
        text = piece.text.strip("\n").rstrip() if piece.kind == "code" else piece.text.strip()
        if not text.strip():
            continue
        texts.append(text)
        blocks.append(Block(piece.kind, place, place + len(text), piece.level, piece.page))
        place += len(text) + len(_BETWEEN)
    return _BETWEEN.join(texts), tuple(blocks)


def chunk_id(source: str, titles: Iterable[str], text: str, occurrence: int) -> str:
    """Return the id of a passage; ``occurrence`` counts equal passages of one document from 0."""
    parts = [source, *titles, text, str(occurrence)]
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "backslashreplace")
        hashed.update(b"%d:" % len(data) + data)  # lengths first: ("a", "bc") is not ("ab", "c")
    return hashed.hexdigest()[:32]
