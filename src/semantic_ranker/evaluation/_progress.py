"""A progress bar where tqdm is installed and someone watches; nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def progress(items: Sequence[_T], label: str, unit: str) -> Iterable[_T]:
    """Return the items, shown as they are taken."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    shown: Iterable[_T] = tqdm(items, desc=label, unit=unit, disable=None)
    return shown
