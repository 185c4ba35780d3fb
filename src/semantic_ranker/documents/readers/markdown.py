"""Markdown to plain blocks, through markdown-it-py; marks of MkDocs, Jekyll and Sphinx go, their words stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from semantic_ranker._extras import requires_extra
from semantic_ranker.documents.document import Piece
from semantic_ranker.documents.normalization import normalize

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FENCE = re.compile(r"\s{0,12}(`{3,}|~{3,})")
_TEMPLATE = re.compile(r"(\(\s{0,4})?\{%[^%\n]{0,400}%\}|\{:[^}\n]{0,200}\}")
_ARGUMENT = re.compile(r"\{%-?\s*(?!include|link|page|asset|raw|endraw|if|else|for)\w+\s+[\"']([^\"'\n]{1,100})[\"']")
_REFERENCE = re.compile(r"(.+?)\s+<\S+://[^<>]*>$")
_UNDERSCORES = re.compile(r"__?(?!\w)")
_INCLUDE = re.compile(r"\s*\{\*.{0,400}\*\}\s*")
_ADMONITION = re.compile(r"\s*(?:/{3,}|:{3,}|!{3}|\?{3}\+?)\s*([\w-]{0,40})\s*(?:\|\s*(.*)|\"([^\"]*)\"\s*)?$")
_ATTRIBUTES = re.compile(r"\s*\{\s*[#.][^{}\n]{0,200}\}\s*$")
_ROLE = re.compile(r"(?:^|(?<=\W)):[a-z][\w:.+-]{0,40}:$")
_TARGET = re.compile(r"\s*<[^<>]*>$")
_HTML_BLOCK = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.S | re.I)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>")
_SPACES = re.compile(r"[ \t]{2,}")


def markdown_pieces(text: str) -> list[Piece]:
    """Return the blocks of a Markdown text, without front matter; code as it is, the rest as plain words."""
    return list(_pieces(_parser().parse("\n".join(_without_marks(text.split("\n"))))))


@cache
def _parser() -> MarkdownIt:
    with requires_extra("docs-ingest"):
        from markdown_it import MarkdownIt
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _without_marks(lines: Sequence[str]) -> Iterator[str]:
    """Give the lines without marks that only a site generator knows; code is left alone."""
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark.group(1)
        elif mark and mark.group(1).startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif not fence:
            line = _plain_line(line)
        yield line


def _plain_line(line: str) -> str:
    if "{" in line:
        line = "" if _INCLUDE.fullmatch(line) else _ATTRIBUTES.sub("", _TEMPLATE.sub(_of_template, line))
    named = _ADMONITION.match(line)
    return line if named is None else f"\n{named.group(2) or named.group(3) or ''}\n"


def _of_template(found: re.Match[str]) -> str:
    """Return the argument of a tag that stands in the text, such as a channel's name; a link's target goes."""
    if found.group(1):
        return found.group(1)
    named = _ARGUMENT.match(found.group())
    return named.group(1) if named else ""


def _pieces(tokens: Sequence[Token]) -> Iterator[Piece]:
    place = 0
    while place < len(tokens):
        token = tokens[place]
        end = _end(tokens, place)
        if token.type == "heading_open":
            yield Piece("heading", _inline(tokens[place + 1]).replace("\n", " "), int(token.tag[1]))
        elif token.type == "paragraph_open":
            yield Piece("paragraph", _inline(tokens[place + 1]))
        elif token.type in {"bullet_list_open", "ordered_list_open"}:
            yield Piece("list", _list(tokens[place : end + 1]))
        elif token.type == "table_open":
            yield Piece("table", _table(tokens[place : end + 1]))
        elif token.type in {"fence", "code_block"}:
            yield Piece("code", token.content)
        elif token.type == "html_block":
            yield Piece("paragraph", _html(token.content))
        elif token.type == "blockquote_open":
            yield from _pieces(tokens[place + 1 : end])
        place = end + 1


def _end(tokens: Sequence[Token], place: int) -> int:
    """Return the place of the token that closes the one at ``place``, or ``place``."""
    depth = 0
    for end in range(place, len(tokens)):
        depth += tokens[end].nesting
        if depth <= 0:
            return end
    return len(tokens) - 1


def _list(tokens: Sequence[Token]) -> str:
    """Write a list with one line an item; inner lists are set in, code in items keeps its lines."""
    lines: list[str] = []
    counters: list[int | None] = []
    mark = ""
    for token in tokens:
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            counters.append(int(token.attrGet("start") or 1) if token.type.startswith("ordered") else None)
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            counters.pop()
        elif token.type == "list_item_open":
            number = counters[-1]
            mark = "- " if number is None else f"{number}. "
            counters[-1] = None if number is None else number + 1
        elif text := _of_item(token):
            indent = "  " * (len(counters) - 1)
            rest = indent + " " * (len(mark) or 2)
            lines += [(indent + mark if not at and mark else rest) + line for at, line in enumerate(text.split("\n"))]
            mark = ""
    return "\n".join(lines)


def _of_item(token: Token) -> str:
    if token.type == "inline":
        return _inline(token)
    if token.type in {"fence", "code_block"}:
        return token.content.strip("\n")
    return _html(token.content) if token.type == "html_block" else ""


def _table(tokens: Sequence[Token]) -> str:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token).replace("\n", " "))
    return "\n".join(" | ".join(row) for row in rows)


def _inline(token: Token) -> str:
    found: list[str] = []
    before = ""
    for child in token.children or ():
        if child.type == "text":
            # `Words`_ is a reference of reStructuredText.
            found.append(
                child.content.removeprefix(_leading(child.content)) if before == "code_inline" else child.content
            )
        elif child.type == "code_inline":
            found.append(_code(child.content, found))
        elif child.type == "softbreak":
            found.append(" ")
        elif child.type == "hardbreak":
            found.append("\n")
        elif child.type == "image":
            found.append(child.content)
        elif child.type == "html_inline" and child.content[:3].lower() == "<br":
            found.append("\n")
        before = child.type
    text = normalize(_SPACES.sub(" ", "".join(found))).strip()
    # "Example::" is how Sphinx opens code.
    return text[:-1].rstrip(": ") + ":" if text.endswith("::") else text


def _leading(text: str) -> str:
    found = _UNDERSCORES.match(text)
    return found.group() if found else ""


def _code(content: str, before: list[str]) -> str:
    """Return inline code; after a role of Sphinx, such as ``:func:``, the words it shows."""
    if not before or not (role := _ROLE.search(before[-1][-44:])):
        named = _REFERENCE.match(content)
        return named.group(1) if named else content
    before[-1] = before[-1][: len(before[-1]) - len(role.group())]
    return _TARGET.sub("", content).lstrip("~!")


def _html(content: str) -> str:
    import html

    lines = (" ".join(line.split()) for line in html.unescape(_TAG.sub(" ", _HTML_BLOCK.sub(" ", content))).split("\n"))
    return normalize("\n".join(line for line in lines if line))
