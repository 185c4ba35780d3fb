"""Lists a folder's files and opens them, so that no link, pipe, device or huge file can hang or flood the reader."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from semantic_ranker._files import StrPath
from semantic_ranker.documents.document import Skipped
from semantic_ranker.documents.readers.registry import FORMATS, Refusal
from semantic_ranker.errors import InvalidInputError

MAX_BYTES = 200_000_000
"""Larger files are left out."""

_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)


def list_files(path: StrPath) -> tuple[list[tuple[str, Path]], list[Skipped]]:
    """Return the files to read below a folder, or the one given, in the order of their sources; and what is left out.

    Args:
        path: A folder or a file. A file that is given itself is read even if its name begins with a dot.

    Returns:
        ``(source, path)`` of each file, and what was left out with the reason.

    Raises:
        InvalidInputError: There is no such path.
    """
    base = Path(path)
    try:
        status = base.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(
            f"Expected a folder or file of documents, got {os.fspath(path)!r}: {reason}."
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        return [(printable(base.name), base)], []
    skipped: list[Skipped] = []
    files = sorted(_walk(base, skipped))
    if not files and not skipped:
        skipped.append(Skipped(".", "empty folder"))
    return files, sorted(skipped, key=lambda item: item.source)


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return a file's bytes.

    Raises:
        Refusal: It cannot be read, is no regular file, or has more bytes than ``most``.
    """
    try:
        # Without this flag, opening a pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refusal("not a file")
            data = b"" if status.st_size > most else file.read(most + 1)
    except OSError as error:
        raise Refusal("unreadable", error.strerror or "") from error
    if max(status.st_size, len(data)) > most:
        raise Refusal("too large", f"{max(status.st_size, len(data))} bytes, the limit is {most}")
    return data


def printable(name: str) -> str:
    """Return a path that UTF-8 can hold: bytes of its name that are not become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _walk(base: Path, skipped: list[Skipped]) -> Iterator[tuple[str, Path]]:
    root = Path(os.path.realpath(base))
    seen = {_identity(base)}
    folders = [base]
    while folders:
        for entry in _entries(folders.pop(), base, skipped):
            path = Path(entry.path)
            source = printable(path.relative_to(base).as_posix())
            try:
                reason, is_folder = _look(entry, root, seen)
            except OSError as error:
                reason, is_folder = ("link loop" if error.errno == 40 else "unreadable"), False
            if reason:
                skipped.append(Skipped(source, reason, path.suffix if reason == "other kind" else ""))
            elif is_folder:
                folders.append(path)
            else:
                yield source, path


def _entries(folder: Path, base: Path, skipped: list[Skipped]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        source = printable(folder.relative_to(base).as_posix())
        skipped.append(Skipped(source, "unreadable", error.strerror or ""))
        return []


def _look(entry: os.DirEntry[str], root: Path, seen: set[tuple[int, int]]) -> tuple[str, bool]:
    """Return why an entry is left out, or nothing; and whether it is a folder."""
    if entry.name.startswith("."):
        return "hidden", False
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not os.path.lexists(target):
            return "broken link", False
        if os.path.islink(target):
            return "link loop", False
        if root != Path(target) and root not in Path(target).parents:
            return "link outside", False
    mode = entry.stat().st_mode
    if stat.S_ISDIR(mode):
        identity = _identity(Path(entry.path))
        if identity in seen:
            return "link loop", True
        seen.add(identity)
        return "", True
    if not stat.S_ISREG(mode):
        return "not a file", False
    return ("" if Path(entry.name).suffix.lower() in FORMATS else "other kind"), False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
