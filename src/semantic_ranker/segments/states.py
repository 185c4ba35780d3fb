"""What is kept of an encoded side, and the passages that were encoded last. Knows no model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.tokenization import EncodedPair

Windows = tuple["EncodedPassage", ...]
"""A text: one passage, or several overlapping ones."""

_CODE_PEAK = 127
_OVERHEAD_BYTES = 600  # objects, key and entry of one passage, beside its arrays


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query as the head reads it; specials left out.

    Attributes:
        ids: int64 (words,), vocabulary ids.
        tokens: float32 (words, hidden), L2-normalised.
        pooled: float32 (hidden,), L2-normalised.
        importance: float32 (words,).
    """

    ids: NDArray[np.int64]
    tokens: NDArray[np.float32]
    pooled: NDArray[np.float32]
    importance: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EncodedPassage:
    """A passage as the head reads it and as it is kept; specials left out.

    Attributes:
        ids: int32 (words,), vocabulary ids.
        codes: int8 (words, hidden), ``round(tokens / scale)``.
        scale: float32 (words,), peak of each token state over 127.
        pooled: float32 (hidden,), L2-normalised.
        span: Character range of the text that it stands for, or None where nothing was encoded.
        truncated: Whether part of the text was left out of this and all other windows.
    """

    ids: NDArray[np.int32]
    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    pooled: NDArray[np.float32]
    span: tuple[int, int] | None = None
    truncated: bool = False

    @classmethod
    def of(
        cls,
        pair: EncodedPair,
        tokens: NDArray[np.float32],
        pooled: NDArray[np.float32],
    ) -> Self:
        """Quantise the states of an input, float32 (length, hidden) with specials first and last."""
        words = tokens[1:-1]
        scale = np.maximum(np.abs(words).max(1, initial=0.0), 1e-12).astype(np.float32) / _CODE_PEAK
        codes = np.rint(words / scale[:, None]).astype(np.int8)
        ids = pair.input_ids[1:-1].astype(np.int32)
        return cls(ids, codes, scale, pooled.astype(np.float32), pair.span, pair.truncated)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.ids.nbytes + self.codes.nbytes + self.scale.nbytes + self.pooled.nbytes


class StateCache:
    """The texts that were used last, within a number of bytes; safe to share between threads.

    Args:
        max_bytes: Bytes of states to keep; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, Windows] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Windows]:
        """Return those of the texts that are kept."""
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        return found

    def put(self, texts: Iterable[tuple[bytes, Windows]]) -> None:
        """Keep texts, and let go of those used longest ago."""
        with self._lock:
            for key, windows in texts:
                size = _size(windows)
                if key in self._kept or size > self._max_bytes:
                    continue
                self._kept[key] = windows
                self._bytes += size
                while self._bytes > self._max_bytes:
                    self._bytes -= _size(self._kept.popitem(last=False)[1])

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def _size(windows: Windows) -> int:
    return sum(passage.nbytes + _OVERHEAD_BYTES for passage in windows)
