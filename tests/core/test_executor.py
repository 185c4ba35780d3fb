from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
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
    running, lock, release = 0, threading.Lock(), threading.Event()

    def call():
        nonlocal running
        with lock:
            running += 1
        return release.wait(30)

    calls = [asyncio.ensure_future(run_in_scoring_thread(call)) for _ in range(4 * MAX_CONCURRENT_CALLS)]
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert running == MAX_CONCURRENT_CALLS
    release.set()
    assert all(await asyncio.gather(*calls))
    assert running == 4 * MAX_CONCURRENT_CALLS


async def test_a_full_pool_leaves_the_loop_and_the_default_executor_free():
    release = threading.Event()
    calls = [asyncio.ensure_future(run_in_scoring_thread(release.wait, 30)) for _ in range(2 * MAX_CONCURRENT_CALLS)]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "free") == "free"
    release.set()
    assert all(await asyncio.gather(*calls))


def _score_in_child(connection):
    connection.send(asyncio.run(run_in_scoring_thread(abs, -1)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_threads_of_its_own():
    assert asyncio.run(run_in_scoring_thread(abs, -1)) == 1
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_score_in_child, args=(sender,))
    child.start()
    try:
        assert receiver.poll(30), "the child waits for threads that it does not have"
        assert receiver.recv() == 1
    finally:
        child.kill()
        child.join()
