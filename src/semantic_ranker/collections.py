"""Reads test collections: BEIR folders, and TREC runs and judgments. Fetches nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_ranker.errors import EvaluationError

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A test collection.

    Attributes:
        name: Name of its folder.
        corpus: Text by document id; a title stands before the text.
        queries: Text by query id, of the queries that have judgments.
        qrels: Relevance grades by query id, then document id.
    """

    name: str
    corpus: dict[str, str] = field(repr=False)
    queries: dict[str, str] = field(repr=False)
    qrels: dict[str, dict[str, int]] = field(repr=False)


def load_beir(folder: StrPath, split: str = "test") -> Collection:
    """Read a BEIR folder: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``.

    Args:
        folder: The folder.
        split: Which judgments; only their queries are returned.

    Raises:
        EvaluationError: A file is missing, a line cannot be read (the message gives file and line), an id occurs
            twice, or a judged query has no text.
    """
    folder = Path(folder)
    qrels_path = folder / "qrels" / f"{split}.tsv"
    if folder.is_dir() and not qrels_path.is_file():
        splits = ", ".join(sorted(path.stem for path in folder.glob("qrels/*.tsv"))) or "none"
        raise EvaluationError(f"Expected judgments for split {split!r} at {qrels_path}; splits there: {splits}.")
    qrels = read_qrels(qrels_path)
    queries = {
        qid: _field(folder / "queries.jsonl", line, row, "text") for qid, line, row in _jsonl(folder / "queries.jsonl")
    }
    textless = [qid for qid in qrels if qid not in queries]
    if textless:
        raise EvaluationError(
            f"Expected a text for every judged query, got none for {len(textless)}, such as {textless[0]!r}: "
            f"{folder / 'queries.jsonl'} and {qrels_path} do not belong together."
        )
    corpus = read_corpus(folder / "corpus.jsonl")
    return Collection(name=folder.name, corpus=corpus, queries={qid: queries[qid] for qid in qrels}, qrels=qrels)


def read_corpus(path: StrPath) -> dict[str, str]:
    """Read the documents of a BEIR folder: JSON Lines with ``_id``, ``text`` and perhaps ``title``.

    Args:
        path: The file.

    Returns:
        Text by document id; a title stands before the text.

    Raises:
        EvaluationError: The file is missing, a line cannot be read, or an id occurs twice.
    """
    path = Path(path)
    return {
        document: f"{_field(path, line, row, 'title', '')} {_field(path, line, row, 'text')}".strip()
        for document, line, row in _jsonl(path)
    }


def read_qrels(path: StrPath) -> dict[str, dict[str, int]]:
    """Read judgments: BEIR's ``query document grade``, with or without a header, or TREC's ``query 0 document grade``.

    Args:
        path: A text file; columns are parted by tabs or spaces.

    Raises:
        EvaluationError: The file is missing or empty, or a line cannot be read or repeats a judgment.
    """
    qrels: dict[str, dict[str, int]] = {}
    first = True
    for line, text in _lines(path):
        columns = _columns(text)
        header, first = first and columns[-1] in ("score", "relevance", "rel"), False
        if header:
            continue
        if len(columns) not in (3, 4):
            raise _bad(path, line, "'query document grade' or 'query 0 document grade'", text)
        try:
            grade = int(columns[-1])
        except ValueError:
            raise _bad(path, line, "a whole number as grade", columns[-1]) from None
        _put(qrels, columns[0], columns[-2], grade, path, line)
    if not qrels:
        raise EvaluationError(f"Expected judgments in {path}, got none.")
    return qrels


def read_run(path: StrPath) -> dict[str, dict[str, float]]:
    """Read a TREC run, ``query Q0 document rank score tag``; scores count, the rank column does not.

    Args:
        path: A text file; columns are parted by tabs or spaces.

    Raises:
        EvaluationError: The file is missing or empty, or a line cannot be read or repeats a document.
    """
    run: dict[str, dict[str, float]] = {}
    for line, text in _lines(path):
        columns = _columns(text)
        if len(columns) != 6:
            raise _bad(path, line, "'query Q0 document rank score tag'", text)
        try:
            score = float(columns[4])
        except ValueError:
            raise _bad(path, line, "a number as score", columns[4]) from None
        if score != score:
            raise _bad(path, line, "a number as score", columns[4])
        _put(run, columns[0], columns[2], score, path, line)
    if not run:
        raise EvaluationError(f"Expected a run in {path}, got no lines.")
    return run


def write_run(path: StrPath, run: dict[str, dict[str, float]], tag: str = "semantic-ranker") -> None:
    """Write a TREC run that `read_run` and trec_eval read.

    Args:
        path: Where to.
        run: Scores by query id, then document id.
        tag: Name of the run, one word.

    Raises:
        EvaluationError: An id or the tag is empty or holds white space, which the format cannot hold.
    """
    from semantic_ranker.evaluation.metrics import rank_documents

    rows: list[str] = []
    for qid, scores in run.items():
        for rank, document in enumerate(rank_documents(scores), start=1):
            rows.append(f"{_word(qid)} Q0 {_word(document)} {rank} {scores[document]!r} {_word(tag)}\n")
    Path(path).write_text("".join(rows), encoding="utf-8")


def _lines(path: StrPath) -> Iterator[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, text
    except FileNotFoundError:
        raise EvaluationError(f"Expected a file at {path}, got none.") from None
    except UnicodeDecodeError as error:
        raise EvaluationError(f"Expected UTF-8 text in {path}, got other bytes ({error.reason}).") from None


def _columns(text: str) -> list[str]:
    # Ids in tab-separated files may hold spaces.
    return [column.strip() for column in text.split("\t")] if "\t" in text else text.split()


def _jsonl(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    seen: set[str] = set()
    for line, text in _lines(path):
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise _bad(path, line, f"a JSON object ({error.msg})", text) from None
        if not isinstance(row, dict):
            raise _bad(path, line, "a JSON object", text)
        key = _field(path, line, row, "_id")
        if key in seen:
            raise _bad(path, line, "ids that occur once", key)
        seen.add(key)
        yield key, line, row


def _field(path: Path, line: int, row: dict[str, Any], name: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise _bad(path, line, f"a string as {name!r}", value)
    return value


def _put(into: dict[str, dict[str, Any]], qid: str, document: str, value: float, path: StrPath, line: int) -> None:
    of = into.setdefault(qid, {})
    if document in of:
        raise _bad(path, line, f"each document once for query {qid!r}", document)
    of[document] = value


def _word(text: str) -> str:
    if text.split() != [text]:
        raise EvaluationError(f"Expected ids and tags without white space, got {text!r}: a TREC run cannot hold it.")
    return text


def _bad(path: StrPath, line: int, expected: str, actual: object) -> EvaluationError:
    shown = repr(actual.strip()[:80] if isinstance(actual, str) else actual)
    return EvaluationError(f"{path}:{line}: expected {expected}, got {shown}.")
