"""From token states to one vector a text, as sentence-transformers defines it, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODES = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Names of `sentence_transformers`' Pooling module."""
_LEAST = 1e-9


def pool(states: NDArray[np.float32], mask: NDArray[np.int64], modes: Sequence[str]) -> NDArray[np.float32]:
    """Return one vector a text.

    Args:
        states: Of each token, float32 (batch, length, hidden).
        mask: 1 for tokens, 0 for padding, int64 (batch, length), padded on the right.
        modes: Out of `MODES`; several are concatenated.

    Returns:
        float32 (batch, hidden * len(modes)).
    """
    weights = mask.astype(np.float32)
    return np.concatenate([_pool(states, weights, mode) for mode in modes], axis=1)


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of length 1, float32 (n, dim); a zero vector stays zero, and NaN stays NaN."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths != 0)
    return found


def _pool(states: NDArray[np.float32], weights: NDArray[np.float32], mode: str) -> NDArray[np.float32]:
    found: NDArray[np.float32]
    if mode == "cls":
        found = states[:, 0]
    elif mode == "lasttoken":
        found = states[np.arange(len(states)), weights.sum(axis=1).astype(np.int64) - 1]
    elif mode == "max":
        lowest = np.float32(np.finfo(np.float32).min)
        found = np.where(weights[:, :, None] > 0, states, lowest).max(axis=1)
    else:
        if mode == "weightedmean":
            weights = weights * np.arange(1, weights.shape[1] + 1, dtype=np.float32)
        # A matrix product: it makes no copy of the states.
        count = np.maximum(weights.sum(axis=1, keepdims=True), _LEAST)
        found = (weights[:, None, :] @ states)[:, 0] / (np.sqrt(count) if mode == "mean_sqrt_len_tokens" else count)
    return found
