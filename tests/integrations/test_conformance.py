"""What every reranking adapter must do, asked of both frameworks through the same checks.

A new adapter joins by adding its face (see `LangChain` and `LlamaIndex` in conftest.py) to `framework`.
"""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import (
    ModelLoadError,
    NonFiniteScoreError,
    ScoreCountError,
    SemanticRankerError,
)

QUERY = "cat feeds dog"
TEXTS = ["red house", "cat sleeps", "cat feeds dog", "cat feeds house"]
BEST_FIRST = ["id-2", "id-3", "id-1", "id-0"]


def ids(framework, items):
    return [framework.hit(item).id for item in items]


def scores(framework, items):
    return [framework.hit(item).score for item in items]


def test_the_best_text_comes_first(framework, model):
    reranked = framework.run(framework.rerank_class(model=model, top_n=None), framework.items(TEXTS), QUERY)
    assert ids(framework, reranked) == BEST_FIRST
    assert scores(framework, reranked) == sorted(scores(framework, reranked), reverse=True)


def test_scores_are_plain_floats_in_the_unit_interval_and_match_the_core(framework, model):
    reranked = framework.run(framework.rerank_class(model=model, top_n=None), framework.items(TEXTS), QUERY)
    expected = [hit.relevance_score for hit in CrossEncoder(model).rank(QUERY, TEXTS)]
    assert [type(score) for score in scores(framework, reranked)] == [float] * len(TEXTS)
    assert scores(framework, reranked) == expected
    assert all(0.0 <= score <= 1.0 for score in expected)


def test_inputs_are_left_as_they_were(framework, model):
    items = framework.items(TEXTS)
    before = copy.deepcopy(items)
    reranked = framework.run(framework.rerank_class(model=model, top_n=None), items, QUERY)
    assert items == before
    assert not {id(item) for item in reranked} & {id(item) for item in items}


def test_ids_texts_metadata_and_types_survive(framework, model):
    items = framework.items(TEXTS)
    reranked = framework.run(framework.rerank_class(model=model, top_n=None), items, QUERY)
    originals = {framework.hit(item).id: framework.hit(item) for item in items}
    for item in reranked:
        hit = framework.hit(item)
        assert hit.text == originals[hit.id].text
        assert hit.metadata.items() >= originals[hit.id].metadata.items()
        assert type(item) is type(items[0])


def test_ties_keep_the_order_given(framework, model):
    texts = ["dog", "cat", "red house", "cat", "dog"]
    reranked = framework.run(framework.rerank_class(model=model, top_n=None), framework.items(texts), "cat dog")
    assert ids(framework, reranked) == ["id-0", "id-1", "id-3", "id-4", "id-2"]


def test_duplicate_texts_and_ids_are_all_returned(framework, model):
    items = framework.items(["cat"]) * 3
    reranked = framework.run(framework.rerank_class(model=model, top_n=None), items, "cat")
    assert ids(framework, reranked) == ["id-0"] * 3


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (3, 3), (4, 4), (99, 4), (None, 4)])
def test_top_n_limits_the_result(framework, model, top_n, count):
    reranked = framework.run(framework.rerank_class(model=model, top_n=top_n), framework.items(TEXTS), QUERY)
    assert ids(framework, reranked) == BEST_FIRST[:count]


@pytest.mark.parametrize("top_n", [0, -1, True, 2.0, "2"])
def test_a_wrong_top_n_is_refused_at_construction(framework, top_n):
    with pytest.raises(ValidationError):
        framework.rerank_class(top_n=top_n)


@pytest.mark.parametrize(
    "settings", [{"modle": "x"}, {"precision": "int4"}, {"score_threshold": 1.5}, {"max_length": 0}]
)
def test_a_wrong_setting_is_refused_at_construction(framework, settings):
    with pytest.raises(ValidationError):
        framework.rerank_class(**settings)


def test_a_path_object_is_a_model(framework, model):
    reranker = framework.rerank_class(model=Path(model))
    assert reranker.model == model


@pytest.mark.parametrize(
    ("words", "without", "settings", "with_them"),
    [
        (100, "id-1", {"long_text": "windows"}, "id-0"),
        (20, "id-0", {"max_length": 16}, "id-1"),
    ],
    ids=["long_text", "max_length"],
)
def test_length_settings_reach_the_model(framework, model, words, without, settings, with_them):
    items = framework.items(["red " * words + "cat feeds dog", "cat"])
    for options, first in (({}, without), (settings, with_them)):
        reranker = framework.rerank_class(model=model, **options)
        assert ids(framework, framework.run(reranker, items, QUERY))[0] == first


def test_a_precision_that_the_model_does_not_have_is_an_error(framework, model):
    with pytest.raises(ModelLoadError):
        framework.run(framework.rerank_class(model=model, precision="int8"), framework.items(TEXTS), QUERY)


def test_the_threshold_is_on_the_relevance_score_and_may_leave_nothing(framework, model):
    strict, half = (framework.rerank_class(model=model, score_threshold=least) for least in (1.0, 0.5))
    assert framework.run(strict, framework.items(TEXTS), QUERY) == []
    assert ids(framework, framework.run(half, framework.items(TEXTS), QUERY)) == ["id-2", "id-3"]


async def test_empty_input_gives_an_empty_list_and_opens_no_model(framework):
    reranker = framework.rerank_class(model="no/such/folder")
    assert framework.run(reranker, [], QUERY) == []
    assert await framework.arun(reranker, [], QUERY) == []


def test_empty_and_blank_texts_and_queries_are_ranked(framework, model):
    reranker = framework.rerank_class(model=model, top_n=None)
    assert ids(framework, framework.run(reranker, framework.items(["", "  ", "cat"]), "cat"))[0] == "id-2"
    assert len(framework.run(reranker, framework.items(TEXTS), "")) == len(TEXTS)


async def test_the_async_path_gives_the_same(framework, model):
    reranker = framework.rerank_class(model=model)
    items = framework.items(TEXTS)
    assert await framework.arun(reranker, items, QUERY) == framework.run(reranker, items, QUERY)


async def test_the_event_loop_runs_while_a_call_is_scored(framework, model, monkeypatch):
    """The scorer waits for something that only a running event loop can do."""
    loop_ran, seen = threading.Event(), []
    rank = CrossEncoder.rank

    def rank_after_the_loop_ran(self, *args, **options):
        seen.append((loop_ran.wait(timeout=30), threading.current_thread().name))
        return rank(self, *args, **options)

    monkeypatch.setattr(CrossEncoder, "rank", rank_after_the_loop_ran)
    call = asyncio.ensure_future(framework.arun(framework.rerank_class(model=model), framework.items(TEXTS), QUERY))
    while not seen and not call.done():
        await asyncio.sleep(0)
        loop_ran.set()
    await call
    [(loop_was_free, thread)] = seen
    assert loop_was_free
    assert thread.startswith("semantic-ranker"), "not on the process-wide executor"


async def test_many_concurrent_calls_each_get_their_own_answer(framework, model):
    reranker = framework.rerank_class(model=model, top_n=1)
    queries = ["red house", "cat sleeps", "cat feeds dog"] * 10
    answers = await asyncio.gather(*(framework.arun(reranker, framework.items(TEXTS), query) for query in queries))
    assert [framework.hit(answer[0]).text for answer in answers] == queries


def test_threads_share_one_reranker_and_get_the_same_values(framework, model):
    reranker = framework.rerank_class(model=model, top_n=None)
    expected = framework.run(framework.rerank_class(model=model, top_n=None), framework.items(TEXTS), QUERY)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: framework.run(reranker, framework.items(TEXTS), QUERY), range(40)))
    assert answers == [expected] * 40


@pytest.mark.parametrize(
    ("fixture", "text", "error"),
    [("model", "poison", NonFiniteScoreError), ("miscounting_model", "cat", (ScoreCountError, ModelLoadError))],
)
async def test_nan_and_missing_scores_raise_instead_of_losing_items(framework, request, fixture, text, error):
    reranker = framework.rerank_class(model=request.getfixturevalue(fixture))
    with pytest.raises(error):
        framework.run(reranker, framework.items(["cat", text, "dog"]), QUERY)
    with pytest.raises(error):
        await framework.arun(reranker, framework.items(["cat", text, "dog"]), QUERY)


@pytest.mark.parametrize("fixture", ["model", "miscounting_model"])
async def test_passthrough_keeps_the_first_stage_order_and_says_so(framework, request, caplog, fixture):
    settings = {"model": request.getfixturevalue(fixture), "on_error": "passthrough", "score_threshold": 0.9}
    items = framework.items(["dog secret", "poison", "cat", "cat feeds dog"])
    before = copy.deepcopy(items)
    for top_n, count in ((3, 3), (None, 4)):
        reranker = framework.rerank_class(top_n=top_n, **settings)
        for degraded in (framework.run(reranker, items, QUERY), await framework.arun(reranker, items, QUERY)):
            assert ids(framework, degraded) == [f"id-{number}" for number in range(count)]
            assert all(framework.hit(item).metadata["rerank_degraded"].endswith("Error") for item in degraded)
    assert items == before
    assert "keep their order" in caplog.text
    assert "secret" not in caplog.text


def test_passthrough_covers_a_model_that_cannot_be_opened(framework, tmp_path):
    reranker = framework.rerank_class(model=str(tmp_path / "missing"), on_error="passthrough")
    degraded = framework.run(reranker, framework.items(TEXTS), QUERY)
    assert framework.hit(degraded[0]).metadata["rerank_degraded"] == "ModelLoadError"
    with pytest.raises(ModelLoadError):
        framework.run(reranker.model_copy(update={"on_error": "raise"}), framework.items(TEXTS), QUERY)


def test_a_later_success_removes_the_mark_of_failure(framework, model):
    degraded = framework.run(
        framework.rerank_class(model=model, on_error="passthrough"), framework.items(["poison", "cat"]), QUERY
    )
    reranked = framework.run(framework.rerank_class(model=model), degraded[1:], QUERY)
    assert "rerank_degraded" not in framework.hit(reranked[0]).metadata
    assert "rerank_degraded" in framework.hit(degraded[1]).metadata


def test_a_bad_query_raises_a_typed_error(framework, model):
    with pytest.raises(SemanticRankerError):
        framework.run(framework.rerank_class(model=model), framework.items(TEXTS), b"cat")


def test_copies_with_other_settings_use_those_settings(framework, model, tmp_path):
    reranker = framework.rerank_class(model=model, top_n=1)
    framework.run(reranker, framework.items(TEXTS), QUERY)
    assert len(framework.run(reranker.model_copy(update={"top_n": 2}), framework.items(TEXTS), QUERY)) == 2
    with pytest.raises(ModelLoadError):
        framework.run(reranker.model_copy(update={"model": str(tmp_path)}), framework.items(TEXTS), QUERY)


def test_the_serialised_form_is_json_and_the_same_before_and_after_use(framework, model):
    reranker = framework.rerank_class(model=model, top_n=None, score_threshold=0.25)
    before = json.dumps(framework.payload(reranker), sort_keys=True)
    framework.run(reranker, framework.items(TEXTS), QUERY)
    assert json.dumps(framework.payload(reranker), sort_keys=True) == before
    assert json.dumps(framework.payload(framework.rerank_class(model=model)), sort_keys=True) != before


def test_results_are_json_serialisable(framework, model):
    reranked = framework.run(framework.rerank_class(model=model), framework.items(TEXTS), QUERY)
    assert json.loads(reranked[0].model_dump_json())


def test_pickle_carries_the_path_and_no_weights(framework, model):
    reranker = framework.rerank_class(model=model, top_n=2, score_threshold=0.1)
    expected = framework.run(reranker, framework.items(TEXTS), QUERY)
    data = pickle.dumps(reranker)
    graph = (Path(model) / "onnx" / "model.onnx").read_bytes()
    assert graph[:200] not in data
    assert len(data) < 4000
    restored = pickle.loads(data)
    assert framework.payload(restored) == framework.payload(reranker)
    assert framework.run(restored, framework.items(TEXTS), QUERY) == expected


def test_it_travels_to_a_fresh_process(framework, model):
    """What `multiprocessing` with spawn, Ray and Dask do with it."""
    call = framework.call(framework.rerank_class(model=model, top_n=None), framework.items(TEXTS), QUERY)
    code = (
        "import pickle, sys; method, arguments = pickle.load(sys.stdin.buffer);"
        "sys.stdout.buffer.write(pickle.dumps(method(*arguments)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(call), capture_output=True, check=True)
    assert ids(framework, pickle.loads(answer.stdout)) == BEST_FIRST


def test_a_deep_copy_works(framework, model):
    reranker = framework.rerank_class(model=model)
    expected = framework.run(reranker, framework.items(TEXTS), QUERY)
    assert framework.run(copy.deepcopy(reranker), framework.items(TEXTS), QUERY) == expected


def _in_child(framework, reranker, texts, connection):
    connection.send(ids(framework, framework.run(reranker, framework.items(texts), QUERY)))
    connection.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_used_reranker_works_in_a_forked_child(framework, model):
    """Threads do not survive a fork; the child has to open its own scorer instead of waiting for them."""
    reranker = framework.rerank_class(model=model, top_n=None)
    framework.run(reranker, framework.items(TEXTS), QUERY)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(framework, reranker, TEXTS, sender))
    child.start()
    try:
        assert receiver.poll(60), "the child hangs"
        assert receiver.recv() == BEST_FIRST
    finally:
        child.kill()
        child.join()
