"""The folder of a run: stages that are kept with the hash of what they were made of, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_ranker._files import write_atomically
from semantic_ranker.errors import StorageError

logger = logging.getLogger(__name__)

VERSION = 3
"""Changes when a stage makes something else of the same inputs."""


@dataclass(slots=True)
class WorkFolder:
    """Stages of one run; each has a small JSON file that names the hash of its inputs.

    Attributes:
        path: The folder.
        done: Stages that were made by this process, in order.
        kept: Stages that were there already.
        seconds: What each took, also one that was made by a process before.
    """

    path: Path
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, inputs: Any, make: Callable[[Path], Any]) -> Any:
        """Return what a stage made, from the disk if its inputs are the same.

        Args:
            name: Name of the stage.
            inputs: JSON values that decide the result.
            make: Gets the stage's own folder and returns JSON values; files in the folder stay from a run that was
                killed if the inputs are the same, and are removed if they are not.

        Raises:
            StorageError: The folder cannot be written.
        """
        key, folder, record = hashed([VERSION, name, inputs]), self.path / name, self.path / f"{name}.json"
        known = _read(record)
        if known.get("inputs") == key and known.get("finished"):
            self.kept.append(name)
            self.seconds[name] = float(known.get("seconds", 0.0))
            return known["result"]
        if known.get("inputs") != key:
            record.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            write_atomically(record, json.dumps({"inputs": key, "finished": False}))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"Cannot make {str(folder)!r}: {error.strerror}.") from error
        started = time.monotonic()
        result = json.loads(json.dumps(make(folder), default=float))
        self.seconds[name] = round(time.monotonic() - started, 1)
        content = {"inputs": key, "finished": True, "result": result, "seconds": self.seconds[name]}
        write_atomically(record, json.dumps(content))
        self.done.append(name)
        return result

    def key(self, name: str) -> str:
        """Return the hash of what a finished stage was made of."""
        return str(_read(self.path / f"{name}.json").get("inputs", ""))


def hashed(value: Any) -> str:
    """Return a hash of JSON values, in hex."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def file_hash(path: Path) -> str:
    """Return the hash of a file's bytes, in hex.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
