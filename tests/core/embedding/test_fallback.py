import logging

import numpy as np
import pytest

from semantic_ranker.bm25 import BM25Index
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.backend import OpenedBackend
from semantic_ranker.embedding.breaker import BreakerPolicy
from semantic_ranker.embedding.canary import Canary
from semantic_ranker.embedding.ladder import Ladder, Rung
from semantic_ranker.embedding.retrieval import DenseLeg, EmbeddingFallback, FallbackRetriever, LexicalLeg
from semantic_ranker.embedding.table import VectorTable
from semantic_ranker.errors import EmbeddingError, InvalidInputError, ModelLoadError, SpaceMismatchError

TEXTS = ["cats sleep all day", "reset your password in settings", "dogs bark at night", "water boils"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Faulty:
    """A backend that runs another one, and fails when it is told to."""

    def __init__(self, inner):
        self.inner, self.name, self.precision = inner, inner.name, inner.precision
        self.error, self.calls, self.most = None, [], None

    def run(self, texts):
        self.calls.append(len(texts))
        if self.error is not None:
            raise self.error
        if self.most is not None and len(texts) > self.most:
            raise MemoryError("full")
        return self.inner.run(texts)


def faulty_ladder(folder, clock, **options):
    """The real rungs of a folder, each wrapped so that it can be made to fail."""
    embedder = Embedder(folder, **options)
    ladder = embedder._open()
    wrapped = {}

    def opener(step):
        def open_():
            opened = step.rung.open()
            wrapped[step.rung.name] = Faulty(opened.backend)
            return OpenedBackend(wrapped[step.rung.name], opened.space)

        return open_

    rungs = [Rung(step.rung.name, opener(step)) for step in ladder._steps]
    policy = BreakerPolicy(fail_max=2.0, reset_s=10.0, clock=clock)
    embedder._ladder = Ladder(rungs, embedder._probe, floor=0.98, policy=policy)
    return embedder, wrapped


def test_a_primary_that_cannot_load_is_replaced_within_its_space(onnx_folder):
    healthy = Embedder(onnx_folder, precision="fp32").embed_documents(TEXTS)
    (onnx_folder / "onnx" / "model_qint8.onnx").write_bytes(b"broken")
    embedder = Embedder(onnx_folder)
    found = embedder.embed(TEXTS)
    assert np.array_equal(found.vectors, healthy)
    assert found.space.precision == "fp32"
    assert "onnx int8" in found.degraded
    assert embedder.degraded is not None


def test_without_fallback_the_failure_is_the_callers(onnx_folder):
    (onnx_folder / "onnx" / "model_qint8.onnx").write_bytes(b"broken")
    with pytest.raises(ModelLoadError, match="model_qint8"):
        Embedder(onnx_folder, fallback=False).embed_documents(TEXTS)


def test_when_everything_fails_there_is_one_error_with_all_causes(onnx_folder):
    for name in ("model.onnx", "model_qint8.onnx"):
        (onnx_folder / "onnx" / name).write_bytes(b"broken")
    with pytest.raises(EmbeddingError, match=r"onnx int8.*onnx fp32") as caught:
        Embedder(onnx_folder, backend="onnx").embed_documents(TEXTS)
    assert "model_qint8" in str(caught.value.__cause__)


def test_running_out_of_memory_takes_smaller_parts_first(onnx_folder):
    embedder, wrapped = faulty_ladder(onnx_folder, Clock())
    expected = embedder.embed_documents(TEXTS * 4)
    backend = wrapped["onnx int8"]
    texts = [f"cats {number}" for number in range(16)]
    whole = embedder.embed_documents(texts)
    backend.calls.clear()
    backend.most = 4
    found = embedder.embed(texts)
    assert np.array_equal(found.vectors, whole)
    assert found.degraded is None
    assert backend.calls == [16, 8, 4, 4, 8, 4, 4]
    backend.most = 0
    found = embedder.embed(TEXTS * 4)
    assert "onnx fp32 instead of onnx int8" in found.degraded
    assert np.allclose(found.vectors, expected, atol=0.02)


def test_a_failing_primary_is_left_alone_and_comes_back_without_a_restart(onnx_folder):
    clock = Clock()
    embedder, wrapped = faulty_ladder(onnx_folder, clock)
    primary = embedder.embed(TEXTS)
    assert primary.degraded is None
    backend = wrapped["onnx int8"]
    backend.error = RuntimeError("driver gone")
    for _ in range(5):
        found = embedder.embed(TEXTS)
        assert found.degraded == "onnx fp32 instead of onnx int8: driver gone"
        assert found.space.precision == "fp32"
    tried = len(backend.calls)
    assert tried < 3 + 2 * 2
    embedder.embed(TEXTS)
    assert len(backend.calls) == tried
    backend.error = None
    clock.now = 11.0
    assert embedder.embed(TEXTS).degraded is None
    assert np.array_equal(embedder.embed_documents(TEXTS), primary.vectors)


def test_a_primary_that_fails_every_other_time_is_left_alone_too(onnx_folder):
    clock = Clock()
    embedder, wrapped = faulty_ladder(onnx_folder, clock)
    embedder.embed(TEXTS)
    backend, states = wrapped["onnx int8"], []
    for number in range(12):
        backend.error = RuntimeError("flap") if number % 2 else None
        calls = len(backend.calls)
        embedder.embed(TEXTS)
        states.append(len(backend.calls) > calls)
    assert states[0]
    assert not states[-1]


def test_waiting_doubles_while_it_keeps_failing(onnx_folder):
    clock = Clock()
    embedder, wrapped = faulty_ladder(onnx_folder, clock)
    embedder.embed(TEXTS)
    backend = wrapped["onnx int8"]
    backend.error = RuntimeError("gone")
    tries = []
    for second in range(0, 200):
        clock.now = float(second)
        calls = len(backend.calls)
        embedder.embed(["cats"])
        if len(backend.calls) > calls:
            tries.append(second)
    gaps = np.diff(tries[1:])
    assert (gaps[1:] >= 2 * gaps[:-1] - 1).all()


def test_a_precision_whose_probe_texts_are_below_the_floor_never_takes_over(make_folder, caplog):
    folder = make_folder("rough", noise=0.8)
    clock = Clock()
    embedder, wrapped = faulty_ladder(folder, clock)
    embedder.embed(TEXTS)
    wrapped["onnx int8"].error = RuntimeError("gone")
    with caplog.at_level(logging.ERROR), pytest.raises(EmbeddingError, match="probe texts"):
        embedder.embed(TEXTS)
    assert "never used" in caplog.text
    wrapped["onnx int8"].error = None
    assert embedder.embed(TEXTS).degraded is None


def test_a_rung_of_another_model_is_refused(make_folder):
    one, two = (Embedder(make_folder(name, seed=seed)) for name, seed in (("one", 1), ("two", 2)))
    broken, mine = [], one._open()._steps[0].rung

    def failing():
        opened = mine.open()
        broken.append(Faulty(opened.backend))
        return OpenedBackend(broken[0], opened.space)

    other = two._open()._steps[0].rung
    one._ladder = Ladder([Rung("mine", failing), Rung("other", other.open)], one._probe)
    one.embed(TEXTS)
    broken[0].error = RuntimeError("gone")
    with pytest.raises(EmbeddingError, match="Expected other to be the model that mine is"):
        one.embed(TEXTS)


def test_what_is_cached_is_served_when_no_way_is_left(onnx_folder):
    class Kept(dict):
        def get_or_compute(self, space, role, texts, compute):
            missing = [text for text in texts if (space.fingerprint, text) not in self]
            if missing:
                self.update(
                    {(space.fingerprint, text): row for text, row in zip(missing, compute(missing), strict=True)}
                )
            return np.stack([self[space.fingerprint, text] for text in texts])

    embedder, wrapped = faulty_ladder(onnx_folder, Clock(), cache=Kept())
    expected = embedder.embed_documents(TEXTS)
    embedder._open()._steps[1].breaker.give_up(RuntimeError("gone too"))
    wrapped["onnx int8"].error = RuntimeError("gone")
    assert embedder.embed(TEXTS).degraded is None
    for _ in range(3):
        with pytest.raises(EmbeddingError):
            embedder.embed_documents(["something new"])
    assert "from the cache only" in embedder.embed(TEXTS).degraded
    assert np.array_equal(embedder.embed_documents(TEXTS), expected)


def test_an_interrupt_is_never_swallowed(onnx_folder):
    embedder, wrapped = faulty_ladder(onnx_folder, Clock())
    embedder.embed(TEXTS)
    wrapped["onnx int8"].error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(TEXTS)


def test_a_ladder_without_rungs_is_refused():
    with pytest.raises(InvalidInputError):
        Ladder([], lambda opened: Canary(np.ones((5, 2)), np.ones((3, 2))))


@pytest.mark.parametrize("dims", [(16, 16), (16, 24)], ids=["equal", "unequal"])
def test_vectors_of_another_model_never_enter_or_query_an_index(make_folder, dims):
    """The fault of the incumbents, which fall back to another model and never tell the index."""
    mine, other = (Embedder(make_folder(f"model-{seed}", dim=dim, seed=seed)) for seed, dim in enumerate(dims, start=1))
    table = VectorTable()
    first = mine.embed(TEXTS)
    table.add(first.vectors, first.space)
    foreign = other.embed(TEXTS)
    with pytest.raises(SpaceMismatchError, match="add to"):
        table.add(foreign.vectors, foreign.space)
    with pytest.raises(SpaceMismatchError, match="query"):
        table.search(foreign.vectors, foreign.space)
    assert len(table) == len(TEXTS)
    rows, _ = table.search(first.vectors, first.space, 1)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]


def legs(make_folder):
    found = []
    for seed, name in enumerate(("first", "second"), start=1):
        embedder, wrapped = faulty_ladder(make_folder(name, seed=seed), Clock(), fallback=False)
        embedder.embed(["a"])
        found.append((DenseLeg(name, embedder), wrapped["onnx int8"]))
    return found


def test_a_second_complete_index_takes_over_and_says_so(make_folder):
    (first, first_backend), (second, second_backend) = legs(make_folder)
    clock = Clock()
    policy = BreakerPolicy(fail_max=1, reset_s=5, clock=clock)
    fallback = EmbeddingFallback([first, second], lexical=LexicalLeg(BM25Index(TEXTS)), policy=policy)
    assert fallback.add(TEXTS) == {}
    result = fallback.search("reset your password", 2)
    assert (result.leg, result.degraded, result.hits[0].index) == ("first", None, 1)
    first_backend.error = RuntimeError("gone")
    result = fallback.search("reset your password", 2)
    assert (result.leg, result.hits[0].index) == ("second", 1)
    assert "first: " in result.degraded
    assert "gone" in result.degraded
    assert result.space == second.embedder.space
    second_backend.error = RuntimeError("gone as well")
    result = fallback.search("reset your password", 2)
    assert (result.leg, result.space, result.hits[0].index) == ("bm25", None, 1)
    assert "gone as well" in result.degraded
    first_backend.error = None
    clock.now = 100.0
    first.embedder._open()._steps[0].breaker._retry_at = 0.0
    assert fallback.search("reset your password").leg == "first"


def test_an_index_that_missed_a_text_is_not_searched(make_folder):
    (first, first_backend), (second, _) = legs(make_folder)
    fallback = EmbeddingFallback([first, second])
    fallback.add(TEXTS[:2])
    first_backend.error = RuntimeError("gone")
    assert list(fallback.add(TEXTS[2:])) == ["first"]
    first_backend.error = None
    result = fallback.search("water boils", 1)
    assert result.leg == "second"
    assert "first has 2 of 4 texts" in result.degraded
    assert list(fallback.add(["a"])) == ["first"]


def test_nothing_is_added_when_no_model_can_embed(make_folder):
    (first, backend), _ = legs(make_folder)
    fallback = EmbeddingFallback([first])
    backend.error = RuntimeError("gone")
    with pytest.raises(EmbeddingError, match="nothing was added"):
        fallback.add(TEXTS)
    assert fallback.count == 0
    with pytest.raises(InvalidInputError) as caught:
        fallback.add(["a", None])
    assert caught.value.index == 1


def test_a_leg_whose_model_was_exchanged_is_never_searched_with_the_new_one(make_folder):
    (first, _), (second, _) = legs(make_folder)
    fallback = EmbeddingFallback([first], lexical=LexicalLeg(BM25Index(TEXTS)))
    fallback.add(TEXTS)
    first.embedder = second.embedder
    result = fallback.search("cats sleep")
    assert result.leg == "bm25"
    assert "Expected vectors of" in result.degraded


def test_retriever_arguments(make_folder):
    leg = LexicalLeg(BM25Index(TEXTS))
    retriever = FallbackRetriever([leg])
    assert [hit.index for hit in retriever.search("cats", 1).hits] == [0]
    for bad in (0, -1, True, 2.5):
        with pytest.raises(InvalidInputError, match="k"):
            retriever.search("cats", bad)
    with pytest.raises(InvalidInputError, match="query"):
        retriever.search(None)
    for bad_legs in ([], [leg, leg]):
        with pytest.raises(InvalidInputError, match="legs"):
            FallbackRetriever(bad_legs)


def test_a_retriever_without_a_leg_left_says_all_causes(make_folder):
    (first, backend), _ = legs(make_folder)
    retriever = FallbackRetriever([first], policy=BreakerPolicy(fail_max=1, clock=Clock()))
    backend.error = RuntimeError("gone")
    for _ in range(2):
        with pytest.raises(EmbeddingError, match="first"):
            retriever.search("cats")
