"""Times ways of running one model on one thread, taking turns, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from semantic_ranker.tokenization import PairTokenizer, pad

if TYPE_CHECKING:
    from semantic_ranker.backends import Backend

_PAIRS = 12
_ROUNDS = 3


def time_scorers(
    backends: Mapping[str, Backend], tokenizer: PairTokenizer, pairs: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Return milliseconds a pair, median, by name.

    Args:
        backends: By name.
        tokenizer: Of all of them.
        pairs: Queries and texts; a dozen spread over the list are run.
    """
    chosen = [pairs[at] for at in np.linspace(0, len(pairs) - 1, min(_PAIRS, len(pairs))).astype(int)]
    queries = tokenizer.queries([query for query, _ in chosen])
    encoded = [pad(found[:1]) for found in tokenizer.pairs(queries, [text for _, text in chosen], windows=False)]
    return interleaved({name: _runs(backend, encoded) for name, backend in backends.items()})


def interleaved(runs: Mapping[str, Sequence[Callable[[], object]]], rounds: int = _ROUNDS) -> dict[str, float]:
    """Return the median milliseconds of each list of calls, by name; torch runs on one thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in runs}
    try:
        for turn in range(rounds + 1):
            for calls in zip(*runs.values(), strict=True):
                for name, call in zip(runs, calls, strict=True):
                    start = time.perf_counter()
                    call()
                    if turn:  # the first round warms caches
                        found[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: float(np.median(seconds)) * 1000 for name, seconds in found.items()}


def _runs(backend: Backend, encoded: Sequence[tuple[np.ndarray, ...]]) -> list[Callable[[], object]]:
    return [lambda inputs=inputs: backend.run(*inputs) for inputs in encoded]  # type: ignore[misc]
