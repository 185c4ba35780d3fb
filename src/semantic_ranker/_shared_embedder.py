"""One open `Embedder` per model and options in a process, and one cache per settings, for all adapters."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import fields
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from semantic_ranker._shared import _last_written
from semantic_ranker._shared_cache import shared_cache
from semantic_ranker.config import CacheSettings
from semantic_ranker.embedding.options import EmbedderOptions

if TYPE_CHECKING:
    from collections.abc import Hashable

    from semantic_ranker.embedder import Embedder

_lock = threading.Lock()
_open: WeakValueDictionary[Hashable, Embedder] = WeakValueDictionary()
# Keeps the last opened model, and its cache, alive between adapters that are built for one request and thrown away.
_recent: deque[Embedder] = deque(maxlen=1)


def _forget() -> None:
    global _lock, _open, _recent
    _lock, _open, _recent = threading.Lock(), WeakValueDictionary(), deque(maxlen=1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def shared_embedder(options: EmbedderOptions, cache: CacheSettings | None = None) -> Embedder:
    """Return the process's open embedder, making it at the first call.

    A folder whose files were rewritten since is opened anew. Embedders with the same cache settings share one cache:
    its keys keep their spaces apart.

    Args:
        options: Of the embedder.
        cache: Of its cache; None keeps nothing.

    Raises:
        CacheError: The cache cannot be configured so.
        ModuleNotFoundError: A URL is given, and the extra ``redis`` is not installed.
    """
    from semantic_ranker.embedder import Embedder

    key = (options, _last_written(options.model), cache)
    with _lock:
        embedder = _open.get(key)
        if embedder is None:
            arguments = {entry.name: getattr(options, entry.name) for entry in fields(options)}
            embedder = _open[key] = Embedder(**arguments, cache=None if cache is None else shared_cache(cache))
        if not _recent or _recent[0] is not embedder:
            _recent.append(embedder)
    return embedder
