"""The table of training/README.md, from campaign.json: every way of training the head that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from table_parts import has, read, rows


def campaign() -> str:
    if not has("campaign"):
        return "`benchmarks/campaign.py` was not run on this checkout."
    found = read("campaign")
    names = list(found["queries"])
    body = rows(
        ("way", "macro nDCG@10", "against the first way trained, points", *names),
        (_line(name, part, names) for name, part in found["rows"].items()),
    )
    turns = "; ".join(
        f"{aside} aside, the other three choose *{of['chosen']}*, which gives {of['there']:.3f} there "
        f"(first way: {of['baseline there']:.3f})"
        for aside, of in found["rotation"].items()
    )
    queries = ", ".join(f"{count} of {name}" for name, count in found["queries"].items())
    return (
        f"{body}\n\nReranking BM25's best 100, {queries}; 95 % intervals over queries; the encoder in fp32, passages cut "
        f"at {found['tokens of a passage']} tokens. Would choosing by these collections have overfitted? {turns}. "
        f"torch {found['versions']['torch']}, `{found['command']}`"
    )


def _line(name: str, part: dict[str, Any], names: Sequence[str]) -> Sequence[object]:
    macro, change = part["macro"], part.get("against the baseline")
    points = "-"
    if change:
        low, high = (100 * change[end] for end in ("low", "high"))
        points = f"{100 * change['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return (
        name,
        f"{macro['mean']:.3f} [{macro['low']:.3f}, {macro['high']:.3f}]",
        points,
        *(f"{part['collections'][of]['mean']:.3f}" for of in names),
    )
