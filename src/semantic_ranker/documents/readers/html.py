"""HTML to plain blocks, through Beautiful Soup: the main part of a page, without scripts, menus and footers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantic_ranker._extras import requires_extra
from semantic_ranker.documents.document import BlockKind, Piece
from semantic_ranker.documents.normalization import normalize
from semantic_ranker.documents.readers.registry import Parsed

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_HIDDEN = ["script", "style", "nav", "footer", "noscript", "template", "svg", "iframe", "object", "form", "button",
           "select", "dialog", "head"]  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAKS = frozenset((
    "p", "div", "section", "article", "main", "aside", "header", "blockquote", "dl", "dt", "dd",
    "figure", "figcaption", "address", "details", "summary", "fieldset", "hr", "body", "html",
))  # fmt: skip
_WHOLE: dict[str, BlockKind] = {"pre": "code", "table": "table", "ul": "list", "ol": "list"}


def read_html(text: str) -> Parsed:
    """Return the blocks of a page's main part, its title, description and language."""
    with requires_extra("docs-ingest"):
        from bs4 import BeautifulSoup
    soup = BeautifulSoup(text, "html.parser")
    title = _words(soup.title.get_text()) if soup.title else ""
    metadata = _metadata(soup)
    for hidden in soup.find_all(_HIDDEN):
        hidden.extract()
    main = soup.find("main") or soup.find(role="main") or soup.find("article")
    found = _Walk()
    found.walk(main if main is not None and main.get_text(strip=True) else soup)
    return Parsed(pieces=found.pieces, title=title, metadata=metadata)


def _metadata(soup: BeautifulSoup) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, str | tuple[str, ...]] = {}
    for tag in soup.find_all("meta"):
        name, content = tag.get("name"), tag.get("content")
        if name in ("description", "author", "keywords", "date") and isinstance(content, str) and content.strip():
            found[str(name)] = _words(content)
    language = soup.html.get("lang") if soup.html else None
    return {**found, "language": language} if isinstance(language, str) else found


class _Walk:
    """Walks a page without recursion: pages nest as deep as they like."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._loose: list[str] = []

    def walk(self, root: Tag) -> None:
        from bs4.element import NavigableString, PreformattedString, Tag

        stack: list[object] = [root]
        while stack:
            node = stack.pop()
            if node is None:
                self._flush()
            elif isinstance(node, Tag):
                self._enter(node, stack)
            elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
                self._loose.append(str(node))
        self._flush()

    def _enter(self, tag: Tag, stack: list[object]) -> None:
        if tag.name in _HEADINGS:
            self._add(Piece("heading", _words(tag.get_text()).rstrip("¶#").rstrip(), _HEADINGS[tag.name]))
        elif tag.name in _WHOLE:
            self._add(Piece(_WHOLE[tag.name], _whole(tag)))
        elif tag.name == "br":
            self._loose.append("\x00")
        elif tag.name == "img":
            self._loose.append(str(tag.get("alt") or ""))
        elif tag.name in _BREAKS:
            self._flush()
            stack.append(None)
            stack.extend(reversed(tag.contents))
        else:
            stack.extend(reversed(tag.contents))

    def _add(self, piece: Piece) -> None:
        self._flush()
        self.pieces.append(piece)

    def _flush(self) -> None:
        text = "\n".join(_words(line) for line in "".join(self._loose).split("\x00"))
        self._loose.clear()
        if text.strip():
            self.pieces.append(Piece("paragraph", text))


def _whole(tag: Tag) -> str:
    if tag.name == "pre":
        return normalize(tag.get_text())
    if tag.name == "table":
        return _table(tag)
    lines = []
    depth_of_root = _depth(tag)
    for number, item in enumerate(tag.find_all("li"), start=1):
        own = _words("".join(text for text in item.find_all(string=True) if text.find_parent("li") is item))
        mark = f"{number}." if tag.name == "ol" and item.parent is tag else "-"
        if own:
            lines.append(f"{'  ' * max(0, _depth(item) - depth_of_root - 1)}{mark} {own}")
    return "\n".join(lines) or _words(tag.get_text())


def _depth(tag: Tag) -> int:
    return sum(parent.name in ("ul", "ol") for parent in tag.parents)


def _table(tag: Tag) -> str:
    rows = []
    for row in tag.find_all("tr"):
        if row.find_parent("table") is tag:  # cells of an inner table are in its cell's text already
            cells = row.find_all(["td", "th"], recursive=False)
            rows.append(" | ".join(_words(cell.get_text(" ")) for cell in cells))
    return "\n".join(rows) or _words(tag.get_text(" "))


def _words(text: str) -> str:
    return " ".join(normalize(text).split())
