"""Reads and writes the groups that trainers learn from, in any of the supported formats."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.arrays import read_array
from semantic_ranker_training.data.lines import Reading, finish, read_lines
from semantic_ranker_training.data.records import Group, Record, group_records
from semantic_ranker_training.data.rows import KNOWN, group_of_row
from semantic_ranker_training.data.tables import read_table
from semantic_ranker_training.data.writing import atomic_lines


def read_groups(path: StrPath, *, reading: Reading | None = None, gather: bool = False) -> Iterator[Group]:
    """Read groups of a file or folder, one by one; what it holds tells the format.

    A file is JSON Lines (``.jsonl``), a JSON list (``.json``), or CSV/TSV with a header; each may be gzipped. Its rows
    are FlagEmbedding's ``query, pos, neg, pos_scores, neg_scores``, the guides' ``query, positive, negative``,
    ``query, documents, labels``, or judged pairs ``query, document, label``. A folder is a BEIR or MS MARCO data set,
    of which the split ``train`` is read.

    Args:
        path: The file or folder.
        reading: Policy for broken lines, and what was counted; None raises at the first.
        gather: Whether judged pairs of a query may lie apart; then all are held in memory. Otherwise neighbours form
            a group.

    Yields:
        Groups with at least one positive.

    Raises:
        DataFormatError: The file is absent, empty, or has a broken line (`path` and `line` say which).
    """
    reading = reading or Reading()
    if Path(path).is_dir():
        yield from _of_folder(path, reading, gather)
        return
    yield from _with_positives(path, read_rows(path, reading), reading, gather)


def read_rows(path: StrPath, reading: Reading) -> Iterator[tuple[int, Group | Record]]:
    """Give what each row of a file says, with its line; see `read_groups`."""
    for number, row in _raw_rows(path, reading):
        try:
            found = group_of_row(row)
        except InvalidInputError as error:
            reading.broken(path, number, str(error))
            continue
        reading.rows += 1
        yield number, found


def write_groups(path: StrPath, groups: Iterable[Group], *, form: Literal["flag", "labelled"] = "flag") -> int:
    """Write groups as JSON Lines that `read_groups` reads, and return how many.

    Args:
        path: Where to; a name that ends in ``.gz`` is gzipped.
        groups: The groups; they are written one by one.
        form: ``flag`` is FlagEmbedding's ``query, pos, neg, pos_scores, neg_scores``, positives first; ``labelled`` is
            ``query, documents, labels, scores`` in the group's order.

    Raises:
        StorageError: The file cannot be written; an old one is untouched.
    """
    if form not in ("flag", "labelled"):
        raise InvalidInputError(f"Expected form to be 'flag' or 'labelled', got {form!r}.")
    count = 0
    with atomic_lines(path) as write:
        for group in groups:
            write(group_line(group, form) + "\n")
            count += 1
    return count


def group_line(group: Group, form: Literal["flag", "labelled"] = "flag") -> str:
    """Return a group as one line of JSON."""
    row = _flag_row(group) if form == "flag" else _labelled_row(group)
    if group.source:
        row["source"] = group.source
    return json.dumps(row, ensure_ascii=False)


def _flag_row(group: Group) -> dict[str, Any]:
    order = sorted(range(len(group.texts)), key=lambda place: group.labels[place] <= 0)
    count = len(group.positives)
    row: dict[str, Any] = {
        "query": group.query,
        "pos": [group.texts[place] for place in order[:count]],
        "neg": [group.texts[place] for place in order[count:]],
    }
    if group.scores is not None:
        row["pos_scores"] = [group.scores[place] for place in order[:count]]
        row["neg_scores"] = [group.scores[place] for place in order[count:]]
    if set(group.labels) - {0.0, 1.0}:
        row["labels"] = [group.labels[place] for place in order]
    if group.provenance is not None:
        row["provenance"] = [dict(group.provenance[place]) for place in order]
    return row


def _labelled_row(group: Group) -> dict[str, Any]:
    row: dict[str, Any] = {"query": group.query, "documents": list(group.texts), "labels": list(group.labels)}
    if group.scores is not None:
        row["scores"] = list(group.scores)
    if group.provenance is not None:
        row["provenance"] = [dict(item) for item in group.provenance]
    return row


def _raw_rows(path: StrPath, reading: Reading) -> Iterator[tuple[int, Mapping[str, Any]]]:
    name = Path(path).name.removesuffix(".gz").lower()
    if name.endswith(".json"):
        yield from read_array(path, reading)
    elif name.endswith((".csv", ".tsv")):
        yield from read_table(path, reading, delimiter="," if name.endswith(".csv") else "\t")
    elif name.endswith((".jsonl", ".ndjson")):
        for number, text in read_lines(path, reading):
            try:
                yield number, json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                reading.broken(path, number, f"expected a JSON object, got broken JSON ({error}).")
    else:
        raise DataFormatError(
            f"Expected a name that ends in .jsonl, .json, .csv or .tsv (and perhaps .gz), got {Path(path).name!r}; "
            f"rows may have {KNOWN}.",
            str(path),
        )


def _with_positives(
    path: StrPath, rows: Iterable[tuple[int, Group | Record]], reading: Reading, gather: bool
) -> Iterator[Group]:
    given = 0
    for number, group in _merged(rows, path, reading, gather):
        if not group.positives:
            reading.broken(path, number, "expected at least one relevant text for the query, got none.")
            continue
        given += 1
        yield group
    finish(path, reading, given)


def _merged(
    rows: Iterable[tuple[int, Group | Record]], path: StrPath, reading: Reading, gather: bool
) -> Iterator[tuple[int, Group]]:
    """Put the judged pairs of a query together; a group is given with the line that its first pair is on."""
    if gather:
        rows = _gathered(rows)
    for key, run in itertools.groupby(rows, key=lambda row: row[1].query if isinstance(row[1], Record) else None):
        if key is None:
            yield from ((number, found) for number, found in run if isinstance(found, Group))
            continue
        pairs = [(number, found) for number, found in run if isinstance(found, Record)]
        try:
            yield pairs[0][0], next(group_records(found for _, found in pairs))
        except InvalidInputError as error:
            reading.broken(path, pairs[0][0], str(error))


def _gathered(rows: Iterable[tuple[int, Group | Record]]) -> Iterator[tuple[int, Group | Record]]:
    of_query: dict[str, list[tuple[int, Record]]] = {}
    for number, found in rows:
        if isinstance(found, Group):
            yield number, found
        else:
            of_query.setdefault(found.query, []).append((number, found))
    yield from itertools.chain.from_iterable(of_query.values())


def _of_folder(path: StrPath, reading: Reading, gather: bool) -> Iterator[Group]:
    from semantic_ranker_training.data.beir import read_beir
    from semantic_ranker_training.data.msmarco import is_msmarco, read_msmarco

    read = read_msmarco if is_msmarco(Path(path)) else read_beir
    rows = ((0, record) for record in read(path, reading=reading))
    yield from _with_positives(path, rows, reading, gather)
