"""Which reader reads what, and what each gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType

from semantic_ranker.documents.document import Format, Piece
from semantic_ranker.documents.encoding import decode
from semantic_ranker.documents.front_matter import Metadata, split_front_matter
from semantic_ranker.documents.normalization import normalize

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".txt": "text",
        ".text": "text",
        ".md": "markdown",
        ".markdown": "markdown",
        ".rst": "rst",
        ".html": "html",
        ".htm": "html",
        ".xhtml": "html",
        ".pdf": "pdf",
    }
)
"""The format of each suffix that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a reader found.

    Attributes:
        pieces: The blocks in order.
        title: The title that the document says it has; may be empty.
        metadata: What it says of itself.
        encoding: How its bytes were read; empty for PDF.
        notes: What is odd about it.
    """

    pieces: list[Piece]
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    encoding: str = ""
    notes: tuple[str, ...] = ()


class Refusal(Exception):
    """A document that its reader cannot read; `reason` is one of the `REASONS`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def parse(data: bytes, name: str) -> Parsed:
    """Read a document by the suffix of its name.

    Raises:
        Refusal: It cannot be read.
        ModuleNotFoundError: The extra ``docs-ingest`` is not installed.
    """
    kind = FORMATS.get(PurePath(name).suffix.lower())
    if kind is None:
        raise Refusal("other kind", f"{PurePath(name).suffix or 'no suffix'}")
    if not data.strip(b" \t\r\n\0\xef\xbb\xbf"):
        raise Refusal("no text", "the file is empty")
    if kind == "pdf":
        from semantic_ranker.documents.readers.pdf import read_pdf

        return read_pdf(data)
    decoded = decode(data, markup=kind == "html")
    if decoded is None:
        raise Refusal("binary")
    found = _text(normalize(decoded.text), kind)
    return Parsed(
        pieces=found.pieces,
        title=found.title,
        metadata=found.metadata,
        encoding=decoded.encoding,
        notes=decoded.notes,
    )


def _text(text: str, kind: Format) -> Parsed:
    if kind == "html":
        from semantic_ranker.documents.readers.html import read_html

        return read_html(text)
    if kind == "rst":
        from semantic_ranker.documents.readers.rst import rst_pieces

        return Parsed(pieces=rst_pieces(text))
    metadata, body = split_front_matter(text) if kind == "markdown" else ({}, text)
    title = metadata.get("title", "")
    return Parsed(pieces=_body(body, kind), title=title if isinstance(title, str) else "", metadata=metadata)


def _body(text: str, kind: Format) -> list[Piece]:
    if kind == "markdown":
        from semantic_ranker.documents.readers.markdown import markdown_pieces

        return markdown_pieces(text)
    from semantic_ranker.documents.readers.plain import plain_pieces

    return plain_pieces(text)
