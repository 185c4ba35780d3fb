from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.fusion import fuse_rrf, fuse_weighted

documents = st.sampled_from([f"d{number}" for number in range(8)])
scores = st.dictionaries(documents, st.floats(-5, 5), max_size=8)


def test_rrf_adds_reciprocal_ranks():
    fused = fuse_rrf([{"q": {"a": 9.0, "b": 8.0}}, {"q": {"b": 0.1, "c": 0.2}}])
    assert fused == {"q": pytest.approx({"b": 2 / 62, "a": 1 / 61, "c": 1 / 61})}
    assert list(fused["q"]) == ["b", "a", "c"]


def test_rrf_keeps_queries_of_every_run():
    fused = fuse_rrf([{"p": {"a": 1.0}}, {"q": {"b": 1.0}, "empty": {}}], k=0)
    assert fused == {"p": {"a": 1.0}, "q": {"b": 1.0}, "empty": {}}


@settings(deadline=None)
@given(st.lists(scores, min_size=1, max_size=3), st.data())
def test_rrf_depends_neither_on_scale_nor_on_insertion_order(runs, data):
    other = [dict(data.draw(st.permutations([(d, 2 * s) for d, s in run.items()]))) for run in runs]
    first, second = fuse_rrf([{"q": run} for run in runs]), fuse_rrf([{"q": run} for run in other])
    assert list(first["q"].items()) == list(second["q"].items())


def test_weighted_adds_z_scores_and_gives_absent_documents_the_lowest():
    fused = fuse_weighted([{"q": {"a": 30.0, "b": 20.0, "c": 10.0}}, {"q": {"c": 0.9, "a": 0.1}}], [2.0, 1.0])
    z = np.sqrt(1.5)
    assert fused["q"] == pytest.approx({"a": 2 * z - 1, "b": 0 - 1, "c": -2 * z + 1})
    assert list(fused["q"]) == ["a", "b", "c"]


def test_weighted_by_one_run_alone_keeps_its_order():
    run = {"q": {"a": 0.3, "b": 0.9, "c": 0.5}}
    assert list(fuse_weighted([run, {"q": {"z": 5.0, "a": 1.0}}], [1.0, 0.0])["q"])[:2] == ["b", "c"]


def test_weighted_ignores_runs_that_do_not_discriminate():
    fused = fuse_weighted([{"q": {"a": 0.1, "b": 0.1, "c": 0.1}}, {"q": {"b": 2.0, "a": 1.0}}, {"q": {}}], [1, 1, 1])
    assert fused["q"] == pytest.approx({"b": 1.0, "a": -1.0, "c": -1.0})
    assert list(fused["q"]) == ["b", "a", "c"]


@settings(deadline=None)
@given(st.lists(scores, min_size=2, max_size=2), st.data())
def test_weighted_does_not_depend_on_insertion_order(runs, data):
    other = [dict(data.draw(st.permutations(list(run.items())))) for run in runs]
    first = fuse_weighted([{"q": run} for run in runs], [0.3, 0.7])
    second = fuse_weighted([{"q": run} for run in other], [0.3, 0.7])
    assert list(first["q"].items()) == list(second["q"].items())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fuse_rrf([]), "at least one run"),
        (lambda: fuse_rrf([{"q": {"a": 1.0}}], k=-1), "0 or more"),
        (lambda: fuse_rrf([{"q": {"a": float("nan")}}]), "nan in run 0, query 'q', document 'a'"),
        (lambda: fuse_weighted([{"q": {"a": 1.0}}], [1.0, 1.0]), r"one weight a run \(1\), got 2"),
        (lambda: fuse_weighted([{"q": {"a": 1.0}}], [-1.0]), "finite weights"),
        (lambda: fuse_weighted([{"q": {"a": 1.0}}], [0.0]), "finite weights"),
        (lambda: fuse_weighted([{"q": {"a": float("inf")}}], [1.0]), "finite scores"),
    ],
)
def test_what_cannot_be_fused_is_refused(call, says):
    with pytest.raises(InvalidInputError, match=says):
        call()
