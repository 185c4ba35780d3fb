"""Runs and judgments from files in whatever public format they come: TREC, BEIR folder, JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from semantic_ranker.collections import StrPath, read_qrels, read_run
from semantic_ranker.errors import EvaluationError

_T = TypeVar("_T")


def read_run_file(path: StrPath) -> dict[str, dict[str, float]]:
    """Read a TREC run, or JSON: scores, or a list of document ids, best first, by query id.

    Args:
        path: The file; ``.json`` is JSON, anything else TREC.

    Raises:
        EvaluationError: It cannot be read, is a folder, repeats a row, or has another shape.
    """
    if Path(path).suffix != ".json":
        return _opened(path, read_run)
    found = _opened(path, _read_json)
    return {qid: _scores(path, qid, of) for qid, of in found.items()}


def read_qrels_file(path: StrPath, split: str = "test") -> dict[str, dict[str, int]]:
    """Read judgments: BEIR's or TREC's lines, JSON grades by query id and document id, or a BEIR folder's split.

    Args:
        path: File or folder.
        split: Which judgments of a folder.

    Raises:
        EvaluationError: They cannot be read, repeat a row, or have another shape.
    """
    if Path(path).is_dir():
        qrels = Path(path) / "qrels" / f"{split}.tsv"
        if not qrels.is_file():
            splits = ", ".join(sorted(found.stem for found in Path(path).glob("qrels/*.tsv"))) or "none"
            raise EvaluationError(f"Expected judgments for split {split!r} at {qrels}; splits there: {splits}.")
        return _opened(qrels, read_qrels)
    if Path(path).suffix != ".json":
        return _opened(path, read_qrels)
    found = _opened(path, _read_json)
    for qid, of in found.items():
        if not isinstance(of, dict):
            raise EvaluationError(f"{path}: expected grades by document id for query {qid!r}, got {_kind(of)}.")
    return found


def _opened(path: StrPath, read: Callable[[StrPath], _T]) -> _T:
    try:
        return read(path)
    except FileNotFoundError:
        raise EvaluationError(f"Expected a file at {os.fspath(path)}, got none.") from None
    except OSError as error:
        raise EvaluationError(f"Cannot read {os.fspath(path)}: {error.strerror}.") from error


def _read_json(path: StrPath) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvaluationError(f"Expected JSON in {os.fspath(path)}: {error}.") from None
    except _RepeatedError as error:
        raise EvaluationError(f"{os.fspath(path)}: expected each id once, got {str(error)!r} twice.") from None
    if not isinstance(found, dict) or not found:
        raise EvaluationError(f"Expected an object by query id in {os.fspath(path)}, got {_kind(found)}.")
    return found


class _RepeatedError(Exception):
    """An id that stands twice in one JSON object."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _RepeatedError(name)
        found[name] = value
    return found


def _scores(path: StrPath, qid: str, of: Any) -> dict[str, float]:
    if isinstance(of, dict):
        return of
    if not isinstance(of, list) or not all(isinstance(document, str) for document in of):
        raise EvaluationError(
            f"{path}: expected scores by document id, or a list of ids, for query {qid!r}, got {_kind(of)}."
        )
    if len(set(of)) != len(of):
        raise EvaluationError(f"{path}: expected each document once for query {qid!r}, got a repeated one.")
    return {document: float(len(of) - rank) for rank, document in enumerate(of)}


def _kind(value: Any) -> str:
    return f"{'an empty' if value in ({}, []) else 'a'} {type(value).__name__}"
