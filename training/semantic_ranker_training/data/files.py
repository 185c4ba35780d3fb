"""Small formats of one file: Quora question pairs, the guides' triples, plain labelled pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.groups import read_rows
from semantic_ranker_training.data.lines import Reading, finish
from semantic_ranker_training.data.records import Group, Record, Triple
from semantic_ranker_training.data.rows import record_of_row
from semantic_ranker_training.data.tables import read_table, write_table
from semantic_ranker_training.data.writing import atomic_lines

_QUORA = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
_LABELLED = ("query", "document", "label", "query_id", "document_id", "source")


def read_quora(path: StrPath, *, reading: Reading | None = None) -> Iterator[Record]:
    """Give the pairs of ``quora_duplicate_questions.tsv``: the label is whether the questions mean the same.

    Raises:
        DataFormatError: The file is absent or empty, lacks a column, or a row is broken.
    """
    reading = reading or Reading()
    given = 0
    for number, row in read_table(path, reading, delimiter="\t"):
        if lacking := {"question1", "question2", "is_duplicate"} - set(row):
            raise DataFormatError(
                f"{path}:1: expected the columns of Quora's pairs, lacks {sorted(lacking)}.", str(path), 1
            )
        try:
            record = record_of_row({**row, "source": "quora"})
            if record.label not in (0, 1):
                raise InvalidInputError(f"Expected is_duplicate of 0 or 1, got {record.label}.")
        except InvalidInputError as error:
            reading.broken(path, number, str(error))
            continue
        given += 1
        reading.rows += 1
        yield record
    finish(path, reading, given)


def write_quora(path: StrPath, records: Iterable[Record]) -> int:
    """Write pairs as Quora's tsv and return how many; the label must be 0 or 1."""
    return write_table(path, _QUORA, map(_quora_row, records, _numbers()), delimiter="\t")


def read_triples(path: StrPath, *, reading: Reading | None = None) -> Iterator[Triple]:
    """Give the guides' triples: a JSON list, JSON Lines or CSV of ``query``, ``positive``, ``negative``.

    A row without a negative gives a triple without one; a row with several texts gives one triple a pair of them.

    Raises:
        DataFormatError: The file is absent or empty, or a row is broken.
    """
    reading = reading or Reading()
    given = 0
    for number, found in read_rows(path, reading):
        if not isinstance(found, Group):
            reading.broken(path, number, "expected query, positive and negative, got a judged pair.")
            continue
        for positive in found.positives:
            for negative in found.negatives or (None,):
                given += 1
                yield Triple(found.query, positive, negative)
    finish(path, reading, given)


def write_triples(path: StrPath, triples: Iterable[Triple]) -> int:
    """Write the guides' triples, as a JSON list, JSON Lines or CSV by the name's ending, and return how many.

    Raises:
        InvalidInputError: The ending is none of ``.json``, ``.jsonl``, ``.csv``, and these with ``.gz``.
        StorageError: The file cannot be written.
    """
    rows = ({key: value for key, value in triple._asdict().items() if value is not None} for triple in triples)
    return _write_rows(path, ("query", "positive", "negative"), rows)


def read_labelled(path: StrPath, *, reading: Reading | None = None) -> Iterator[Record]:
    """Give plain judged pairs: CSV, TSV or JSON of ``query``, ``document`` (or ``text``) and ``label`` (or ``score``).

    Raises:
        DataFormatError: The file is absent or empty, or a row is broken.
    """
    reading = reading or Reading()
    given = 0
    for number, found in read_rows(path, reading):
        if not isinstance(found, Record):
            reading.broken(path, number, "expected query, document and label, got a group of texts.")
            continue
        given += 1
        yield found
    finish(path, reading, given)


def write_labelled(path: StrPath, records: Iterable[Record]) -> int:
    """Write plain judged pairs, as CSV, TSV, JSON Lines or a JSON list by the name's ending, and return how many."""
    rows = ({name: getattr(record, name) for name in _LABELLED} for record in records)
    return _write_rows(path, _LABELLED, rows)


def _write_rows(path: StrPath, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> int:
    name = Path(path).name.removesuffix(".gz").lower()
    if name.endswith((".csv", ".tsv")):
        return write_table(path, columns, rows, delimiter="," if name.endswith(".csv") else "\t")
    if not name.endswith((".json", ".jsonl")):
        raise InvalidInputError(f"Expected a name that ends in .json, .jsonl, .csv or .tsv, got {name!r}.")
    count = 0
    start, between, end = ("[\n", ",\n", "\n]\n") if name.endswith(".json") else ("", "\n", "\n")
    with atomic_lines(path) as write:
        write(start)
        for count, row in enumerate(rows, start=1):
            write((between if count > 1 else "") + json.dumps(row, ensure_ascii=False))
        write(end if count or start else "")
    return count


def _quora_row(record: Record, number: int) -> dict[str, Any]:
    if record.label not in (0, 1):
        raise InvalidInputError(f"Expected labels of 0 or 1 for Quora's format, got {record.label}.")
    values = (number, record.query_id, record.document_id, record.query, record.document, int(record.label))
    return dict(zip(_QUORA, values, strict=True))


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
