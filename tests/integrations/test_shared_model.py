"""Adapters are cheap to build: the open model behind them is one a process."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semantic_ranker import CrossEncoder
from semantic_ranker._shared import EncoderHold, checked_count, shared_cross_encoder
from semantic_ranker.errors import InvalidInputError, ModelLoadError


@pytest.fixture
def own_model(model, tmp_path):
    """A copy of the model that no other test has opened."""
    return str(shutil.copytree(model, tmp_path / "own"))


def test_the_same_settings_share_one_scorer_and_others_do_not(own_model):
    first = shared_cross_encoder(own_model)
    assert shared_cross_encoder(own_model, precision="auto") is first
    assert shared_cross_encoder(own_model, max_length=32) is not first
    assert shared_cross_encoder(own_model) is first


def test_threads_that_start_together_open_it_once(own_model, monkeypatch):
    openings, second = [], threading.Event()
    initialise = CrossEncoder.__init__

    def slow_initialise(self, *args, **options):
        openings.append(self)
        if len(openings) > 1:
            second.set()
        second.wait(0.2)
        initialise(self, *args, **options)

    monkeypatch.setattr(CrossEncoder, "__init__", slow_initialise)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: shared_cross_encoder(own_model), range(16)))
    assert len(openings) == 1
    assert all(encoder is openings[0] for encoder in opened)


@pytest.mark.parametrize("name", ["config.json", "onnx/model.onnx"])
def test_a_rewritten_folder_is_opened_anew(own_model, name):
    before = shared_cross_encoder(own_model)
    changed = Path(own_model) / name
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
    assert shared_cross_encoder(own_model) is not before


def test_it_lives_between_short_lived_adapters_and_is_freed_when_another_took_its_place(own_model, model):
    kept = weakref.ref(shared_cross_encoder(own_model))
    gc.collect()
    assert kept() is not None
    shared_cross_encoder(model)
    gc.collect()
    assert kept() is None


def test_an_adapter_keeps_its_scorer_open(framework, own_model, model):
    reranker = framework.rerank_class(model=own_model)
    framework.run(reranker, framework.items(["cat"]), "cat")
    held = weakref.ref(shared_cross_encoder(own_model))
    shared_cross_encoder(model)
    gc.collect()
    assert held() is not None
    del reranker
    gc.collect()
    assert held() is None


def test_a_failed_opening_is_tried_again(model, tmp_path):
    folder = str(tmp_path / "late")
    with pytest.raises(ModelLoadError):
        shared_cross_encoder(folder).rank("cat", ["cat"])
    shutil.copytree(model, folder)
    assert shared_cross_encoder(folder).rank("cat", ["cat"])[0].index == 0


def test_holds_are_equal_and_unhashable():
    assert EncoderHold() == EncoderHold()
    assert EncoderHold() != 1
    with pytest.raises(TypeError):
        hash(EncoderHold())


def test_checked_count():
    assert checked_count("k", 1) == 1
    for wrong in (0, -1, True, None, 1.0, "1"):
        with pytest.raises(InvalidInputError, match="k"):
            checked_count("k", wrong)
