"""Publishes a folder whole or not at all: written beside its place, synced to disk, then renamed."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._files import sync_path
from semantic_ranker._settings import MANIFEST
from semantic_ranker.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What tells a model folder, which may be replaced, from any other folder, which may not.
_MODEL_FILES = ("config.json", "semantic_ranker.json")


@contextmanager
def staged_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes ``out`` when the block ends without an error.

    A process that is killed leaves ``out`` as it was, and at most a hidden ``.NAME.*.partial`` folder beside it.

    Args:
        out: Where the folder is to be; its parents are created.
        overwrite: Whether a model folder that is there is replaced.

    Yields:
        The folder to write to, on the same file system.

    Raises:
        InvalidInputError: ``out`` is a file, has content and ``overwrite`` is off, or is no model folder.
        StorageError: The disk is full or cannot be written; ``out`` is as it was.
    """
    out = Path(os.path.abspath(out))
    _check_free(out, overwrite)
    partial = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        _sync(partial)
        _check_free(out, overwrite)
        _replace(partial, out)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot write {str(out)!r} ({error.strerror or error}); nothing was changed: free some space or check the "
            "permissions, then run it again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Return ``{relative path: {"sha256", "bytes"}}`` of every file below a folder but the manifest."""
    entries = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST:
            content = path.read_bytes()
            entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return entries


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise InvalidInputError(f"Expected a new or empty folder at {str(out)!r}, found a file or link.")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise InvalidInputError(
            f"Expected a new or empty folder at {str(out)!r}, found one with content: give another, or overwrite=True."
        )
    if not any((out / name).is_file() for name in _MODEL_FILES):
        raise InvalidInputError(
            f"Refused to overwrite {str(out)!r}: it has content but no config.json, so it is no model folder."
        )


def _replace(partial: Path, out: Path) -> None:
    if not out.exists():
        os.rename(partial, out)
    else:
        old = partial.with_suffix(".old")
        os.rename(out, old)
        try:
            os.rename(partial, out)
        except OSError:
            os.rename(old, out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_path(out.parent)


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        sync_path(path)
    sync_path(folder)
