from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from semantic_ranker._executor import MAX_CONCURRENT_CALLS, run_in_scoring_thread

who = contextvars.ContextVar("who", default="nobody")


async def test_results_errors_and_context_cross_the_thread_border():
    who.set("caller")
    assert await run_in_scoring_thread(lambda a, *, b: (a, b, who.get()), 1, b=2) == (1, 2, "caller")
    with pytest.raises(ZeroDivisionError):
        await run_in_scoring_thread(lambda: 1 / 0)


async def test_no_more_calls_run_at_once_than_the_bound():
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def call():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == MAX_CONCURRENT_CALLS:
                full.set()
        assert full.wait(30), "the calls did not run side by side"
        with lock:
            running -= 1

    await asyncio.gather(*(run_in_scoring_thread(call) for _ in range(4 * MAX_CONCURRENT_CALLS)))
    assert most == MAX_CONCURRENT_CALLS


async def test_a_full_pool_leaves_the_loop_and_the_default_executor_free():
    release = threading.Event()
    calls = [asyncio.ensure_future(run_in_scoring_thread(release.wait, 30)) for _ in range(2 * MAX_CONCURRENT_CALLS)]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "free") == "free"
    release.set()
    assert all(await asyncio.gather(*calls))
