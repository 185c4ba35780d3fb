"""reStructuredText to plain blocks, line by line: it needs no Sphinx, and nothing is included or run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from semantic_ranker.documents.document import BlockKind, Piece

_ADORNMENT = re.compile(r"([=\-`:'\"~^_*+#<>.])\1{1,}\s*$")
_DIRECTIVE = re.compile(r"\.\.\s+([\w:.+-]{1,60})::\s*(.*)$")
_OPTION = re.compile(r"\s*:[\w -]{1,40}:(?:\s.*)?$")
_ITEM = re.compile(r"\s{0,12}(?:[-*+•]|#\.|\(?[\da-zA-Z]{1,3}[.)])\s+\S")
_TABLE = re.compile(r"\s{0,12}(?:\+[-=+]{3,}\+|={2,}(?:\s+={2,})+)\s*$")
_ROLE = re.compile(r":[A-Za-z][\w:.+-]{0,40}:`([^`]{1,400})`")
_LINK = re.compile(r"`([^`<]{1,400}?)\s*<[^`<>]{1,400}>`__?")
_TARGET = re.compile(r"\s*<[^<>]*>$")
_MARKS = re.compile(r"``|\*\*|`_{0,2}|\|(?=\S)|(?<=\S)\|_?")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])")
_CODE = {"code", "code-block", "sourcecode", "parsed-literal", "literalinclude", "testcode", "doctest", "math"}
_DROPPED = {"toctree", "image", "figure", "index", "include", "raw", "contents", "module", "currentmodule", "highlight",
            "only", "meta", "sectionauthor", "moduleauthor", "default-role", "role", "replace", "unicode"}  # fmt: skip
_NAMED = {"function", "class", "method", "attribute", "data", "exception", "option", "describe", "envvar", "module",
          "py:function", "py:class", "py:method", "staticmethod", "classmethod", "cmdoption", "macro",
          "versionadded", "versionchanged", "deprecated", "admonition", "topic", "rubric"}  # fmt: skip


def rst_pieces(text: str) -> list[Piece]:
    """Return the blocks of a reStructuredText: roles become their words, contents of notes stay, comments go."""
    return list(_pieces(text.expandtabs(4).split("\n"), {}))


def _pieces(lines: list[str], levels: dict[str, int]) -> Iterator[Piece]:
    place = 0
    while place < len(lines):
        line = lines[place]
        if not line.strip():
            place += 1
        elif head := _heading(lines, place):
            mark, title, used = head
            yield Piece("heading", _plain(title), levels.setdefault(mark, len(levels) + 1))
            place += used
        elif line.startswith(".."):
            end = _indented(lines, place + 1, 1)
            yield from _explicit(line, lines[place + 1 : end], levels)
            place = end
        elif _ADORNMENT.match(line) and not _TABLE.match(line):
            place += 1
        else:
            end = _paragraph_end(lines, place)
            yield from _block(lines[place:end])
            if lines[end - 1].rstrip().endswith("::"):
                start, end = end, _indented(lines, end, _indent(line) + 1)
                yield Piece("code", _dedented(lines[start:end]))
            place = end


def _heading(lines: list[str], place: int) -> tuple[str, str, int] | None:
    line, *after = (lines[at].rstrip() if at < len(lines) else "" for at in range(place, place + 3))
    under, third = after
    if _ADORNMENT.match(line) and under and third == line and len(line) >= len(under.strip()):
        return f"{line[0]}over", under.strip(), 3
    if line[0].isspace() or _ADORNMENT.match(line) or not _ADORNMENT.match(under):
        return None
    return (under[0], line, 2) if len(under) >= min(len(line), 4) else None


def _explicit(first: str, body: list[str], levels: dict[str, int]) -> Iterator[Piece]:
    found = _DIRECTIVE.match(first)
    if found is None:
        return  # a comment, target, footnote or substitution
    name, argument = found.group(1).lower(), found.group(2).strip()
    while body and (not body[0].strip() or _OPTION.match(body[0])):
        body = body[1:]
    if name in _CODE:
        yield Piece("code", _dedented(body))
    elif name not in _DROPPED:
        if argument and (name not in {"table", "list-table", "csv-table"} or name in _NAMED):
            yield Piece("paragraph", _plain(argument))
        yield from _pieces(_dedented(body).split("\n"), levels)


def _block(lines: list[str]) -> Iterator[Piece]:
    text = _dedented(lines)
    kind: BlockKind = "paragraph"
    if _TABLE.match(lines[0]):
        yield Piece("table", _table(text))
        return
    if text.startswith(">>> "):
        yield Piece("code", text)
        return
    if _ITEM.match(lines[0]):
        kind = "list"
        text = "\n".join(_joined(text.split("\n")))
    elif not text.startswith("| "):
        text = " ".join(line.strip() for line in text.split("\n"))
    yield Piece(kind, "\n".join(map(_plain, text.split("\n"))))


def _joined(lines: list[str]) -> Iterator[str]:
    current = ""
    for line in lines:
        if not line.strip():
            continue
        if _ITEM.match(line) and current:
            yield current
            current = line
        else:
            current = f"{current} {line.strip()}" if current else line
    yield current


def _table(text: str) -> str:
    rows = (line for line in text.split("\n") if line.strip() and not _TABLE.match(line) and set(line) - set("+-=| "))
    return "\n".join(
        _plain(
            " | ".join(cell.strip() for cell in re.split(r"\s*\|\s*|\s{2,}", row.strip().strip("|")) if cell.strip())
        )
        for row in rows
    )


def _paragraph_end(lines: list[str], place: int) -> int:
    """Return the end of a paragraph or table, or of a list with its items' empty lines between them."""
    is_item = bool(_ITEM.match(lines[place]))
    end = place + 1
    while end < len(lines):
        if not lines[end].strip():
            following = next((at for at in range(end, min(end + 3, len(lines))) if lines[at].strip()), None)
            if not (is_item and following is not None and _ITEM.match(lines[following])):
                break
        elif lines[end].startswith(".. "):
            break
        end += 1
    return end


def _indented(lines: list[str], place: int, least: int) -> int:
    end = last = place
    while end < len(lines):
        if lines[end].strip():
            if _indent(lines[end]) < least:
                break
            last = end + 1
        end += 1
    return last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _dedented(lines: list[str]) -> str:
    import textwrap

    return textwrap.dedent("\n".join(lines)).strip("\n")


def _plain(text: str) -> str:
    text = _ROLE.sub(lambda found: _TARGET.sub("", found.group(1)).lstrip("~!"), text)
    text = _EMPHASIS.sub("", _MARKS.sub("", _LINK.sub(r"\1", text)))
    return text.rstrip()[:-1] if text.rstrip().endswith("::") else text
