"""Data sets of the Hugging Face hub, or a folder that ``datasets`` has saved, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data.lines import Reading, finish
from semantic_ranker_training.data.records import Group, Record, group_records
from semantic_ranker_training.data.rows import group_of_row


def read_hub(
    name: str,
    split: str = "train",
    *,
    subset: str | None = None,
    columns: Mapping[str, str] | None = None,
    reading: Reading | None = None,
) -> Iterator[Group]:
    """Give the groups of a data set that the package ``datasets`` can open; rows are streamed.

    Args:
        name: Id on the hub, a folder of files in a format that ``datasets`` knows, or one made by ``save_to_disk``.
        split: Which split.
        subset: Which configuration of the data set.
        columns: Our name by the data set's, such as ``{"sentence1": "query"}``, where they differ.
        reading: Policy for broken rows.

    Raises:
        DataFormatError: The data set cannot be opened (the hub may be out of reach), has no such split, or a row is
            broken.
    """
    reading = reading or Reading()
    given = 0
    pending: list[Record] = []
    for number, row in enumerate(_rows(name, split, subset), start=1):
        try:
            found = group_of_row({(columns or {}).get(key, key): value for key, value in row.items()})
        except InvalidInputError as error:
            reading.broken(name, number, str(error))
            continue
        reading.rows += 1
        if pending and (isinstance(found, Group) or found.query != pending[0].query):
            given += 1
            yield next(group_records(pending))
            pending = []
        if isinstance(found, Record):
            pending.append(found)
        else:
            given += 1
            yield found
    if pending:
        given += 1
        yield next(group_records(pending))
    finish(name, reading, given)


def _rows(name: str, split: str, subset: str | None) -> Iterator[dict[str, Any]]:
    with requires_extra("training"):
        import datasets
    try:
        if (Path(name) / "dataset_dict.json").is_file() or (Path(name) / "dataset_info.json").is_file():
            stored = datasets.load_from_disk(name)
            found = stored[split] if isinstance(stored, dict) else stored
        else:
            found = datasets.load_dataset(name, subset, split=split, streaming=True)
        rows: Iterator[dict[str, Any]] = iter(found)
        yield from rows
    except DataFormatError:
        raise
    except Exception as error:  # the libraries below raise anything from OSError to their own kinds
        raise DataFormatError(
            f"Cannot read split {split!r} of the data set {name!r} ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}). Offline, give a folder or file on this machine.",
            name,
        ) from error
