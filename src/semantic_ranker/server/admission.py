"""Lets a bounded number of requests in and computes them on threads of its own; refuses the others at once."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

_T = TypeVar("_T")
_LONGEST_RETRY_S = 60


class OverloadedError(Exception):
    """No place is free.

    Attributes:
        retry_after_s: Whole seconds after which one probably is.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many requests are running and waiting")
        self.retry_after_s = retry_after_s


class Admission:
    """Places for requests; used on one event loop.

    Args:
        workers: Requests that are computed at once.
        queue: Requests that may wait beside them.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self._workers = workers
        self.limit = workers + queue
        self.taken = 0
        self._mean_s = 0.1
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="semantic-ranker-serve")

    @contextmanager
    def place(self) -> Iterator[Callable[[Future[object]], None]]:
        """Hold a place; the function that is given lets a computation hold it on where nobody waits for it any more.

        Raises:
            OverloadedError: There is none.
        """
        if self.taken >= self.limit:
            raise OverloadedError(self.retry_after_s)
        self.taken += 1
        running: list[Future[object]] = []
        try:
            yield running.append
        finally:
            left = [future for future in running if not future.done()]
            if left:  # given up, but its thread computes on
                loop = asyncio.get_running_loop()
                left[0].add_done_callback(lambda _: _soon(loop, self._free))
            else:
                self._free()

    def submit(self, function: Callable[..., _T], *arguments: object) -> Future[_T]:
        """Start a computation as soon as a thread is free."""
        call = functools.partial(contextvars.copy_context().run, function, *arguments)
        return self._threads.submit(call)

    def took(self, seconds: float) -> None:
        """Remember how long a request was computed."""
        self._mean_s += 0.1 * (seconds - self._mean_s)

    @property
    def retry_after_s(self) -> int:
        """Whole seconds in which about a place becomes free, from how long requests took lately."""
        return min(_LONGEST_RETRY_S, max(1, math.ceil(self._mean_s * (self.taken - self._workers) / self._workers)))

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _free(self) -> None:
        self.taken -= 1


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the server ended before its last computation
        loop.call_soon_threadsafe(function)
