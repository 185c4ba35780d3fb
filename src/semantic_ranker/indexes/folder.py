"""An index's folder: data in a folder of its own for each save, and a manifest whose renaming is the save.

A reader finds the old data or the new, whenever the writer is killed. Hashes of every file are held against the
manifest before anything reads them.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_ranker._files import locked, sync_path, write_atomically
from semantic_ranker.errors import InvalidInputError, StorageError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

_KIND = "semantic-ranker-index"
_LOCK = ".lock"
_DATA = re.compile(r"data-[0-9a-f]{16}")
_PARTIAL = re.compile(rf"\.{re.escape(MANIFEST)}\.[0-9a-f]+\.partial")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TRIES = 5
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved state of an index.

    Attributes:
        data: Name of the folder with its files.
        content: What the manifest says besides.
    """

    data: str
    content: dict[str, Any] = field(repr=False)


def write(path: Path, fill: Callable[[Path], dict[str, Any]], *, before: str | None) -> str:
    """Save a new state.

    Args:
        path: The index's folder, made where it is absent.
        fill: Writes the files into the folder that it is given, and returns what the manifest says besides.
        before: Name of the state that this one follows; None for a new index.

    Returns:
        The name of the new state.

    Raises:
        StorageError: The disk refuses, another process is saving, or has saved since. The old state is untouched,
            unless it was the very last step that failed: then the new one may be there, whole.
        InvalidInputError: The folder holds something else.
    """
    _check_free(path)
    with locked(path / _LOCK, wait=False):
        now = current(path)
        if (now.data if now else None) != before:
            raise StorageError(
                f"The index in {str(path)!r} was saved by another process since it was opened here: open it anew and "
                "repeat the change."
            )
        name = f"data-{secrets.token_hex(8)}"
        try:
            (path / name).mkdir()
            content = fill(path / name)
            files = {file.name: _hashed(file) for file in sorted((path / name).iterdir())}
            for file in (path / name).iterdir():
                sync_path(file)
            sync_path(path / name)
            sync_path(path)
            manifest = {"schema_version": SCHEMA_VERSION, "kind": _KIND, "data": name, "files": files, **content}
            write_atomically(path / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        except OSError as error:
            if (latest := current(path)) is None or latest.data != name:  # else it failed after the renaming
                shutil.rmtree(path / name, ignore_errors=True)
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"Cannot save the index in {str(path)!r}: {error.strerror or error}.") from error
        for old in path.iterdir():
            if _DATA.fullmatch(old.name) and old.name != name:
                shutil.rmtree(old, ignore_errors=True)
            elif _PARTIAL.fullmatch(old.name):  # of a process that was killed; nobody else writes under this lock
                old.unlink(missing_ok=True)
        return name


def read(path: Path, load: Callable[[Path, dict[str, Any]], Any]) -> tuple[Saved, Any]:
    """Read the state of an index; where another process saves meanwhile, the new one.

    Args:
        path: The index's folder.
        load: Reads the files of the folder that it is given, which are the manifest's.

    Raises:
        StorageError: There is none, or it is damaged.
    """
    for attempt in range(_TRIES):
        if (saved := current(path)) is None:
            raise StorageError(f"Expected an index in {str(path)!r}, found none: there is no {MANIFEST}.")
        try:
            _verify(path / saved.data, saved.content)
            return saved, load(path / saved.data, saved.content)
        except (StorageError, FileNotFoundError):
            latest = current(path)
            if attempt == _TRIES - 1 or latest is None or latest.data == saved.data:
                raise
    raise AssertionError  # the loop returns or raises


def current(path: Path) -> Saved | None:
    """Return the saved state of a folder, None where there is none.

    Raises:
        StorageError: The manifest is damaged, or of another version.
    """
    try:
        content = json.loads((path / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"Cannot read the index in {str(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(_damaged(path, f"{MANIFEST} is not JSON")) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise StorageError(_damaged(path, f"{MANIFEST} is of something else"))
    if content.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(_damaged(path, f"its schema_version is {content.get('schema_version')!r}, not 1"))
    data, files = content.get("data"), content.get("files")
    # Names from a file must not lead out of the folder.
    if not isinstance(data, str) or not _DATA.fullmatch(data) or not isinstance(files, dict):
        raise StorageError(_damaged(path, f"{MANIFEST} names no data"))
    if not all(isinstance(name, str) and _FILE.fullmatch(name) and isinstance(of, dict) for name, of in files.items()):
        raise StorageError(_damaged(path, f"{MANIFEST} names files that it cannot have"))
    return Saved(data, content)


def _check_free(path: Path) -> None:
    try:
        others = path.exists() and (
            not path.is_dir() or any(item.name not in (_LOCK, MANIFEST) for item in _left(path))
        )
        if others and current(path) is None:
            raise InvalidInputError(f"Expected an index or an empty folder at {str(path)!r}, got something else.")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"Cannot save an index in {str(path)!r}: {error.strerror}.") from error


def _left(path: Path) -> list[Path]:
    return [item for item in path.iterdir() if not _DATA.fullmatch(item.name) and not item.name.endswith(".partial")]


def _verify(data: Path, content: dict[str, Any]) -> None:
    for name, expected in content["files"].items():
        try:
            found = _hashed(data / name)
        except OSError as error:
            raise StorageError(_damaged(data.parent, f"{name} cannot be read")) from error
        if found != expected:
            raise StorageError(
                _damaged(
                    data.parent, f"{name} has sha256 {found['sha256'][:12]}, not {str(expected.get('sha256'))[:12]}"
                )
            )


def _hashed(path: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return {"sha256": digest.hexdigest(), "size_bytes": size}


def _damaged(path: Path, what: str) -> str:
    return f"The index in {str(path)!r} is damaged: {what}. Restore it, or build it anew."
