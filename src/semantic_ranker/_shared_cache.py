"""The caches of adapters: their settings as fields say them, and one cache per settings in a process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Literal, Protocol
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


class Secret(Protocol):
    """A text that is shown to nobody, such as pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        """Return the text."""


def cache_settings(
    memory_bytes: int, url: Secret | None, codec: Literal["fp16", "fp32", "int8"]
) -> CacheSettings | None:
    """Return the settings of an adapter's cache; None where it keeps nothing.

    Args:
        memory_bytes: What is kept in this process may take; 0 keeps nothing here.
        url: Of a Redis that keeps it for other processes too; None or empty for none.
        codec: How it is stored; scores of pairs need ``fp32``, others would round them.
    """
    found = None if url is None else url.get_secret_value() or None
    if found is None and not memory_bytes:
        return None
    return CacheSettings(url=found, codec=codec, memory_bytes=memory_bytes)


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
