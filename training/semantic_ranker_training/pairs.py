"""Query-passage pairs from files and from the docstrings of installed packages. Reads only."""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from semantic_ranker._extras import package_folder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.config import SourceConfig

DOCSTRINGS = "docstrings"
_FILES_PER_PACKAGE = 700
_MAX_CODE_CHARACTERS = 1500


@dataclass(frozen=True, slots=True)
class PairSource:
    """Sampled pairs of one source.

    Attributes:
        name: Short name.
        passages: Distinct passages.
        queries: The queries.
        positives: Row in ``passages`` of each query's passage.
        language: ISO 639-1.
    """

    name: str
    passages: list[str]
    queries: list[str]
    positives: list[int]
    language: str = "en"


def load_source(config: SourceConfig, data: Path, seed: int) -> PairSource:
    """Read and sample one source; the same seed gives the same sample.

    Raises:
        InvalidInputError: The file is absent, or a line is broken (its number is given).
    """
    if config.file == DOCSTRINGS:
        pairs = list(docstring_pairs(config.packages, seed))
    else:
        pairs = list(read_pairs(data / config.file, config.source))
    if not pairs:
        raise InvalidInputError(f"Found no pairs of source {config.source!r} in {config.file}.")
    chooser = random.Random(f"{seed}/{config.name}")
    passages = list(dict.fromkeys(passage for _, passage in pairs))
    chooser.shuffle(passages)
    passages = sorted(passages[: config.passages])
    rows = {passage: row for row, passage in enumerate(passages)}
    kept = [pair for pair in pairs if pair[1] in rows]
    chooser.shuffle(kept)
    kept = kept[: config.queries]
    queries, positives = [query for query, _ in kept], [rows[passage] for _, passage in kept]
    return PairSource(config.name, passages, queries, positives, config.language)


def read_pairs(path: Path, source: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``(query, positive)`` of a JSON-lines file, plain or gzipped.

    Args:
        path: The file; each line an object with ``query`` and ``positive``.
        source: Keep lines with this ``source`` only; empty keeps all.

    Raises:
        InvalidInputError: The file is absent or a line is broken.
    """
    if not path.is_file():
        raise InvalidInputError(f"Expected a file of pairs at {path.name}, found nothing: give the folder with --data.")
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                query, positive = row["query"].strip(), row["positive"].strip()
            except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
                raise InvalidInputError(
                    f"Line {number} of {path.name} is no object with the strings 'query' and 'positive' ({error})."
                ) from error
            if (not source or row.get("source") == source) and query and positive:
                yield query, positive


def docstring_pairs(packages: Sequence[str], seed: int) -> Iterator[tuple[str, str]]:
    """Yield ``(first sentence of a docstring, the function without it)`` from installed packages, shuffled.

    Half of the functions keep the rest of their docstring. The query's text never stays in the passage.
    """
    chooser = random.Random(f"{seed}/docstrings")
    found: dict[str, str] = {}
    for package in packages:
        root = package_folder(package)
        if root is None:
            raise InvalidInputError(f"Expected an installed package {package!r} to read docstrings from.")
        for file in sorted(root.rglob("*.py"))[:_FILES_PER_PACKAGE]:
            if "test" not in str(file.relative_to(root)).lower():
                for summary, code in function_pairs(file, chooser):
                    found.setdefault(summary, code)
    pairs = list(found.items())
    chooser.shuffle(pairs)
    yield from pairs


def function_pairs(file: Path, chooser: random.Random) -> Iterator[tuple[str, str]]:
    """Yield ``(first sentence of a docstring, the function without it)`` of one Python file; broken files have none."""
    try:
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return
    lines = text.split("\n")
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if not docstring or not isinstance(node, ast.FunctionDef):
            continue
        summary = re.split(r"(?<=[.!?])\s|\n\n", docstring.strip())[0].replace("\n", " ").strip().rstrip(".")
        code = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        if not 4 <= len(summary.split()) <= 20 or ">>>" in summary or ":" in summary or not 120 < len(code) < 4000:
            continue
        whole = "\n".join(lines[node.body[0].lineno - 1 : node.body[0].end_lineno])
        rest = re.sub(r"\s+", " ", docstring.strip()[len(summary) :])[:300].lstrip(". ")
        keep = f'"""{rest}"""' if len(rest) > 40 and chooser.random() < 0.5 else ""
        passage = re.sub(r"[ \t]+", " ", code.replace(whole, keep, 1))[:_MAX_CODE_CHARACTERS]
        # Some docstrings say their first sentence twice: a passage must not hold its own query.
        if summary not in passage:
            yield summary, passage
