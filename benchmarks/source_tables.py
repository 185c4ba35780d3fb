"""The table of docs/rag.md on passages that are known by their documents, from source_weight.json."""

from __future__ import annotations

from typing import Any

from table_parts import has, points, read, rows

METRIC = "nDCG@10"
SHOWN = ("0.2", "0.4", "0.5", "fitted")


def sources() -> str:
    if not has("source_weight"):
        return "`benchmarks/source_weight.py` was not run on this checkout."
    found = read("source_weight")

    def line(name: str, part: dict[str, Any]) -> list[object]:
        own, gains = part["systems"]["0"][METRIC], [points(part["gain"][weight][METRIC]) for weight in SHOWN]
        return [name, part["model"], part["queries"], f"{own:.3f}", *gains, f"{part['fitted']:g}"]

    head = ("questions on", "model", "questions", METRIC, *(f"weight {of}, points" for of in SHOWN), "fitted weight")
    body = rows(head, (line(name, part) for name, part in found["rows"].items()))
    return (
        f"{body}\n\nWhat each weight adds to {METRIC} of passages by themselves, in points, 95 % intervals over questions; "
        f"RRF's best {found['depth']} are ranked. Folders are asked by their own headings, titles and links, a proxy. The "
        "fitted weight is the one that the other folders' questions chose: the handbook has no part in that of its 60 "
        f"questions. `{found['command']}`"
    )
