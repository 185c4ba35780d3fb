"""Puts passages together for a language model: in order, each once, cited, within a budget, cut at sentence ends.

What passages say is data: nothing in them is formatted, evaluated, or taken for an instruction here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from semantic_ranker.documents.tokens import estimate_tokens
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.retrieval import RankedPassage

_SENTENCE_END = re.compile("(?<=[.!?\u2026\u3002\uff01\uff1f])[\"'\u201d\u2019\u00bb)\\]]{0,3}(?=\\s)|\n+")
_ITEM = re.compile(r"(?:^|\n)[ \t]*[0-9]{1,3}\.$")  # the number of a list's item, not an end
_LEAST_TOKENS = 12  # of a passage that is cut: less says nothing


@dataclass(frozen=True, slots=True)
class Context:
    """Passages as text for a language model.

    Attributes:
        text: The passages, each below its number and where it is from.
        passages: Those that are in it, in the order of their numbers; an answer's ``[2]`` is the second.
        tokens: As they were counted.
        cut: Whether the last one is not whole.
        texts: What is in it of each passage.
    """

    text: str
    passages: tuple[RankedPassage, ...]
    tokens: int
    cut: bool
    texts: tuple[str, ...] = ()


def build_context(
    results: Iterable[RankedPassage],
    *,
    max_tokens: int | None = None,
    count: Callable[[str], int] = estimate_tokens,
    include_scores: bool = False,
    separator: str = "\n\n",
) -> Context:
    """Return the passages as one text.

    A passage whose words another one has, is left out; of two that overlap in their document the later loses what the
    earlier says. The budget counts everything, numbers and sources too.

    Args:
        results: The passages, best first.
        max_tokens: Most tokens of the text; None is no limit.
        count: Counts tokens; an estimate by default.
        include_scores: Whether each one's score is shown.
        separator: Between passages.

    Raises:
        InvalidInputError: ``max_tokens`` is no int of 1 or more.
    """
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise InvalidInputError(f"Expected max_tokens to be an int of 1 or more, got {max_tokens!r}.")
    parts: list[str] = []
    bodies: list[str] = []
    kept: list[RankedPassage] = []
    used, cut = 0, False
    for item, text in _distinct(results):
        score = f" (score: {item.score:.4f})" if include_scores else ""
        head = f"[{len(kept) + 1}]{score} {item.passage.citation}\n"
        body = text
        if max_tokens is not None:
            left = max_tokens - used - count((separator if parts else "") + head)
            if count(text) > left:
                body = cut_at_sentence(text, left, count)
                if count(body) < _LEAST_TOKENS:
                    break
                cut = True
        parts.append(head + body)
        bodies.append(body)
        kept.append(item)
        used = count(separator.join(parts))
        if cut:
            break
    return Context(separator.join(parts), tuple(kept), used, cut, tuple(bodies))


def cut_at_sentence(text: str, max_tokens: int, count: Callable[[str], int] = estimate_tokens) -> str:
    """Return the longest beginning of a text that ends with a sentence or line and is not above ``max_tokens``."""
    if max_tokens < 1:
        return ""
    ends = [found.end() for found in _SENTENCE_END.finditer(text) if not _ITEM.search(text[: found.end()][-8:])]
    low, high = 0, len(ends)
    while low < high:  # the count grows with the text
        middle = (low + high) // 2
        if count(text[: ends[middle]]) <= max_tokens:
            low = middle + 1
        else:
            high = middle
    return text[: ends[low - 1]].rstrip() if low else ""


def _distinct(results: Iterable[RankedPassage]) -> Iterable[tuple[RankedPassage, str]]:
    words: list[str] = []
    spans: dict[str, list[tuple[int, int]]] = {}
    for item in results:
        text = _unsaid(item, spans)
        said = " ".join(text.split()).casefold()
        if not said or any(said in other for other in words):
            continue
        words.append(said)
        if item.passage.span is not None:
            spans.setdefault(item.passage.source, []).append(item.passage.span)
        yield item, text


def _unsaid(item: RankedPassage, spans: dict[str, list[tuple[int, int]]]) -> str:
    """Return a passage's text without its ends that passages before have."""
    text, span = item.passage.text, item.passage.span
    if span is None or span[1] - span[0] != len(text):
        return text
    start, end = span
    for begin, finish in _ordered(spans.get(item.passage.source, ())):
        if begin <= start < finish:
            start = min(finish, end)
        elif begin < end <= finish:
            end = max(begin, start)
    return text[start - span[0] : end - span[0]].strip()


def _ordered(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(spans)
