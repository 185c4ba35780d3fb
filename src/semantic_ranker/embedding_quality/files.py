"""Reads pairs with scores and texts with labels: JSON Lines, CSV or TSV with a header, in MTEB's column names."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.collections import StrPath

_LEFT, _RIGHT = ("sentence1", "text1"), ("sentence2", "text2")
_SCORE, _TEXT, _LABEL = ("score", "similarity_score"), ("text", "sentence", "sentences"), ("label", "labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPairs:
    """Pairs of texts with people's scores.

    Attributes:
        name: Of the file.
        left: First texts.
        right: Second texts.
        scores: One a pair.
    """

    name: str
    left: list[str] = field(repr=False)
    right: list[str] = field(repr=False)
    scores: list[float] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTexts:
    """Texts with labels.

    Attributes:
        name: Of the file.
        texts: The texts.
        labels: One a text.
    """

    name: str
    texts: list[str] = field(repr=False)
    labels: list[str] = field(repr=False)


def read_pairs(path: StrPath) -> ScoredPairs:
    """Read ``sentence1``, ``sentence2``, ``score``.

    Raises:
        EvaluationError: The file is absent or empty, or a line lacks a column or has no number as score.
    """
    path = Path(path)
    left, right, scores = [], [], []
    for line, row in _rows(path):
        left.append(_text(path, line, row, _LEFT))
        right.append(_text(path, line, row, _RIGHT))
        scores.append(_number(path, line, row))
    return ScoredPairs(name=path.name, left=left, right=right, scores=scores)


def read_labelled(path: StrPath) -> LabelledTexts:
    """Read ``text`` and ``label``.

    Raises:
        EvaluationError: The file is absent or empty, or a line lacks a column.
    """
    path = Path(path)
    texts, labels = [], []
    for line, row in _rows(path):
        texts.append(_text(path, line, row, _TEXT))
        labels.append(str(_value(path, line, row, _LABEL)))
    return LabelledTexts(name=path.name, texts=texts, labels=labels)


def read_vectors(path: StrPath) -> NDArray[Any]:
    """Read a matrix of vectors from an ``.npy`` file; pickles are refused.

    Raises:
        EvaluationError: The file is absent or holds something else.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise EvaluationError(f"Expected a file at {path}, got none.") from None
    except (OSError, ValueError, EOFError) as error:
        raise EvaluationError(f"Expected an .npy file of numbers at {path}: {error}.") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        raise EvaluationError(f"Expected a matrix of numbers, one vector a row, in {path}, got something else.")
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        # newline="" is csv's rule: a quoted cell may hold line feeds.
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = _json_rows(path, file) if path.suffix in (".jsonl", ".json") else _csv_rows(path, file)
            empty = True
            for row in rows:
                empty = False
                yield row
    except FileNotFoundError:
        raise EvaluationError(f"Expected a file at {path}, got none.") from None
    except UnicodeDecodeError as error:
        raise EvaluationError(f"Expected UTF-8 text in {path}, got other bytes ({error.reason}).") from None
    except csv.Error as error:
        raise EvaluationError(f"Cannot read {path} as a table: {error}.") from error
    if empty:
        raise EvaluationError(f"Expected lines in {path}, got none.")


def _json_rows(path: Path, file: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EvaluationError(f"{path}:{line}: expected a JSON object, got something else ({error}).") from None
        if not isinstance(row, dict):
            raise EvaluationError(f"{path}:{line}: expected a JSON object, got {type(row).__name__}.")
        yield line, row


def _csv_rows(path: Path, file: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
    for row in reader:
        yield reader.line_num, row


def _value(path: Path, line: int, row: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    known = ", ".join(map(str, row)) or "none"
    raise EvaluationError(f"{path}:{line}: expected a column {names[0]!r}, got columns {known}.")


def _text(path: Path, line: int, row: dict[str, Any], names: tuple[str, ...]) -> str:
    value = _value(path, line, row, names)
    if not isinstance(value, str):
        raise EvaluationError(f"{path}:{line}: expected a string as {names[0]!r}, got {type(value).__name__}.")
    return value


def _number(path: Path, line: int, row: dict[str, Any]) -> float:
    value = _value(path, line, row, _SCORE)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise EvaluationError(f"{path}:{line}: expected a finite number as 'score', got {value!r}.")
    return number
