"""Makes docs/notebooks/tutorial.ipynb of docs/tutorial.md (`python docs/_notebook.py`); the suite runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE, NOTEBOOK = DOCS / "tutorial.md", DOCS / "notebooks" / "tutorial.ipynb"
_PROGRAM = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```\n", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([\w./-]+)\)")


def notebook(page: str) -> dict[str, Any]:
    """Return the cells of a page: text, and programs with what they print."""
    cells: list[dict[str, Any]] = []
    place = 0
    for program in _PROGRAM.finditer(page):
        cells += [*_text(page[place : program.start()], len(cells)), _code(program, len(cells) + 1)]
        place = program.end()
    cells += _text(page[place:], len(cells))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _text(text: str, number: int) -> list[dict[str, Any]]:
    if not text.strip():
        return []
    source = _LINK.sub(lambda link: f"](../{link[1]})", text.strip())
    return [{"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": source.splitlines(True)}]


def _code(program: re.Match[str], number: int) -> dict[str, Any]:
    output = {"name": "stdout", "output_type": "stream", "text": program["printed"].splitlines(True)}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"cell-{number}",
        "metadata": {},
        "outputs": [output],
        "source": program["code"].rstrip("\n").splitlines(True),
    }


def written() -> str:
    """Return the notebook as its file holds it."""
    return json.dumps(notebook(PAGE.read_text(encoding="utf-8")), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.parent.mkdir(exist_ok=True)
    NOTEBOOK.write_text(written(), encoding="utf-8")
