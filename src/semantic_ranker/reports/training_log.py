"""Finds the log of a training run in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker.errors import EvaluationError

_NAMES = ("trainer_state.json", "training_history.json", "training.json")
_DEEPEST = 3  # folders below the run's own: a checkpoint's, not a whole disk's


def read_history(path: StrPath) -> list[dict[str, Any]]:
    """Return the log of a training run, as ``log_history`` of a ``trainer_state.json``.

    Args:
        path: The run's folder, whose last checkpoint counts, or a file: ``trainer_state.json``, or
            ``training_history.json``, a list of such entries.

    Raises:
        EvaluationError: There is none, or it cannot be read.
    """
    found = _histories(Path(path))
    if not found:
        raise EvaluationError(
            f"Expected the log of a training run at {path}, a {' or '.join(_NAMES[:2])} with entries, got none."
        )
    # A later checkpoint's log holds the earlier ones'.
    return max(found, key=lambda history: (_last_step(history), len(history)))


def _histories(path: Path) -> list[list[dict[str, Any]]]:
    if path.is_file():
        return [history for history in [_history(path)] if history]
    files = [file for depth in range(_DEEPEST + 1) for name in _NAMES for file in path.glob("*/" * depth + name)]
    return [history for file in files if (history := _history(file))]


def _history(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"Expected JSON in {file}, got something else: {error}.") from None
    if isinstance(found, dict):
        found = found.get("log_history", found.get("history", []))
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _last_step(history: list[dict[str, Any]]) -> float:
    steps = [entry.get("step", entry.get("epoch", 0)) for entry in history]
    return max((float(step) for step in steps if isinstance(step, (int, float))), default=0.0)
