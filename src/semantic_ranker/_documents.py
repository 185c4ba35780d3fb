"""Reads the documents of the command line: one a line, or JSON lines with "text"."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from semantic_ranker.errors import InvalidInputError


def read_documents(source: str) -> list[str]:
    """Return the documents of a file.

    Args:
        source: A text file with one document a line, a ``.jsonl`` file whose objects have a string ``text``, or ``-``
            for text on the standard input. UTF-8, with or without a byte order mark; empty lines are left out.

    Raises:
        InvalidInputError: The file cannot be read, or a line is broken; the message says which line.
    """
    name = "standard input" if source == "-" else source
    documents = []
    for number, line in enumerate(_read(source).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{name}, line {number}: expected UTF-8, got the byte 0x{line[error.start]:02x} at column "
                f"{error.start + 1}; convert the file, for instance with `iconv -t utf-8`."
            ) from error
        if text.strip():
            documents.append(_text_of(text, name, number) if source.lower().endswith(".jsonl") else text)
    return documents


def _read(source: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"Cannot read {source!r}: {error.strerror}.") from error


def _text_of(line: str, name: str, number: int) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name}, line {number}: expected a JSON object, got broken JSON ({error}).") from error
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        found = f"the keys {', '.join(record) or '(none)'}" if isinstance(record, dict) else type(record).__name__
        raise InvalidInputError(f'{name}, line {number}: expected an object with a string "text", got {found}.')
    return text
