"""A small thread pool of our own for the async paths of the adapters.

It keeps scoring off the event loop and off the process-wide default executor, which DNS look-ups, file
reads and other libraries share. It is bounded: more callers wait in line instead of starting more threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

# A CrossEncoder already spreads one call over the cores, so a few calls at a time keep them all busy.
MAX_CONCURRENT_CALLS = 4

_P = ParamSpec("_P")
_T = TypeVar("_T")


@functools.cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=MAX_CONCURRENT_CALLS, thread_name_prefix="semantic-ranker")


if hasattr(os, "register_at_fork"):
    # A forked child inherits the executor but none of its threads: work given to it would wait for ever.
    os.register_at_fork(after_in_child=_executor.cache_clear)


async def run_in_scoring_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a blocking call on the scoring threads and wait for it without blocking the event loop.

    Context variables (the caller's trace, for one) are visible to the call.

    Args:
        function: The blocking callable. It must not wait for another call on these threads.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What `function` returns; what it raises is raised here.
    """
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_executor(), call)
