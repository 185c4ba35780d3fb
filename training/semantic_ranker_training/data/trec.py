"""TREC files for training: topics, judgments and runs, streaming, with a policy for broken lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.lines import Reading, parsed, read_lines
from semantic_ranker_training.data.writing import write_rows

_HEADERS = ("score", "relevance", "rel", "label")
_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*(.*?)\s*(?=<|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of a run; ranks are left out, because scores decide."""

    query_id: str
    document_id: str
    score: float


def read_topics(path: StrPath, *, reading: Reading | None = None) -> dict[str, str]:
    """Read topics: ``id<TAB>text`` lines, as TREC DL has them, or classic ``<top>`` blocks with ``<num>``, ``<title>``.

    Raises:
        DataFormatError: The file is absent or empty, a line is broken, or an id has two texts.
    """
    reading = reading or Reading()
    lines = list(read_lines(path, reading))
    if any("<top>" in text.lower() for _, text in lines[:50]):
        return _classic_topics(path, "\n".join(text for _, text in lines))
    topics: dict[str, str] = {}

    def put(text: str) -> tuple[str, str]:
        key, tab, query = text.partition("\t")
        if not tab or not key.strip() or not query.strip():
            raise InvalidInputError("expected 'id<TAB>text'.")
        if topics.setdefault(key.strip(), query.strip()) != query.strip():
            raise InvalidInputError(f"expected each id once, got another text for {key.strip()!r}.")
        return key, query

    for _ in parsed(path, iter(lines), put, reading):
        pass
    return topics


def write_topics(path: StrPath, topics: Mapping[str, str]) -> int:
    """Write ``id<TAB>text`` lines and return how many."""
    return write_rows(path, topics.items())


def read_qrels(path: StrPath, *, reading: Reading | None = None) -> dict[str, dict[str, int]]:
    """Read judgments: TREC's ``query 0 document grade`` or BEIR's ``query document grade``, with or without a header.

    `semantic_ranker.collections.read_qrels` reads the same for evaluation; this one unpacks gzip and can leave out
    broken lines.

    Raises:
        DataFormatError: The file is absent or empty, or a line is broken or repeats a judgment with another grade.
    """
    reading = reading or Reading()
    qrels: dict[str, dict[str, int]] = {}
    started = False

    def put(text: str) -> bool | None:
        nonlocal started
        columns = _columns(text)
        header, started = not started and columns[-1].lower() in _HEADERS, True
        if header:
            return None
        if len(columns) not in (3, 4):
            raise InvalidInputError(f"expected 'query 0 document grade' or 'query document grade', got {text[:80]!r}.")
        try:
            grade = int(columns[-1])
        except ValueError:
            raise InvalidInputError(f"expected a whole number as grade, got {columns[-1][:40]!r}.") from None
        if qrels.setdefault(columns[0], {}).setdefault(columns[-2], grade) != grade:
            raise InvalidInputError(f"expected one grade a pair, got another for {columns[0]!r}, {columns[-2]!r}.")
        return True

    for _ in parsed(path, read_lines(path, reading), put, reading):
        pass
    return qrels


def write_qrels(path: StrPath, qrels: Mapping[str, Mapping[str, int]]) -> int:
    """Write TREC's ``query 0 document grade`` lines and return how many."""
    return write_rows(path, ((qid, 0, did, grade) for qid, grades in qrels.items() for did, grade in grades.items()))


def read_run_rows(path: StrPath, *, reading: Reading | None = None) -> Iterator[RunRow]:
    """Give the lines of a run, ``query Q0 document rank score tag``, one by one.

    Raises:
        DataFormatError: The file is absent or empty, or a line is broken.
    """
    reading = reading or Reading()
    yield from parsed(path, read_lines(path, reading), _run_row, reading)


def _run_row(text: str) -> RunRow:
    columns = _columns(text)
    try:
        row = RunRow(columns[0], columns[2], float(columns[4]))
    except (IndexError, ValueError):
        raise InvalidInputError(f"expected 'query Q0 document rank score tag', got {text[:80]!r}.") from None
    if len(columns) != 6 or row.score != row.score:
        raise InvalidInputError(f"expected six columns with a number as score, got {text[:80]!r}.")
    return row


def _classic_topics(path: StrPath, text: str) -> dict[str, str]:
    topics: dict[str, str] = {}
    for block in _TOPIC.findall(text):
        number, title = _NUMBER.search(block), _TITLE.search(block)
        if not number or not title or not title.group(1).strip():
            raise DataFormatError(f"{path}: expected <num> and <title> in every <top> block.", str(path))
        topics[number.group(1)] = " ".join(title.group(1).split())
    if not topics:
        raise DataFormatError(f"{Path(path)}: expected closed <top> blocks, got none.", str(path))
    return topics


def _columns(text: str) -> list[str]:
    # Ids in tab-separated files may hold spaces.
    return [column.strip() for column in text.split("\t")] if "\t" in text else text.split()
