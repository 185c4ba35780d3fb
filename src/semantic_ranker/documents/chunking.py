"""Cuts a document into passages by its structure: along headings, then blocks, items, rows, lines and sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from semantic_ranker.documents.document import Block, Chunk, Document, chunk_id
from semantic_ranker.documents.tokens import Count, estimate_tokens
from semantic_ranker.errors import InvalidInputError

_SENTENCE = re.compile(
    "(?<=[.!?\u2026\u3002\uff01\uff1f])[\"'\u201d\u2019\u00bb)\\]]{0,3}\\s+"
    "(?=[\"'\u201c\u2018\u00ab(\\[\u00bf\u00a1]{0,3}[A-Z0-9\u00c0-\u00d6\u00d8-\u00de\u0100-\u024f\u0400-\u04ff\u3040-\u9fff])"
)
_LINE = re.compile(r"\n+")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkConfig:
    """How long passages are.

    Attributes:
        min_tokens: Shorter passages are put together with their neighbours where that stays below ``max_tokens``.
        max_tokens: Longest passage; a longer block is cut at its items, rows, lines or sentences.
        overlap_tokens: Most tokens of the passage before that are repeated, in whole sentences, within one section.
    """

    min_tokens: int = 200
    max_tokens: int = 600
    overlap_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("min_tokens", "max_tokens", "overlap_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInputError(f"Expected {name} to be a whole number, got {value!r}.")
        if not 0 <= self.min_tokens <= self.max_tokens or self.max_tokens < 8:
            raise InvalidInputError(
                "Expected 0 <= min_tokens <= max_tokens and max_tokens >= 8, "
                f"got {self.min_tokens} and {self.max_tokens}."
            )
        if not 0 <= self.overlap_tokens <= self.max_tokens // 2:
            raise InvalidInputError(
                f"Expected overlap_tokens from 0 to half of max_tokens ({self.max_tokens}), got {self.overlap_tokens}."
            )


@dataclass(frozen=True, slots=True)
class _Unit:
    """A stretch of text that is not cut any more, of one block."""

    start: int
    end: int
    tokens: int
    block: Block


@dataclass(frozen=True, slots=True)
class _Group:
    """Units that make a passage, the headings all of them are under, and where the section of the first begins."""

    units: tuple[_Unit, ...]
    path: tuple[str, ...]
    heads: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(unit.tokens for unit in self.units)


def chunk_document(document: Document, config: ChunkConfig | None = None, *, count: Count | None = None) -> list[Chunk]:
    """Return a document's passages, in order.

    Paragraphs, lists, tables and code blocks are kept whole unless one is longer than ``max_tokens``; sections are
    put together only where one is shorter than ``min_tokens``. A document that is shorter gives one short passage.

    Args:
        document: The document.
        config: How long passages are; 200 to 600 tokens by default.
        count: Counts tokens, such as `token_counter` of the model to come; an estimate by default.

    Raises:
        InvalidInputError: ``count`` gives no whole numbers.
    """
    config = config or ChunkConfig()
    counted = _checked(count or estimate_tokens)
    room = config.max_tokens - config.overlap_tokens
    groups = [
        group for section in _sections(document, counted, room) for group in _packed(section, config.min_tokens, room)
    ]
    groups = _merged(groups, config.min_tokens, room)
    return list(_chunks(document, groups, config, counted))


def _checked(count: Count) -> Count:
    def counted(text: str) -> int:
        tokens = count(text)
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            raise InvalidInputError(f"Expected the counter to return a whole number of tokens, got {tokens!r}.")
        return tokens

    return counted


def _sections(document: Document, count: Count, most: int) -> Iterator[_Group]:
    """Give each heading with the units below it; a heading is a unit of its section."""
    path: list[tuple[int, str]] = []
    titles: tuple[str, ...] = (document.title,) if document.title else ()
    units: list[_Unit] = []
    depth = 0
    for block in document.blocks:
        text = document.text[block.start : block.end]
        if block.kind == "heading":
            if units:
                yield _Group(tuple(units), _titles(titles, path), (depth,))
                units = []
            path = [*(item for item in path if item[0] < block.level), (block.level, " ".join(text.split()))]
            depth = len(_titles(titles, path))
        units += _units(document.text, block, count, most)
    if units:
        yield _Group(tuple(units), _titles(titles, path), (depth,))


def _titles(titles: tuple[str, ...], path: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    headings = tuple(text for _, text in path)
    return headings if headings[:1] == titles else titles + headings


def _units(text: str, block: Block, count: Count, most: int) -> Iterator[_Unit]:
    """Give a block whole, or its parts where it is too long: cut at coarser places first."""
    tokens = count(text[block.start : block.end])
    if tokens <= most:
        yield _Unit(block.start, block.end, tokens, block)
        return
    cuts = [_LINE, _WORD] if block.kind == "code" else [_LINE, _SENTENCE, _WORD]
    yield from (
        _Unit(start, end, size, block) for start, end, size in _parts(text, (block.start, block.end), cuts, count, most)
    )


def _parts(
    text: str, span: tuple[int, int], cuts: Sequence[re.Pattern[str]], count: Count, most: int
) -> Iterator[tuple[int, int, int]]:
    whole = 0 if cuts else count(text[slice(*span)])
    for start, end in _split(text, span, cuts[0]) if cuts else _characters(span, whole, most):
        # Parts of a word can count less alone than side by side: each takes its share of the whole at least.
        tokens = max(count(text[start:end]), -(-whole * (end - start) // (span[1] - span[0])))
        if text[start:end].isspace():
            continue
        if tokens <= most or end - start == 1:
            yield start, end, tokens
        elif cuts and cuts[0] is _SENTENCE:
            yield from _regrouped(text, _parts(text, (start, end), cuts[1:], count, most), most)
        else:
            yield from _parts(text, (start, end), cuts[1:], count, most)


def _regrouped(text: str, parts: Iterator[tuple[int, int, int]], most: int) -> Iterator[tuple[int, int, int]]:
    """Put the words of a sentence that is too long together again, as many as there is room for."""
    start = end = tokens = 0
    for begin, finish, size in parts:
        if tokens and tokens + size > most:
            yield start, end, tokens
            tokens = 0
        start, end, tokens = (start if tokens else begin), finish, tokens + size
    if tokens:
        yield start, end, tokens


def _split(text: str, span: tuple[int, int], cut: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    start = span[0]
    for found in cut.finditer(text, *span):
        end = found.start() if cut is not _SENTENCE else found.end() - len(_tail_space(found.group()))
        if end > start:
            yield start, end
        # Indentation of the next line belongs to it: code must not lose it.
        start = found.end()
    if start < span[1]:
        yield start, span[1]


def _tail_space(text: str) -> str:
    return text[len(text.rstrip()) :]


def _characters(span: tuple[int, int], tokens: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a word without end by characters."""
    size = max(1, (span[1] - span[0]) * most // max(1, 2 * tokens))
    for start in range(span[0], span[1], size):
        yield start, min(start + size, span[1])


def _packed(section: _Group, least: int, most: int) -> list[_Group]:
    """Part the units of a section into passages of about equal length, none above ``most``."""
    remaining = section.tokens
    groups: list[_Group] = []
    current: list[_Unit] = []
    size = 0
    for place, unit in enumerate(section.units):
        pieces = -(-(size + remaining) // most)
        target = (size + remaining) / pieces if pieces else most
        over = size + unit.tokens > most
        reached = size >= max(least, target - unit.tokens / 2) and not _leads(section.units[place - 1])
        if current and (over or (pieces > 1 and reached)):
            kept, room = len(current), most - unit.tokens
            while over and kept > 1 and _leads(current[kept - 1]) and current[kept - 1].tokens <= room:
                kept -= 1  # a heading goes with what it introduces, unless the two are too long together
                room -= current[kept].tokens
            groups.append(_Group(tuple(current[:kept]), section.path, section.heads))
            current = current[kept:]
            size = sum(item.tokens for item in current)
        current.append(unit)
        size += unit.tokens
        remaining -= unit.tokens
    return [*groups, _Group(tuple(current), section.path, section.heads)]


def _leads(unit: _Unit) -> bool:
    return unit.block.kind == "heading"


def _merged(groups: Sequence[_Group], least: int, most: int) -> list[_Group]:
    """Put short passages together with the next, else with the one before."""
    found: list[_Group] = []
    for group in groups:
        before = found[-1] if found else None
        if before and before.tokens + group.tokens <= most and _may_join(before, group, least):
            found[-1] = _joined(before, group)
        else:
            found.append(group)
    return found


def _may_join(before: _Group, group: _Group, least: int) -> bool:
    if before.tokens < least:
        return True
    # A short end of the same section, or of one below it, goes back to what it belongs to.
    return group.tokens < least and group.path[: len(before.path)] == before.path


def _joined(before: _Group, after: _Group) -> _Group:
    shared = 0
    for one, other in zip(before.path, after.path, strict=False):
        if one != other:
            break
        shared += 1
    return _Group(before.units + after.units, before.path[:shared], before.heads + after.heads)


def _chunks(document: Document, groups: Sequence[_Group], config: ChunkConfig, count: Count) -> Iterator[Chunk]:
    seen: Counter[tuple[tuple[str, ...], str]] = Counter()
    before: _Group | None = None
    for group in groups:
        units = _body(document, group)
        if not units:
            continue
        start, end = units[0].start, units[-1].end
        if config.overlap_tokens and before is not None and before.path == group.path:
            start = _overlapped(document.text, before, start, config.overlap_tokens, count)
        text = document.text[start:end]
        # The same words under the same titles twice in a document still need two ids.
        occurrence = seen[group.path, text]
        seen[group.path, text] += 1
        yield Chunk(
            id=chunk_id(document.source, group.path, text, occurrence),
            text=text,
            source=document.source,
            title_path=group.path,
            span=(start, end),
            tokens=count(text),
            kinds=tuple(dict.fromkeys(unit.block.kind for unit in units)),
            page=units[0].block.page,
        )
        before = group


def _body(document: Document, group: _Group) -> tuple[_Unit, ...]:
    """Return the units without headings at the front that the titles say already; none where headings are all."""
    units = group.units
    if all(unit.block.kind == "heading" for unit in units) and len(document.blocks) > len(units):
        return () if all(_said(document, unit, group.path) for unit in units) else units
    while len(units) > 1 and units[0].block.kind == "heading" and _said(document, units[0], group.path):
        units = units[1:]
    return units


def _said(document: Document, unit: _Unit, path: tuple[str, ...]) -> bool:
    return " ".join(document.text[unit.start : unit.end].split()) in path


def _overlapped(text: str, before: _Group, start: int, most: int, count: Count) -> int:
    """Return where a passage begins that repeats the last sentences of the one before."""
    first = before.units[0].start
    best = start
    for unit in reversed(before.units):
        places = [begin for begin, _ in _split(text, (unit.start, unit.end), _SENTENCE)]
        for begin in reversed(places if unit.block.kind in ("paragraph", "list") else [unit.start]):
            if begin <= first or unit.block.kind == "heading" or count(text[begin:start]) > most:
                return best
            best = begin
    return best
