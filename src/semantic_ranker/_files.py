"""Writes files so that a crash leaves the old content or the new one, and lines so that a crash costs one at most."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semantic_ranker.errors import InvalidInputError, StorageError

StrPath = str | os.PathLike[str]
_NEW_FILE = 0o666  # less the umask, as for any file of the user
_BINARY: int = getattr(os, "O_BINARY", 0)


def write_atomically(path: StrPath, data: bytes | str) -> None:
    """Replace a file whole: write beside it, sync, rename, sync the folder.

    A process that is killed leaves the old file, and at most a hidden ``.NAME.*.partial`` beside it. A link is
    followed, the mode of a file that is there is kept, parents are created.

    Args:
        path: The file.
        data: Its content; text is written as UTF-8.

    Raises:
        StorageError: The file cannot be written; the old one is untouched.
        InvalidInputError: The text cannot be encoded.
    """
    content = _encode(data)
    target = Path(os.path.realpath(path))
    partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_new(partial, content, mode=target.stat().st_mode & 0o7777 if target.is_file() else None)
        os.replace(partial, target)
        sync_path(target.parent)
    except OSError as error:
        raise StorageError(f"Cannot write {os.fspath(path)!r}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def append_line(path: StrPath, line: bytes | str, *, sync: bool = True) -> None:
    """Add one line to the end of a file, with one write, so that threads and processes may append at once.

    A line that a crash cut short before is closed first: the new one is never glued to it. Parents are created.

    Args:
        path: The file.
        line: The line, without its line feed.
        sync: Whether the line is on the disk when this returns.

    Raises:
        StorageError: The line cannot be written whole.
        InvalidInputError: The line holds a line feed, or cannot be encoded.
    """
    content = _encode(line)
    if b"\n" in content:
        raise InvalidInputError("Expected one line, got text with a line feed in it.")
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY, _NEW_FILE)
        try:
            was_empty = os.fstat(descriptor).st_size == 0
            _append(descriptor, content + b"\n", sync=sync)
        finally:
            os.close(descriptor)
        if sync and was_empty:
            sync_path(target.absolute().parent)
    except OSError as error:
        raise StorageError(f"Cannot write {os.fspath(path)!r}: {error.strerror or error}.") from error


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: The system cannot.
    """
    if os.name != "posix" and path.is_dir():
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: StrPath, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that one process and thread at a time can hold; it ends with the block, or with the process.

    Args:
        path: The lock's own file, which is created and stays.
        wait: Whether to wait for another holder; else that is an error.

    Raises:
        StorageError: The file cannot be made, or another holds the lock and ``wait`` is False.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _NEW_FILE)
    except OSError as error:
        raise StorageError(f"Cannot lock {os.fspath(path)!r}: {error.strerror}.") from error
    try:
        try:
            _lock(descriptor, wait)
        except OSError as error:
            raise StorageError(f"Another process holds {os.fspath(path)!r}; try again when it is done.") from error
        yield
    finally:
        os.close(descriptor)  # which lets go of the lock


def _lock(descriptor: int, wait: bool) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    else:
        import importlib

        windows = importlib.import_module("msvcrt")
        windows.locking(descriptor, windows.LK_LOCK if wait else windows.LK_NBLCK, 1)


def _encode(data: bytes | str) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return data.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"Expected text that UTF-8 can hold, got a lone surrogate at position {error.start}."
        ) from error


def _write_new(path: Path, content: bytes, *, mode: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, _NEW_FILE)
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.chmod(path, mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _append(descriptor: int, content: bytes, *, sync: bool) -> None:
    end = os.lseek(descriptor, 0, os.SEEK_END)
    if end:
        os.lseek(descriptor, end - 1, os.SEEK_SET)
        # Another process in the middle of its write looks the same: then an empty line comes of it, which is harmless.
        if os.read(descriptor, 1) != b"\n":
            content = b"\n" + content
    if (written := os.write(descriptor, content)) != len(content):
        raise OSError(f"{written} of {len(content)} bytes were written; is the disk full?")
    if sync:
        os.fsync(descriptor)
