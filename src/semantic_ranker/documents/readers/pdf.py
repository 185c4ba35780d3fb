"""PDF to plain blocks, through pypdf: paragraphs put together again, running heads left out. Recognises no images."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semantic_ranker._extras import requires_extra
from semantic_ranker.documents.document import Piece
from semantic_ranker.documents.front_matter import Metadata
from semantic_ranker.documents.normalization import mend_print, normalize
from semantic_ranker.documents.readers.registry import Parsed, Refusal

if TYPE_CHECKING:
    from pypdf import PdfReader

logger = logging.getLogger(__name__)

_MOST_PAGES = 20_000
_MOST_CHARACTERS = 100_000_000  # a small file can unpack to gigabytes
_NUMBER = re.compile(
    r"\W*(?:page|p[aá]gina|seite)?\W*(?:\d{1,5}|[ivxlc]{1,6})(?:\s*(?:/|of|de|von)\s*\d{1,5})?\W*", re.I
)
_ITEM = re.compile(r"\s*(?:[-•▪●◦‣*]|\d{1,3}[.)])\s+\S")
_ENDS = (".", "!", "?", ":", ";", "。")
_SHORT = 0.75


def read_pdf(data: bytes) -> Parsed:
    """Return the paragraphs of a PDF, with headings where its outline names them.

    Raises:
        Refusal: It is damaged, needs a password, or holds no text.
    """
    with requires_extra("docs-ingest"):
        from pypdf import PdfReader
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refusal("encrypted")
        pages, notes = _pages(reader)
        outline, metadata = _outline(reader), _metadata(reader)
    except (Refusal, ModuleNotFoundError):
        raise
    except Exception as error:  # damaged files raise nearly anything inside pypdf
        raise Refusal("damaged", type(error).__name__) from error
    if not any(page.strip() for page in pages):
        raise Refusal("no text", f"{len(pages)} pages without a text layer")
    title = metadata.get("title", "")
    return Parsed(
        pieces=list(_pieces(_without_running_heads(pages), outline)),
        title=title if isinstance(title, str) else "",
        metadata=metadata,
        notes=tuple(notes),
    )


def _pages(reader: PdfReader) -> tuple[list[str], list[str]]:
    found: list[str] = []
    failed = characters = 0
    for number, page in enumerate(reader.pages):
        if number >= _MOST_PAGES or characters > _MOST_CHARACTERS:
            return found, [f"only the first {number} pages were read"]
        try:
            text = normalize(page.extract_text())
        except Exception as error:  # one broken page must not cost the others
            logger.debug("A page cannot be read: %s.", type(error).__name__)
            text, failed = "", failed + 1
        found.append(text)
        characters += len(text)
    if failed == len(found) > 0:
        raise Refusal("damaged", "no page can be read")
    return found, [f"{failed} of {len(found)} pages cannot be read"] if failed else []


def _outline(reader: PdfReader) -> dict[str, int]:
    """Return the level of each heading that the outline names, by its words in lower case."""
    found: dict[str, int] = {}
    stack: list[tuple[Any, int]] = []
    try:
        stack = [(item, 1) for item in reversed(reader.outline)]
        while stack:
            item, level = stack.pop()
            if isinstance(item, list):
                stack += [(inner, level + 1) for inner in reversed(item)]
            elif title := getattr(item, "title", None):
                found.setdefault(_key(str(title)), level)
    except Exception as error:  # an outline is a luxury
        logger.debug("The outline cannot be read: %s.", type(error).__name__)
    return found


def _metadata(reader: PdfReader) -> Metadata:
    given: Mapping[str, Any] = reader.metadata or {}
    names = {"/Title": "title", "/Author": "author", "/Subject": "description", "/Keywords": "keywords"}
    found = {name: " ".join(normalize(str(given[key])).split()) for key, name in names.items() if given.get(key)}
    return {name: value for name, value in found.items() if value}


def _without_running_heads(pages: Sequence[str]) -> list[list[str]]:
    """Return the lines of each page without page numbers, and first or last lines that most pages share."""
    lines = [page.strip("\n").split("\n") for page in pages]
    edges = Counter(_faceless(line) for page in lines for line in {*page[:1], *page[-1:]} if line.strip())
    common = {line for line, count in edges.items() if count >= max(3, len(pages) // 2)}
    kept = []
    for page in lines:
        while page and (not page[0].strip() or _is_running(page[0], common)):
            page = page[1:]
        while page and (not page[-1].strip() or _is_running(page[-1], common)):
            page = page[:-1]
        kept.append(page)
    return kept


def _is_running(line: str, common: set[str]) -> bool:
    return _faceless(line) in common or bool(_NUMBER.fullmatch(line.strip()))


def _faceless(line: str) -> str:
    return re.sub(r"\d+", "0", " ".join(line.lower().split()))


def _pieces(pages: Sequence[Sequence[str]], outline: dict[str, int]) -> Iterator[Piece]:
    widths = sorted(len(line) for page in pages for line in page if line.strip())
    full = widths[int(0.8 * (len(widths) - 1))] if widths else 0
    current: list[str] = []
    began = 1
    for number, page in enumerate(pages, start=1):
        for line in page:
            level = outline.get(_key(line), 0) if line.strip() else 0
            if current and (level or not line.strip() or _parted(current[-1], line, full)):
                yield _paragraph(current, began)
                current = []
            if level:
                yield Piece("heading", " ".join(line.split()), level, number)
            elif line.strip():
                began = began if current else number
                current.append(line.strip())
    if current:
        yield _paragraph(current, began)


def _parted(before: str, line: str, full: int) -> bool:
    """Whether a paragraph ends between two lines: at an item, or after a short line that ends a sentence."""
    if _ITEM.match(line):
        return not _ITEM.match(before)
    return len(before) < _SHORT * full and before.endswith(_ENDS)


def _paragraph(lines: Sequence[str], page: int) -> Piece:
    text = mend_print("\n".join(lines))
    if not _ITEM.match(lines[0]):
        return Piece("paragraph", " ".join(text.split()), page=page)
    items: list[str] = []
    for line in text.split("\n"):
        if _ITEM.match(line) or not items:
            items.append(line)
        else:
            items[-1] += f" {line.strip()}"
    return Piece("list", "\n".join(items), page=page)


def _key(text: str) -> str:
    return " ".join(normalize(text).lower().split())
