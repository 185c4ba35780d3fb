"""Keeps embedding to a share of the time, so that a background job leaves the processor to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_AHEAD_S = 0.02  # Work of less is not worth a sleep: what it owes is paid before what comes next.


class Throttle:
    """Lets work run one piece at a time, and rest between pieces in proportion to what the last ones took.

    Rest is owed before the next piece, never after the last one: a single query after a pause does not wait.

    Args:
        share: Part of the time that may be worked, above 0 and up to 1.
        clock: Seconds, monotonic.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        share: float,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rest = 1 / share - 1
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = float("-inf")

    def run(self, work: Callable[[], _T]) -> _T:
        """Return what the work gives, after the rest that earlier work left owing."""
        with self._lock:
            now = self._clock()
            if (owed := self._free_at - now) > _AHEAD_S:
                self._sleep(owed)
            start = self._clock()
            try:
                return work()
            finally:
                end = self._clock()
                self._free_at = max(self._free_at, start) + (end - start) * (1 + self._rest)
