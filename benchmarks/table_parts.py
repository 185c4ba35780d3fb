"""What all generated tables are made with: a result by name, and rows of Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def has(name: str) -> bool:
    return (RESULTS / f"{name}.json").is_file()


def change(part: dict[str, Any], digits: int = 3) -> str:
    """Return a difference with its interval."""
    return f"{part['difference']:+.{digits}f} [{part['low']:+.{digits}f}, {part['high']:+.{digits}f}]"


def points(part: dict[str, Any]) -> str:
    """Return a difference with its interval, in points of a hundred."""
    return f"{100 * part['difference']:+.1f} [{100 * part['low']:+.1f}, {100 * part['high']:+.1f}]"


def rows(head: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, cells)) + " |" for cells in body)])
