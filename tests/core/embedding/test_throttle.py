import copy
import pickle

import numpy as np
import pytest

from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.throttle import Throttle
from semantic_ranker.errors import InvalidInputError


class Clock:
    def __init__(self):
        self.now = 0.0
        self.slept = 0.0

    def sleep(self, seconds):
        self.now += seconds
        self.slept += seconds

    def work(self, seconds):
        self.now += seconds


def throttled(share):
    clock = Clock()
    return clock, Throttle(share, clock=lambda: clock.now, sleep=clock.sleep)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("piece", [0.0005, 0.05])
def test_work_takes_its_share_of_the_time(share, piece):
    clock, throttle = throttled(share)
    for _ in range(2000):
        throttle.run(lambda: clock.work(piece))
    assert 2000 * piece / clock.now == pytest.approx(share, rel=0.03)


def test_the_whole_share_never_rests():
    clock, throttle = throttled(1.0)
    for _ in range(100):
        throttle.run(lambda: clock.work(0.1))
    assert clock.slept == 0


def test_what_comes_after_a_pause_does_not_wait_and_earns_nothing():
    clock, throttle = throttled(0.5)
    throttle.run(lambda: clock.work(1.0))
    clock.work(100)
    throttle.run(lambda: clock.work(1.0))
    assert clock.slept == 0
    throttle.run(lambda: clock.work(1.0))
    assert clock.slept == pytest.approx(1.0)


def test_work_that_fails_is_paid_for():
    clock, throttle = throttled(0.5)

    def fails():
        clock.work(1.0)
        raise MemoryError

    with pytest.raises(MemoryError):
        throttle.run(fails)
    throttle.run(lambda: None)
    assert clock.slept == pytest.approx(1.0)


def test_the_vectors_are_the_same_and_copies_keep_the_share():
    texts = [f"text number {index}" for index in range(50)]
    embedder = Embedder(cpu_share=0.5)
    assert np.array_equal(embedder.embed_documents(texts), Embedder().embed_documents(texts))
    assert embedder.space == Embedder().space
    assert embedder._throttle is not None
    for twin in (copy.copy(embedder), pickle.loads(pickle.dumps(embedder))):
        assert "cpu_share=0.5" in repr(twin)
        assert twin._throttle is not None


@pytest.mark.parametrize("share", [0, -0.1, 1.5, True, "half", float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InvalidInputError, match="cpu_share"):
        Embedder(cpu_share=share)
