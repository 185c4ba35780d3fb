"""Prints the demo for people: two rankings side by side, and the table of all questions."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from demo_quality import QualityRow

TITLE_WIDTH = 33
ROW_COUNT = 5
# Grade in the judgments -> colour of that line on a terminal.
COLOURS = {2: "32", 1: "36", 0: "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One line of a ranking."""

    id: str
    title: str
    score: float


def heading(text: str) -> None:
    """Print a section's heading."""
    print(f"\n{_paint(text, '1')}\n{'-' * len(text)}")


def legend() -> None:
    """Say what the marks mean."""
    answers, useful = mark(2), mark(1)
    print(f"{answers} answers the question   {useful} related and useful   (see examples/handbook/README.md)")


def mark(grade: int) -> str:
    """Return the sign of a grade, in ASCII where the output cannot show more."""
    try:
        "●○".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return {2: "*", 1: "+"}.get(grade, " ")
    return {2: "●", 1: "○"}.get(grade, " ")


def side_by_side(question: str, before: Sequence[Hit], after: Sequence[Hit], grades: Mapping[str, int]) -> None:
    """Print the first lines of both orders, with scores, marks and where a section stood before."""
    print(f"\n{_paint(question, '1')}")
    print(f"  {'BM25':<{TITLE_WIDTH + 10}}  reranked")
    place_before = {hit.id: place for place, hit in enumerate(before, 1)}
    for place in range(1, ROW_COUNT + 1):
        left = _cell(place, before, grades, decimals=1)
        right = _cell(place, after, grades, decimals=2)
        moved = f" was {place_before[after[place - 1].id]}" if place <= len(after) else ""
        print(f"  {left}  {right}{moved}".rstrip())


def quality_table(rows: Sequence[QualityRow]) -> None:
    """Print one line per group of questions and metric."""
    print(f"{'questions':<14}{'metric':<12}{'BM25':>8}{'reranked':>11}{'difference':>13}   95 % interval")
    previous = ""
    for row in rows:
        group = "" if row.group == previous else f"{row.count:>2} {row.group}"
        previous = row.group
        interval = f"[{row.low:+.3f}, {row.high:+.3f}]"
        colour = "32" if row.low > 0 else "31" if row.high < 0 else "0"
        line = f"{row.before:>8.3f}{row.after:>11.3f}{row.difference:>+13.3f}   {interval}"
        print(f"{group:<14}{row.metric:<12}{_paint(line, colour)}")


def _cell(place: int, hits: Sequence[Hit], grades: Mapping[str, int], *, decimals: int) -> str:
    if place > len(hits):
        return " " * (TITLE_WIDTH + 10)
    hit = hits[place - 1]
    grade = grades.get(hit.id, 0)
    title = hit.title if len(hit.title) <= TITLE_WIDTH else hit.title[: TITLE_WIDTH - 1] + "…"
    return _paint(f"{place} {hit.score:5.{decimals}f} {mark(grade)} {title:<{TITLE_WIDTH}}", COLOURS[grade])


def _paint(text: str, code: str) -> str:
    """Colour a text on a terminal; elsewhere, and where NO_COLOR is set, leave it plain."""
    if code == "0" or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return f"\033[{code}m{text}\033[0m"
