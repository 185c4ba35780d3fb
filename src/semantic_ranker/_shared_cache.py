"""One cache per settings in a process, for all adapters."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from semantic_ranker.config import CacheSettings, Settings, build_cache

if TYPE_CHECKING:
    from semantic_ranker.cache import TieredCache

_lock = threading.Lock()
_open: WeakValueDictionary[CacheSettings, TieredCache] = WeakValueDictionary()


def _forget() -> None:
    global _lock, _open
    _lock, _open = threading.Lock(), WeakValueDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def shared_cache(settings: CacheSettings) -> TieredCache:
    """Return the process's cache of these settings, making it at the first call; freed when nobody holds it.

    Raises:
        CacheError: The cache cannot be configured so.
        ModuleNotFoundError: A URL is given, and the extra ``redis`` is not installed.
    """
    with _lock:
        cache = _open.get(settings) or build_cache(Settings(cache=settings))
        assert cache is not None
        _open[settings] = cache
        return cache
