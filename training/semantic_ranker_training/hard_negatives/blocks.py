"""Finished blocks of a long job, in a folder: a job that is killed goes on after the last of them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker._files import write_atomically
from semantic_ranker_training.data.writing import atomic_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STATE = "job.json"


class JobFolder:
    """The finished blocks of one job; those of another job are thrown away.

    Args:
        folder: Where they lie; created.
        job: What the result depends on, as JSON values; its hash tells the same job from another.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.path = folder
        state = json.dumps(job, sort_keys=True)
        stored = folder / _STATE
        if folder.is_dir() and (not stored.is_file() or stored.read_text(encoding="utf-8") != state):
            shutil.rmtree(folder)
        write_atomically(stored, state)

    def block(self, number: int) -> Path:
        """Return where the lines of a block lie once it is finished."""
        return self.path / f"block-{number:06d}.jsonl"

    def publish(self, blocks: int, out: Path) -> None:
        """Join the blocks to one file, whole or not at all, and remove the folder."""
        with atomic_lines(out) as write:
            for number in range(blocks):
                for line in read_block(self.block(number)):
                    write(line)
        self.remove()

    def remove(self) -> None:
        """Throw the folder away."""
        shutil.rmtree(self.path, ignore_errors=True)


def read_block(path: Path) -> Iterator[str]:
    """Give the lines of a finished block, with their ends."""
    with open(path, encoding="utf-8", newline="\n") as lines:
        yield from lines


def digest(texts: Iterable[str]) -> str:
    """Return the sha256 of texts and of where each ends, in hex."""
    found = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "replace")
        found.update(f"{len(data)}:".encode())
        found.update(data)
    return found.hexdigest()


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_atomically(path, buffer.getvalue())
