"""Takes Markdown, reStructuredText and HTML apart into headed sections of plain text. Renders nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

_FENCE = re.compile(r"^\s{0,3}(```+|~~~+)")
_ATX = re.compile(r"^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_SETEXT = re.compile(r"^\s{0,3}(=+|-{3,})\s*$")
_RST_LINE = re.compile(r"^([=\-`:'\"~^_*+#<>.])\1{2,}\s*$")
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_BLOCKS = {"p", "li", "div", "tr", "br", "pre", "dd", "dt", "table", "section", "article", "ul", "ol", "blockquote"}
_HIDDEN = {"script", "style", "nav", "footer", "noscript", "template", "svg"}
_MARKDOWN = (
    (re.compile(r"<(style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE), " "),
    (re.compile(r"\{%.*?%\}", re.DOTALL), " "),
    (re.compile(r"^[\s|:+-]*-{3}[\s|:+-]*$", re.MULTILINE), ""),
    (re.compile(r"^\s*\|(.*?)\|?\s*$", re.MULTILINE), r"\1"),
    (re.compile(r"\s\|\s"), " "),
    (re.compile(r"\\(?=\W|$)"), ""),
    (re.compile(r"<!--.*?-->", re.DOTALL), " "),
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]*)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"^\s*\[[^\]]+\]:\s+\S+.*$", re.MULTILINE), ""),
    (re.compile(r"^\s*(?:///.*|\{[*%].*[*%]\}|:::.*)$", re.MULTILINE), ""),
    (re.compile(r"\{\s*[#.:][^}\n]*\}"), ""),
    (re.compile(r"^\s{0,3}(?:```+|~~~+).*$", re.MULTILINE), ""),
    (re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+", re.MULTILINE), ""),
    (re.compile(r"^\s*>\s?", re.MULTILINE), ""),
    (re.compile(r"</?[a-zA-Z][^<>]*>"), " "),
    (re.compile(r"(\*\*|__|`+)"), ""),
    (re.compile(r"(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])"), ""),
)  # fmt: skip
_RST = (
    (re.compile(r"^\.\. (?:_[^\n]*:|\[[^\n]*|[\w-]+::[^\n]*)$", re.MULTILINE), ""),
    (re.compile(r"^\s*:[\w\s-]+:.*$", re.MULTILINE), ""),
    (re.compile(r":[\w:.+-]+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"(``|\*\*|`_?)"), ""),
    (re.compile(r"::\s*$", re.MULTILINE), ":"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the text below it, up to the next heading.

    Attributes:
        heading: Plain text; empty before the first heading.
        level: 1 for the highest, 0 before the first heading.
        body: Plain text, paragraphs parted by empty lines.
    """

    heading: str
    level: int
    body: str


def markdown_sections(text: str) -> list[Section]:
    """Return the sections of a Markdown text; headings inside code are none."""
    front = _FRONT.match(text)
    title = re.search(r"^title:\s*(.+)$", front.group(1), re.MULTILINE) if front else None
    start = [(1, title.group(1).strip().strip("\"'"))] if title else []
    found = _sections(_markdown_lines(text[front.end() :] if front else text), plain_markdown, start)
    return found


def rst_sections(text: str) -> list[Section]:
    """Return the sections of a reStructuredText file; levels follow the order in which adornments occur."""
    return _sections(_rst_lines(text.split("\n")), plain_rst, [])


def html_sections(text: str) -> list[Section]:
    """Return the sections of an HTML page, without scripts, styles, navigation and footers."""
    parser = _Page()
    parser.feed(text)
    parser.close()
    found = _sections(iter(parser.lines), _squeezed, [])
    has_heading = any(section.level for section in found)
    return found if has_heading or not parser.title else [Section(_squeezed(parser.title), 1, ""), *found]


def plain_markdown(text: str) -> str:
    """Return Markdown as plain text: links become their words, marks go, code stays."""
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return _squeezed(html.unescape(text))


def plain_rst(text: str) -> str:
    """Return reStructuredText as plain text: roles become their words, directives go, their content stays."""
    for pattern, replacement in _RST:
        text = pattern.sub(replacement, text)
    return _squeezed(text)


_Line = tuple[int, str]
"""Level of a heading, or 0, and the text."""


def _sections(lines: Iterator[_Line], plain: Callable[[str], str], start: list[_Line]) -> list[Section]:
    found: list[Section] = []
    level, heading = start[0] if start else (0, "")
    body: list[str] = []
    for next_level, text in lines:
        if not next_level:
            body.append(text)
            continue
        found.append(Section(plain(heading), level, plain("\n".join(body))))
        level, heading, body = next_level, text, []
    found.append(Section(plain(heading), level, plain("\n".join(body))))
    return [section for section in found if section.heading or section.body]


def _markdown_lines(text: str) -> Iterator[_Line]:
    lines = text.split("\n")
    fence = ""
    for place, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and (not fence or line.strip().startswith(fence)):
            fence = "" if fence else mark.group(1)[:3]
        atx = None if fence else _ATX.match(line)
        following = lines[place + 1] if place + 1 < len(lines) else ""
        if atx:
            yield len(atx.group(1)), atx.group(2)
        elif not fence and line.strip() and _SETEXT.match(following) and _may_head(lines, place):
            yield (1 if "=" in following else 2), line.strip()
        elif fence or not (_SETEXT.match(line) and place and lines[place - 1].strip()):
            yield 0, line


def _may_head(lines: list[str], place: int) -> bool:
    # A paragraph of several lines above a rule is no heading, nor is a list or table.
    alone = place == 0 or not lines[place - 1].strip()
    return alone and not re.match(r"\s*([-*+>|]|\d+[.)])", lines[place])


def _rst_lines(lines: list[str]) -> Iterator[_Line]:
    levels: dict[str, int] = {}
    place = 0
    while place < len(lines):
        line = lines[place].rstrip()
        under = lines[place + 1].rstrip() if place + 1 < len(lines) else ""
        third = lines[place + 2].rstrip() if place + 2 < len(lines) else ""
        if _RST_LINE.match(line) and under and third == line and not _RST_LINE.match(under):
            yield levels.setdefault(f"{line[0]}over", len(levels) + 1), under.strip()
            place += 3
        elif line and _RST_LINE.match(under) and len(under) >= len(line) and not line[0].isspace():
            yield levels.setdefault(under[0], len(levels) + 1), line
            place += 2
        else:
            yield 0, line
            place += 1


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[_Line] = []
        self.title = ""
        self._hidden, self._level, self._heading, self._in_title = 0, 0, "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif re.fullmatch(r"h[1-6]", tag):
            self._level, self._heading = int(tag[1]), ""
        elif tag == "title":
            self._in_title = True
        elif tag in _BLOCKS:
            self.lines.append((0, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif self._level and tag == f"h{self._level}":
            self.lines.append((self._level, self._heading))
            self._level = 0
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self.lines.append((0, ""))

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._hidden:
            return
        elif self._level:
            self._heading += data
        else:
            self.lines.append((0, data))


def _squeezed(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
