"""Reads lines of a file with bounded memory, and says which one is broken. Knows no format."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeVar, cast

from semantic_ranker._files import StrPath
from semantic_ranker.errors import DataFormatError, InvalidInputError

MAX_LINE_BYTES = 16 * 2**20
_PROBLEMS_KEPT = 10
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(slots=True)
class Reading:
    """How broken lines are treated, and what was found so far.

    Attributes:
        on_error: ``raise`` stops at the first broken line, ``skip`` counts it.
        max_line_bytes: A longer line is broken: it is never held in memory.
        rows: Lines or records read.
        skipped: Broken lines left out.
        problems: What was wrong with the first ten of them.
    """

    on_error: Literal["raise", "skip"] = "raise"
    max_line_bytes: int = MAX_LINE_BYTES
    rows: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise InvalidInputError(f"Expected on_error to be 'raise' or 'skip', got {self.on_error!r}.")
        if self.max_line_bytes < 1:
            raise InvalidInputError(f"Expected max_line_bytes of 1 or more, got {self.max_line_bytes}.")

    def broken(self, path: StrPath, line: int, problem: str) -> None:
        """Count a broken line.

        Raises:
            DataFormatError: The policy is ``raise``.
        """
        message = f"{path}:{line}: {problem}"
        if self.on_error == "raise":
            raise DataFormatError(message, str(path), line)
        self.skipped += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(message)


def read_lines(path: StrPath, reading: Reading) -> Iterator[tuple[int, str]]:
    """Give the number and the text of each line, without its end; empty lines are left out.

    UTF-8 with or without a byte order mark, any of LF and CRLF, gzipped or not (told by its content).

    Raises:
        DataFormatError: The file cannot be read, or a line is broken and the policy is ``raise``.
    """
    for number, line in read_raw_lines(path, reading):
        text = line.rstrip("\r\n")
        if text.strip():
            yield number, text


def read_raw_lines(path: StrPath, reading: Reading) -> Iterator[tuple[int, str]]:
    """Give the number and the text of each line with its end, empty ones too; for readers of quoted CSV.

    Raises:
        DataFormatError: See `read_lines`.
    """
    number = 0
    try:
        with open_binary(path) as file:
            for number, line in enumerate(_bounded(file, reading.max_line_bytes), start=1):
                text = _decoded(path, number, line, reading)
                if text is not None:
                    yield number, text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = f"{path}:{number + 1}: expected a whole gzip file, got a damaged one ({error})."
        raise DataFormatError(message, str(path), number + 1) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def parsed(
    path: StrPath, lines: Iterator[tuple[int, str]], parse: Callable[[str], _T | None], reading: Reading
) -> Iterator[_T]:
    """Give what a function makes of each line; an `InvalidInputError` of it names the line, None leaves it out.

    Raises:
        DataFormatError: A line is broken and the policy is ``raise``, or nothing was left.
    """
    given = 0
    for number, text in lines:
        try:
            found = parse(text)
        except InvalidInputError as error:
            reading.broken(path, number, str(error))
            continue
        if found is not None:
            given += 1
            reading.rows += 1
            yield found
    finish(path, reading, given)


def finish(path: StrPath, reading: Reading, given: int) -> None:
    """Report skipped lines in the log, once a file was read.

    Raises:
        DataFormatError: Nothing was given.
    """
    if reading.skipped:
        _log.warning("Left out %d broken lines of %s; first: %s", reading.skipped, path, _where(reading))
    if not given:
        why = (
            f": all of its {reading.skipped} lines are broken, first {reading.problems[0]}" if reading.skipped else "."
        )
        raise DataFormatError(f"Expected records in {path}, got none{why}", str(path))


def open_binary(path: StrPath) -> IO[bytes]:
    """Open a file for reading, unpacking gzip.

    Raises:
        DataFormatError: There is no such file.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  # the caller closes it
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        start = file.peek(2)[:2]
    except OSError:
        file.close()
        raise
    if start != b"\x1f\x8b":
        return file
    file.close()
    return cast("IO[bytes]", gzip.open(path, "rb"))


def _bounded(file: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Give each line, or None for one that is longer than the limit."""
    while line := file.readline(limit + 1):
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(limit)
        yield None


def _decoded(path: StrPath, number: int, line: bytes | None, reading: Reading) -> str | None:
    if line is None:
        reading.broken(path, number, f"expected a line of at most {reading.max_line_bytes} bytes, got a longer one.")
        return None
    if number == 1 and line.startswith(_UTF16):
        raise DataFormatError(
            f"{path}:1: expected UTF-8, got UTF-16: convert the file, such as with iconv.", str(path), 1
        )
    try:
        return (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"expected UTF-8, got the byte 0x{line[error.start]:02x} at column {error.start + 1}."
        reading.broken(path, number, problem)
        return None


def _unreadable(path: StrPath, error: OSError) -> DataFormatError:
    hint = "; is it a folder?" if isinstance(error, IsADirectoryError) else ""
    return DataFormatError(f"Cannot read {str(Path(path))!r}: {error.strerror or error}{hint}.", str(path))


def _where(reading: Reading) -> str:
    # The place only: the rest of a message may show a user's text.
    return ":".join(reading.problems[0].split(": ")[0].rsplit(":", 2)[-2:])
