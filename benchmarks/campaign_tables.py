"""The tables of training/README.md: every way of training the head that was measured, and every number of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from table_parts import has, points, read, rows


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


def layers() -> str:
    if not has("layers"):
        return "`benchmarks/layers.py` was not run on this checkout."
    found = read("layers")
    names, first = list(found["queries"]), next(iter(found["rows"].values()))
    body = rows(
        ("layers", "macro nDCG@10", "against all six, points", *names, "time", "MB", "error of a state"),
        (
            (
                *_line(name, part, names),
                f"{part['ms for 100 passages'] / first['ms for 100 passages']:.2f}",
                part["megabytes"],
                f"{part['learnt']['held_out']['after']['passages']['tokens']:.3f}" if part["learnt"] else "-",
            )
            for name, part in found["rows"].items()
        ),
    )
    queries = ", ".join(f"{count} of {name}" for name, count in found["queries"].items())
    return (
        f"{body}\n\nReranking BM25's best 100, {queries}, int8; 95 % intervals over queries. Students without a number of "
        f"steps had {found['steps']:,} each, of the same texts. Time is that of 100 new passages in one run in which all "
        "took turns, as a share of all six layers'; the error is 1 - cosine of the projected token states of held-out "
        f"passages. torch {found['versions']['torch']}, `{found['command']}`"
    )


def _line(name: str, part: dict[str, Any], names: Sequence[str]) -> Sequence[object]:
    macro, change = part["macro"], part.get("against the baseline")
    return (
        name,
        f"{macro['mean']:.3f} [{macro['low']:.3f}, {macro['high']:.3f}]",
        points(change) if change else "-",
        *(f"{part['collections'][of]['mean']:.3f}" for of in names),
    )
