"""Checkpoints that can be trusted, for every trainer of the libraries: found whole, written or said not to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from semantic_ranker.errors import StorageError

CHECKPOINTS = "checkpoints"
_COMPLETE = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written whole; a process killed while writing one leaves half of it."""
    steps = {int(path.name.split("-")[1]): path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()}
    return next((steps[step] for step in sorted(steps, reverse=True) if _is_complete(steps[step])), None)


def _is_complete(folder: Path) -> bool:
    weights = any((folder / name).is_file() for name in ("model.safetensors", "adapter_model.safetensors"))
    if (
        not weights
        or not any(folder.glob("rng_state*.pth"))
        or not all((folder / name).is_file() for name in _COMPLETE)
    ):
        return False
    try:
        json.loads((folder / _COMPLETE[0]).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def in_order(dataset: Dataset, batch_size: int, drop_last: bool, **options: Any) -> DefaultBatchSampler:
    """Return a sampler that takes the rows as they lie: their order was drawn before."""
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last, **options)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the several errors of a full disk into one of ours, and remove what is half-written."""
    try:
        yield
    except Exception as error:
        if not _is_storage(error):
            raise
        for path in folder.glob("checkpoint-*"):
            if not _is_complete(path):
                shutil.rmtree(path, ignore_errors=True)
        raise StorageError(
            f"Cannot write a checkpoint below {str(folder)!r} ({type(error).__name__}: {error}): free some space; the "
            "run continues from its last complete checkpoint."
        ) from error


def _is_storage(error: Exception) -> bool:
    # torch and safetensors report a full disk as RuntimeError and SafetensorError.
    words = str(error).lower()
    known = (
        "no space left",
        "file too large",
        "pytorchstreamwriter",
        "i/o error",
        "file write failed",
        "enforce fail at inline_container",
    )
    return isinstance(error, OSError) or any(word in words for word in known)
