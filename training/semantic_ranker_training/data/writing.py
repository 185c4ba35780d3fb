"""Writes files of lines whole or not at all, line by line. Knows no format."""

from __future__ import annotations

import gzip
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from semantic_ranker._files import StrPath, sync_path
from semantic_ranker.errors import InvalidInputError, StorageError


@contextmanager
def atomic_lines(path: StrPath) -> Iterator[Callable[[str], Any]]:
    """Give a function that writes text; the file appears when the block ends without an error.

    A name that ends in ``.gz`` is gzipped, with the same bytes for the same content.

    Raises:
        StorageError: The file cannot be written; an old one is untouched.
        InvalidInputError: The text holds half of a character pair, which UTF-8 cannot hold.
    """
    target = Path(os.path.realpath(path))
    partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as raw:
            with _text(raw, packed=target.suffix == ".gz") as text:
                yield text.write
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(partial, target)
        sync_path(target.parent)
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"Expected text that UTF-8 can hold for {str(path)!r}, got a lone surrogate."
        ) from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"Cannot write {os.fspath(path)!r}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_rows(path: StrPath, rows: Iterable[Iterable[object]]) -> int:
    """Write tab-separated rows; a tab or line end inside a value becomes a space. Return how many.

    Raises:
        StorageError: The file cannot be written.
    """
    count = 0
    with atomic_lines(path) as write:
        for row in rows:
            write(
                "\t".join(" ".join(str(value).split("\t")).replace("\r", " ").replace("\n", " ") for value in row)
                + "\n"
            )
            count += 1
    return count


@contextmanager
def _text(raw: IO[bytes], *, packed: bool) -> Iterator[IO[str]]:
    with _packed(raw) if packed else _kept_open(raw) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n", write_through=False)
        yield text
        text.flush()
        text.detach()


@contextmanager
def _packed(raw: IO[bytes]) -> Iterator[Any]:
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        yield packed


@contextmanager
def _kept_open(raw: IO[bytes]) -> Iterator[Any]:
    yield raw
