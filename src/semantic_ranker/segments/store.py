"""States of passages on disk, written once and mapped into memory by every process that ranks.

A folder of shards, each a folder of ``.npy`` files that appears when it is complete; ``states.json`` names the model.
No pickle is read or written.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker._files import StrPath, sync_path, write_atomically
from semantic_ranker.errors import ModelLoadError, StorageError
from semantic_ranker.segments.states import EncodedPassage, Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "states.json"
SCHEMA_VERSION = 1
_KEY_BYTES = 16
_NO_SPAN = -1
_ARRAYS = {
    "keys": np.uint8,
    "first_passage": np.int64,
    "first_token": np.int64,
    "ids": np.int32,
    "codes": np.int8,
    "scale": np.float32,
    "pooled": np.float32,
    "span": np.int64,
    "truncated": np.bool_,
}


@dataclass(frozen=True, slots=True)
class _Shard:
    """Arrays of some texts, mapped: text ``i`` has the passages ``first_passage[i]`` to ``first_passage[i + 1]``."""

    arrays: dict[str, NDArray[Any]]

    @classmethod
    def open(cls, folder: Path) -> Self:
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
        except (OSError, ValueError, EOFError) as error:
            raise ModelLoadError(
                f"{folder.name} of the passage states is damaged ({error}): precompute again."
            ) from error
        shard = cls(arrays)
        shard._check(folder.name)
        return shard

    def _check(self, name: str) -> None:
        sizes = {key: len(array) for key, array in self.arrays.items()}
        texts, passages, tokens = sizes["keys"], sizes["pooled"], sizes["ids"]
        expected = {"first_passage": texts + 1, "first_token": passages + 1, "codes": tokens, "scale": tokens}
        expected |= {"span": passages, "truncated": passages}
        wrong = [key for key, kind in _ARRAYS.items() if self.arrays[key].dtype != kind]
        wrong += [key for key, size in expected.items() if sizes[key] != size]
        if wrong or self.arrays["first_passage"][-1] != passages or self.arrays["first_token"][-1] != tokens:
            found = ", ".join(wrong) or "offsets"
            message = f"{name} of the passage states is damaged ({found}): delete it and precompute again."
            raise ModelLoadError(message)

    def keys(self) -> list[bytes]:
        """Return the keys of the texts, in order."""
        raw = self.arrays["keys"].tobytes()
        return [raw[first : first + _KEY_BYTES] for first in range(0, len(raw), _KEY_BYTES)]

    def windows(self, row: int) -> Windows:
        first, last = self.arrays["first_passage"][row : row + 2].tolist()
        return tuple(self._passage(index) for index in range(first, last))

    def _passage(self, index: int) -> EncodedPassage:
        first, last = self.arrays["first_token"][index : index + 2].tolist()
        begin, end = self.arrays["span"][index].tolist()
        return EncodedPassage(
            ids=self.arrays["ids"][first:last],
            codes=self.arrays["codes"][first:last],
            scale=self.arrays["scale"][first:last],
            pooled=self.arrays["pooled"][index],
            span=None if begin == _NO_SPAN else (begin, end),
            truncated=bool(self.arrays["truncated"][index]),
        )


@dataclass(slots=True)
class PassageStore:
    """An open folder of states; reading it is safe from any number of threads and processes.

    Attributes:
        path: The folder.
        fingerprint: Of the model that made the states.
    """

    path: Path
    fingerprint: str
    _shards: list[_Shard] = field(default_factory=list, repr=False)
    _where: dict[bytes, tuple[int, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: StrPath, fingerprint: str) -> Self:
        """Map the finished shards of a folder.

        Args:
            path: The folder.
            fingerprint: Of the model that is to use them.

        Raises:
            ModelLoadError: There are no states, they are damaged, or another model made them.
        """
        folder = Path(path)
        store = cls(folder, _fingerprint(folder))
        if store.fingerprint != fingerprint:
            raise ModelLoadError(
                f"The passage states in {os.fspath(path)!r} are another model's: expected {fingerprint[:12]}, got "
                f"{store.fingerprint[:12]}. Open that model, or precompute them again with this one."
            )
        for shard in sorted(folder.glob("shard-*")):
            store._add(_Shard.open(shard))
        return store

    @classmethod
    def create(cls, path: StrPath, fingerprint: str) -> Self:
        """Open a folder for `write`, making it if it is not there.

        Raises:
            ModelLoadError: It holds another model's states, or something else.
            StorageError: It cannot be made.
        """
        folder = Path(path)
        if not (folder / MANIFEST).exists():
            if folder.exists() and any(folder.iterdir()):
                raise StorageError(
                    f"Expected an empty folder for passage states, got {os.fspath(path)!r} with content."
                )
            write_atomically(
                folder / MANIFEST, json.dumps({"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint}) + "\n"
            )
        return cls.open(folder, fingerprint)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: bytes) -> bool:
        return key in self._where

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Windows]:
        """Return those of the texts that are there."""
        found = ((key, self._where.get(key)) for key in keys)
        return {key: self._shards[place[0]].windows(place[1]) for key, place in found if place is not None}

    def write(self, texts: Sequence[tuple[bytes, Windows]]) -> None:
        """Add texts as one shard, all of them or none.

        Raises:
            StorageError: The disk is full or refuses.
        """
        # After the last one there is, not after the number of them: a damaged shard may have been deleted.
        number = 1 + max((int(name.name.removeprefix("shard-")) for name in self.path.glob("shard-*")), default=-1)
        partial = self.path / f".shard-{secrets.token_hex(4)}.partial"
        try:
            partial.mkdir()
            for name, array in _arrays(texts).items():
                with (partial / f"{name}.npy").open("wb") as file:
                    np.save(file, array, allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
            partial.rename(self.path / f"shard-{number:05d}")
            sync_path(self.path)
        except OSError as error:
            raise StorageError(f"Cannot write passage states to {str(self.path)!r}: {error.strerror}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._add(_Shard.open(self.path / f"shard-{number:05d}"))

    def prune(self, keep: Container[bytes]) -> int:
        """Take all other texts off the disk, and return how many; killed half-way, what is kept is still there.

        Raises:
            StorageError: The disk is full or refuses.
        """
        for left in self.path.glob(".shard-*.partial"):  # of killed runs
            shutil.rmtree(left, ignore_errors=True)
        dead = {key for key in self._where if key not in keep}
        if not dead:
            return 0
        folders = sorted(self.path.glob("shard-*"))
        for folder, shard in zip(folders, list(self._shards), strict=True):
            keys = shard.keys()
            live = [(key, shard.windows(row)) for row, key in enumerate(keys) if key not in dead]
            if len(live) == len(keys):
                continue
            if live:
                self.write(live)
            gone = folder.with_name(f".{folder.name}.partial")
            try:
                # One rename takes it away: a shard that is there is whole.
                folder.rename(gone)
                shutil.rmtree(gone)
            except OSError as error:
                raise StorageError(f"Cannot delete passage states in {str(self.path)!r}: {error.strerror}.") from error
        self._shards.clear()
        self._where.clear()
        for folder in sorted(self.path.glob("shard-*")):
            self._add(_Shard.open(folder))
        return len(dead)

    def _add(self, shard: _Shard) -> None:
        number = len(self._shards)
        self._shards.append(shard)
        for row, key in enumerate(shard.keys()):
            self._where[key] = (number, row)


def state_of(path: StrPath) -> tuple[Any, ...]:
    """Return which states a folder has: more of them, or those of another model, are other ones."""
    manifest = Path(path, MANIFEST)
    written = manifest.stat().st_mtime_ns if manifest.is_file() else 0
    return os.path.realpath(path), written, *sorted(shard.name for shard in Path(path).glob("shard-*"))


def _arrays(texts: Sequence[tuple[bytes, Windows]]) -> dict[str, NDArray[Any]]:
    passages = [passage for _, windows in texts for passage in windows]
    spans = [passage.span or (_NO_SPAN, _NO_SPAN) for passage in passages]
    return {
        "keys": np.frombuffer(b"".join(key for key, _ in texts), np.uint8).reshape(len(texts), _KEY_BYTES),
        "first_passage": np.cumsum([0, *(len(windows) for _, windows in texts)], dtype=np.int64),
        "first_token": np.cumsum([0, *(len(passage.ids) for passage in passages)], dtype=np.int64),
        "ids": np.concatenate([passage.ids for passage in passages]),
        "codes": np.concatenate([passage.codes for passage in passages]),
        "scale": np.concatenate([passage.scale for passage in passages]),
        "pooled": np.stack([passage.pooled for passage in passages]),
        "span": np.asarray(spans, np.int64),
        "truncated": np.asarray([passage.truncated for passage in passages], np.bool_),
    }


def _fingerprint(folder: Path) -> str:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, fingerprint = content["schema_version"], content["fingerprint"]
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"Expected passage states in {str(folder)!r}, found none: write them with `semantic-ranker precompute`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"Cannot read {MANIFEST} in {str(folder)!r}: precompute the states again.") from error
    if version != SCHEMA_VERSION or not isinstance(fingerprint, str):
        raise ModelLoadError(f"Expected passage states of schema {SCHEMA_VERSION} in {str(folder)!r}, got {version!r}.")
    return fingerprint


def blocks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of up to ``size`` texts."""
    block: list[str] = []
    for text in texts:
        block.append(text)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
