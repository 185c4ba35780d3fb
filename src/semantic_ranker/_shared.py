"""What all adapters share: one open `CrossEncoder` per model and options in a process, and one rule for counts.

Adapters are cheap configuration objects that frameworks copy, pickle and rebuild for every request; the
weights and the scoring threads behind them are not.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from weakref import WeakValueDictionary

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from semantic_ranker.config import CacheSettings
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.embedder import Embedder

_lock = threading.Lock()
_open: WeakValueDictionary[Hashable, CrossEncoder] = WeakValueDictionary()
# Keeps the last opened model alive between adapters that are built for one request and thrown away.
_recent: deque[CrossEncoder] = deque(maxlen=1)


def _forget() -> None:
    global _lock, _open, _recent
    _lock, _open, _recent = threading.Lock(), WeakValueDictionary(), deque(maxlen=1)


if hasattr(os, "register_at_fork"):
    # The threads of a scorer do not survive a fork, so a child opens its own.
    os.register_at_fork(after_in_child=_forget)


def shared_cross_encoder(
    model: str | None,
    *,
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto",
    max_length: int | None = None,
    long_text: Literal["truncate", "windows"] = "truncate",
    other_languages: Literal["keep_order", "score"] = "keep_order",
    states: str | None = None,
    mode: Literal["full", "cascade"] = "full",
    score_cache: CacheSettings | None = None,
    source_weight: float | None = None,
) -> CrossEncoder:
    """Return the process's open scorer for a model, opening it at the first call.

    A folder whose files were rewritten since (a model that was tuned again) is opened anew.

    Args:
        model: Model folder or hub id; None is the bundled model.
        precision: As in `CrossEncoder`.
        max_length: As in `CrossEncoder`, in tokens.
        long_text: As in `CrossEncoder`.
        other_languages: As in `CrossEncoder`.
        states: As in `CrossEncoder`.
        mode: As in `CrossEncoder`.
        score_cache: Where scores of pairs are kept; scorers with the same settings share one cache. None keeps none.
        source_weight: As in `CrossEncoder`.

    Returns:
        A thread-safe scorer. It is freed when no adapter holds it and another model was opened.

    Raises:
        CacheError: The cache cannot be configured so.
        ModuleNotFoundError: A URL is given, and the extra ``redis`` is not installed.
        ModelLoadError: The model cannot be opened.
    """
    from semantic_ranker._shared_cache import shared_cache
    from semantic_ranker.cross_encoder import CrossEncoder

    settings = (precision, max_length, long_text, other_languages, states, mode, score_cache, source_weight)
    key = (model, _last_written(model), *settings)
    with _lock:
        encoder = _open.get(key)
        if encoder is None:
            encoder = CrossEncoder(
                model,
                precision=precision,
                max_length=max_length,
                long_text=long_text,
                other_languages=other_languages,
                states=states,
                mode=mode,
                score_cache=None if score_cache is None else shared_cache(score_cache),
                source_weight=source_weight,
            )
            _open[key] = encoder
        if not _recent or _recent[0] is not encoder:
            _recent.append(encoder)
    return encoder


class EncoderHold:
    """Keeps a scorer open for as long as an adapter lives, without being part of what the adapter is.

    Adapters are equal when their settings are equal, and pickles and copies carry settings only: all holds
    are equal, and a pickled or copied one is empty.
    """

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("encoder",)

    def __init__(self, encoder: CrossEncoder | Embedder | None = None) -> None:
        self.encoder = encoder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EncoderHold)

    def __reduce__(self) -> tuple[type[EncoderHold], tuple[()]]:
        return EncoderHold, ()


def _last_written(model: str | None) -> tuple[tuple[str, int], ...]:
    """Return name and modification time (ns) of the files that a rewritten model folder changes."""
    if model is None:
        return ()
    folder = Path(model)
    files = [folder / "semantic_ranker.json", folder / "config.json", folder / "tokenizer.json"]
    files += sorted(folder.glob("onnx/*.onnx"))
    return tuple((file.name, file.stat().st_mtime_ns) for file in files if file.is_file())


def checked_count(name: str, count: object) -> int:
    """Return `count` if it is a number of documents: an int of 1 or more, not a bool.

    Args:
        name: What the caller calls it, for the message.
        count: The value given.

    Returns:
        The same value.

    Raises:
        InvalidInputError: It is anything else.
    """
    if isinstance(count, int) and not isinstance(count, bool) and count > 0:
        return count
    raise InvalidInputError(f"Expected {name} to be an int of 1 or more, got {count!r}.")
