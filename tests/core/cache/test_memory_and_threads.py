"""The tier in this process and calls that meet each other, by the numbers of the list of cases."""

import asyncio
import copy
import multiprocessing
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from semantic_ranker.cache import TieredCache
from semantic_ranker.cache.memory import ENTRY_BYTES, LruStore, MemoryTier, TinyLfuStore
from semantic_ranker.errors import CacheError, EmbedderContractError, InvalidInputError

TEXTS = [f"text {number}" for number in range(20)]
LIMIT_S = 10


@pytest.fixture(params=["lru", "tinylfu"])
def cache(request):
    return TieredCache(policy=request.param)


class Gate:
    """A computation that waits until a test lets it go on."""

    def __init__(self, compute):
        self.entered, self.go, self._compute = threading.Event(), threading.Event(), compute

    def __call__(self, texts):
        self.entered.set()
        assert self.go.wait(LIMIT_S)
        return self._compute(texts)


def in_threads(count, work):
    with ThreadPoolExecutor(count) as pool:
        return [future.result(LIMIT_S) for future in [pool.submit(work, number) for number in range(count)]]


def waiting(cache, count, wait_until):
    """Wait until that many calls wait for another's computation."""
    wait_until(lambda: cache._memory.stats().misses >= count)
    time.sleep(0.05)


def test_27_64_threads_compute_once(cache, model, wait_until):
    gate = Gate(model)
    threading.Thread(target=lambda: (waiting(cache, 64, wait_until), gate.go.set())).start()
    vectors = in_threads(64, lambda number: model.through(cache, ["same"], gate))
    assert model.asked == [["same"]]
    assert all((vector == vectors[0]).all() for vector in vectors)
    stats = cache.stats()
    assert (stats.lookups, stats.misses, stats.hits) == (64, 1, 63)


def test_27_overlapping_batches_never_wait_for_each_other(cache, model):
    def work(number):
        rotated = TEXTS[number:] + TEXTS[:number]
        for _ in range(20):
            model.check(cache, rotated)
            cache._memory.clear()

    in_threads(8, work)


def test_28_who_waits_gets_the_leaders_error_and_the_next_call_tries_again(cache, model, wait_until):
    def broken(texts):
        raise RuntimeError("no model")

    gate = Gate(broken)
    threading.Thread(target=lambda: (waiting(cache, 8, wait_until), gate.go.set())).start()

    def work(number):
        with pytest.raises(RuntimeError, match="no model"):
            model.through(cache, ["same"], gate)

    in_threads(8, work)
    model.check(cache, ["same"])
    assert model.asked == [["same"]]
    assert cache.stats().memory.entries == 1


async def test_29_a_cancelled_leader_does_not_harm_who_waits(cache, model):
    gate = Gate(model)
    leader = asyncio.create_task(cache.aget_or_compute(model.space, "q", ["same"], gate))
    while not gate.entered.is_set():
        await asyncio.sleep(0.001)
    follower = asyncio.create_task(cache.aget_or_compute(model.space, "q", ["same"], model))
    await asyncio.sleep(0.02)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    gate.go.set()
    vectors = await asyncio.wait_for(follower, LIMIT_S)
    np.testing.assert_allclose(vectors[0], model.truth("same"), atol=2e-3)
    assert model.asked == [["same"]]


def test_30_duplicates_are_computed_once(cache, model):
    texts = ["b", "a", "b", "b", "c", "a"] * 30
    model.check(cache, texts)
    assert model.asked == [["b", "a", "c"]]
    assert cache.stats().lookups == 3


def test_31_changing_a_result_changes_nothing_kept(cache, model):
    for vectors in (model.through(cache, TEXTS), model.through(cache, TEXTS)):
        vectors[:] = 7
    model.check(cache, TEXTS)


def test_31_changing_what_was_computed_changes_nothing_kept(cache, model):
    given = model(TEXTS)
    model.through(cache, TEXTS, lambda texts: given)
    given[:] = 7
    model.check(cache, TEXTS)


@pytest.mark.parametrize("policy", ["lru", "tinylfu"])
@pytest.mark.parametrize("memory_bytes", [0, 1, ENTRY_BYTES + 32, ENTRY_BYTES + 33, 2 * (ENTRY_BYTES + 32)])
def test_32_33_room_for_none_one_or_two(model, policy, memory_bytes):
    cache = TieredCache(memory_bytes=memory_bytes, policy=policy)
    for _ in range(3):
        model.check(cache, TEXTS)
        model.check(cache, TEXTS[-1:])
    assert cache.stats().memory.entries == memory_bytes // (ENTRY_BYTES + 32)


@pytest.mark.parametrize("store", [LruStore, TinyLfuStore])
def test_33_an_entry_that_outgrew_the_budget_is_dropped(store):
    kept = store(ENTRY_BYTES + 100)
    kept.put("key", bytes(100))
    kept.put("key", bytes(101))
    assert (kept.entries, kept.held_bytes) == ({}, 0)
    kept.put("key", bytes(5))
    assert kept.held_bytes == ENTRY_BYTES + 5


def test_34_clear_under_load(cache, model):
    stop = threading.Event()

    def clear():
        while not stop.is_set():
            cache.clear()

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        in_threads(4, lambda number: [model.check(cache, TEXTS) for _ in range(15)])
    finally:
        stop.set()
        clearing.join(LIMIT_S)


@pytest.mark.parametrize("store", [LruStore, TinyLfuStore])
def test_35_the_budget_is_never_exceeded(store):
    rng = np.random.default_rng(0)
    budget = 20_000
    kept = store(budget)
    for step in range(5000):
        key = f"key {rng.zipf(1.3) % 500}"
        if rng.random() < 0.5 and key in kept.entries:
            kept.touch([key])
        else:
            kept.put(key, bytes(int(rng.integers(0, 1500)) if step > 2000 else 100))
        assert kept.held_bytes == sum(len(value) + ENTRY_BYTES for value in kept.entries.values())
        assert kept.held_bytes <= budget
    assert kept.evictions > 100


def test_36_hits_and_misses_are_lookups(cache, model):
    rng = np.random.default_rng(0)
    batches = [[f"text {n}" for n in rng.zipf(1.5, size=20) % 300] for _ in range(160)]
    in_threads(8, lambda number: [model.check(cache, batch) for batch in batches[number::8]])
    stats = cache.stats()
    assert stats.hits + stats.misses == stats.lookups == sum(len(set(batch)) for batch in batches)
    assert stats.memory.hits + stats.memory.misses == stats.lookups
    assert stats.misses == len(model.computed) == len(set(model.computed))
    assert 0 < stats.hit_rate < 1


BROKEN = {
    "37 too few": lambda vectors: vectors[:-1],
    "37 too many": lambda vectors: np.concatenate([vectors, vectors[:1]]),
    "37 none": lambda vectors: None,
    "37 words": lambda vectors: ["a"] * len(vectors),
    "37 ragged": lambda vectors: [row[: 8 - number % 2] for number, row in enumerate(vectors.tolist())],
    "38 another dimension": lambda vectors: vectors[:, :-1],
    "38 flat": lambda vectors: vectors.ravel(),
    "39 NaN": lambda vectors: np.where(np.arange(len(vectors))[:, None] == 3, np.nan, vectors),
    "39 infinity": lambda vectors: np.where(np.arange(len(vectors))[:, None] == 3, np.inf, vectors),
    "39 beyond float32": lambda vectors: np.where(np.arange(len(vectors))[:, None] == 3, 1e300, vectors.astype(float)),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN)
def test_37_to_39_broken_vectors_are_refused_and_not_kept(cache, model, breaking):
    with pytest.raises(EmbedderContractError, match="Expected") as caught:
        model.through(cache, TEXTS, lambda texts: breaking(model(texts)))
    assert caught.value.indices in ((), (3,))
    assert cache.stats().memory.entries == 0
    model.check(cache, TEXTS)


def test_39_bad_vectors_may_be_left_out(model):
    cache = TieredCache(on_non_finite="skip")
    vectors = model.through(cache, [*TEXTS, TEXTS[3]], lambda texts: BROKEN["39 NaN"](model(texts)))
    assert np.flatnonzero(np.isnan(vectors).all(axis=1)).tolist() == [3, 20]
    assert cache.stats().memory.entries == len(TEXTS) - 1
    model.check(cache, TEXTS)
    assert model.asked[1] == [TEXTS[3]]


def test_40_zero_vectors_stay_zero_and_are_counted(cache, model, warnings_of):
    for _ in range(2):
        vectors = model.through(cache, TEXTS[:2], lambda texts: np.zeros((2, 8)))
        assert not vectors.any()
    assert cache.stats().zeros == 2
    assert len(warnings_of()) == 1


def _tensor(vectors, kind):
    torch = pytest.importorskip("torch")
    return torch.tensor(vectors, dtype=getattr(torch, kind), requires_grad=True)


KINDS = {
    "float64": lambda vectors: vectors.astype(np.float64),
    "float16": lambda vectors: vectors.astype(np.float16),
    "big-endian": lambda vectors: vectors.astype(">f4"),
    "Fortran": np.asfortranarray,
    "strided": lambda vectors: np.repeat(vectors, 2, axis=1)[:, ::2],
    "lists": lambda vectors: vectors.tolist(),
    "list of arrays": list,
    "read-only": lambda vectors: np.frombuffer(vectors.tobytes(), np.float32).reshape(vectors.shape),
    "tensor": lambda vectors: _tensor(vectors, "float32"),
    "bfloat16 tensor": lambda vectors: _tensor(vectors, "bfloat16"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_41_any_kind_of_vectors(cache, model, kind):
    vectors = model.through(cache, TEXTS, lambda texts: kind(model(texts)))
    assert (vectors.dtype, vectors.shape) == (np.float32, (20, 8))
    assert (model.through(cache, TEXTS) == vectors).all()
    np.testing.assert_allclose(vectors[0], model.truth(TEXTS[0]), atol=1e-2)


def test_42_the_first_of_two_vectors_stays(cache, model):
    first = model.through(cache, ["same"], lambda texts: np.ones((1, 8)))
    assert (model.through(cache, ["same"], lambda texts: np.zeros((1, 8))) == first).all()


async def test_43_tasks_and_threads_together(cache, model):
    async def task(number):
        return await cache.aget_or_compute(model.space, "q", TEXTS[number % 5 :], model)

    loop = asyncio.get_running_loop()
    threads = loop.run_in_executor(None, in_threads, 16, lambda number: model.check(cache, TEXTS[number % 7 :]))
    tasks = asyncio.gather(*[task(number) for number in range(64)])
    await asyncio.wait_for(asyncio.gather(threads, tasks), LIMIT_S)
    assert sorted(model.computed) == sorted(TEXTS)


def test_43_a_computation_may_ask_for_its_own_text(cache, model):
    def nested(texts):
        return model.through(cache, texts)

    model.through(cache, TEXTS, nested)
    model.check(cache, TEXTS)
    assert model.asked == [TEXTS]


def test_44_a_spawned_process_connects_by_itself(server, open_cache, model):
    cache = TieredCache(server.url)
    model.check(cache, TEXTS)
    content = pickle.dumps(cache)
    assert pickle.loads(content).stats().lookups == 0
    assert copy.deepcopy(cache).stats().lookups == 0
    with server.client() as client:
        before = len(client.client_list())
        again = pickle.loads(content)
        assert len(client.client_list()) == before
    assert repr(again) == repr(cache)
    worker = multiprocessing.get_context("spawn").Process(target=_touch, args=(content, TEXTS))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0


def _touch(content, texts):
    from semantic_ranker.spaces import EmbeddingSpace

    def refuse(missing):
        raise SystemExit(3)

    space = EmbeddingSpace(model="a", weights="a" * 8, tokenizer="t", dim=8)
    with pickle.loads(content) as cache:
        cache.get_or_compute(space, "q", texts, refuse)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_45_an_interrupted_computation_leaves_nothing_behind(cache, model, interrupt, wait_until):
    def broken(texts):
        raise interrupt

    gate = Gate(broken)
    found = []

    def lead():
        with pytest.raises(interrupt):
            model.through(cache, TEXTS, gate)

    def follow():
        found.append(model.check(cache, TEXTS))

    threads = [threading.Thread(target=lead), threading.Thread(target=follow)]
    threads[0].start()
    assert gate.entered.wait(LIMIT_S)
    threads[1].start()
    waiting(cache, 2 * len(TEXTS), wait_until)
    gate.go.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(found) == 1
    assert model.asked == [TEXTS]


def test_175_the_nth_computation_fails_until_one_works(cache, model):
    for failing in range(8):
        calls = iter(range(100))

        def compute(texts, calls=calls, failing=failing):
            if next(calls) < failing:
                raise OSError("disk")
            return model(texts)

        cache.clear()
        for _ in range(failing):
            with pytest.raises(OSError, match="disk"):
                model.through(cache, TEXTS, compute)
        model.check(cache, TEXTS)
        assert cache.stats().memory.entries == len(TEXTS)


def test_tiny_lfu_resists_a_scan_and_lru_does_not(model):
    kept = {}
    for policy in ("tinylfu", "lru"):
        cache = TieredCache(memory_bytes=100 * (ENTRY_BYTES + 32), policy=policy)
        popular = [f"popular {number}" for number in range(50)]
        for _ in range(5):
            model.through(cache, popular)
        for number in range(600):
            model.through(cache, [f"once {number}"])
        before = len(model.computed)
        model.through(cache, popular)
        kept[policy] = 50 - (len(model.computed) - before)
    assert kept["lru"] == 0
    assert kept["tinylfu"] >= 45


def test_lru_gives_up_what_was_not_used_for_longest():
    store = LruStore(3 * ENTRY_BYTES)
    for key in "abc":
        store.put(key, b"")
    store.touch(["a"])
    store.put("d", b"")
    assert list(store.entries) == ["c", "a", "d"]


def test_memory_without_the_extra_is_lru(monkeypatch):
    monkeypatch.setitem(sys.modules, "theine_core", None)
    assert isinstance(MemoryTier("auto", 10)._store, LruStore)
    with pytest.raises(ModuleNotFoundError, match=r"semantic-ranker\[cache\]"):
        TieredCache(policy="tinylfu")


def test_redis_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ModuleNotFoundError, match=r"semantic-ranker\[redis\]"):
        TieredCache("redis://localhost")


def test_warm_keeps_all_and_says_how_many_were_new(cache, model):
    texts = [f"text {number}" for number in range(2500)]
    assert cache.warm(model.space, "q", texts[:100], model) == 100
    assert cache.warm(model.space, "q", texts, model) == 2400
    assert [len(asked) for asked in model.asked] == [100, 924, 1024, 452]
    model.check(cache, texts)
    assert len(model.computed) == 2500


def test_nothing_asked_nothing_computed(cache, model):
    assert model.through(cache, []).shape == (0, 8)
    assert model.asked == []
    assert cache.stats().hit_rate == 0.0


def test_wrong_texts_and_roles_are_refused(cache, model):
    with pytest.raises(InvalidInputError, match="at index 1, got int") as caught:
        model.through(cache, ["a", 2])
    assert caught.value.index == 1
    with pytest.raises(InvalidInputError, match="list of str"):
        model.through(cache, "a")
    with pytest.raises(InvalidInputError, match="role"):
        cache.get_or_compute(model.space, "x", ["a"], model)


@pytest.mark.parametrize("text", ["", " ", "\0", "\ud800", "a\nb", "🧑‍🚀", "x" * 1_000_000])
def test_strange_texts_have_keys_of_their_own(cache, model, text):
    model.check(cache, [text, text + " ", "a"])
    model.check(cache, [text])
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    "options",
    [{"codec": "fp8"}, {"policy": "lfu"}, {"memory_bytes": -1}, {"memory_bytes": 1.5}, {"on_non_finite": "drop"}],
)
def test_settings_are_checked(options):
    (name,) = options
    with pytest.raises(CacheError, match=name):
        TieredCache(**options)


def test_it_closes_and_opens_again(server, model):
    with TieredCache(server.url) as cache:
        model.check(cache, TEXTS)
    model.check(cache, TEXTS)
    assert model.asked == [TEXTS]
    assert cache.stats().to_dict()["redis"]["errors"] == {}
