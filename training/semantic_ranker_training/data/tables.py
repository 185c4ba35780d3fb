"""Reads CSV and TSV with a header row, streaming."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError
from semantic_ranker_training.data.lines import Reading, read_raw_lines
from semantic_ranker_training.data.writing import atomic_lines


def read_table(path: StrPath, reading: Reading, *, delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Give the rows below the header by column name, with the number of the line that each ends on.

    Quoted values may hold delimiters and line ends. A row with more or fewer values than the header is broken.

    Raises:
        DataFormatError: There is no header, or a row is broken and the policy is ``raise``.
    """
    lines = read_raw_lines(path, reading)
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for number, text in lines:
            last = number
            yield text

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            values = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            reading.broken(path, last, f"expected a row of quoted values ({error}); is a quote left open?")
            continue
        if header is None and values:
            header = [name.strip().lower() for name in values]
        elif header is not None and any(value.strip() for value in values):
            if len(values) != len(header):
                reading.broken(path, last, f"expected {len(header)} values, as in the header, got {len(values)}.")
                continue
            yield last, dict(zip(header, values, strict=True))
    if header is None:
        raise DataFormatError(f"Expected a header row in {path}, got an empty file.", str(path))


def write_table(
    path: StrPath, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, delimiter: str = ","
) -> int:
    """Write rows under a header, quoted where needed, and return how many.

    Raises:
        StorageError: The file cannot be written.
    """
    count = 0
    with atomic_lines(path) as write:
        writer = csv.DictWriter(_Sink(write), columns, delimiter=delimiter, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow(dict(row))
            count += 1
    return count


class _Sink:
    def __init__(self, write: Any) -> None:
        self.write = write
