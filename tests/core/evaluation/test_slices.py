from __future__ import annotations

import json

import pytest

from semantic_ranker import EvaluationError, evaluate
from semantic_ranker.evaluation import compare_slices, passage_length_groups, query_length_groups, source_groups
from semantic_ranker.evaluation.slices import slice_evaluations


def run_of(ranks):
    return {
        qid: {("hit" if place == rank else f"x{place}"): -float(place) for place in range(1, 11)}
        for qid, rank in ranks.items()
    }


A = run_of({f"long{i}": 2 for i in range(20)} | {f"short{i}": 1 for i in range(20)})
B = run_of({f"long{i}": 1 for i in range(20)} | {f"short{i}": 2 for i in range(20)})
QRELS = {qid: {"hit": 1} for qid in A}
KIND = {qid: "long" if qid.startswith("long") else "short" for qid in A}


def test_a_win_here_and_a_loss_there_are_told_apart():
    found = compare_slices(A, B, QRELS, KIND, "mrr")
    assert [of.label for of in found.slices] == ["long", "short"]
    assert found["long"].difference == pytest.approx(0.5)
    assert found["short"].difference == pytest.approx(-0.5)
    assert found["long"].mean_b == found["short"].mean_a == 1
    assert found["long"].low > 0 > found["short"].high
    assert (found.metric, found.unlabelled, found["long"].queries) == ("RR", 0, 20)
    # Holm over two slices doubles the smaller p.
    assert found["long"].adjusted_p == pytest.approx(2 * found["long"].p_value)
    with pytest.raises(KeyError):
        found["other"]


def test_a_slice_of_five_queries_gets_no_interval_and_costs_the_others_no_correction():
    kinds = {f"long{i}": "six" if i < 6 else "five" for i in range(11)}
    found = compare_slices(A, B, QRELS, kinds)
    five, six = found["five"], found["six"]
    assert (five.low, five.high, five.p_value, five.adjusted_p) == (None, None, None, None)
    assert five.is_too_small
    assert not six.is_too_small
    assert five.difference == pytest.approx(six.difference)
    assert six.adjusted_p == six.p_value == pytest.approx(2 / 2**6)  # all six differences alike: both extremes
    assert "too few queries" in str(found).splitlines()[2]
    assert json.loads(json.dumps(found.to_dict()))["slices"][1]["low"] is None


def test_a_function_labels_too_and_none_leaves_out():
    found = compare_slices(A, B, QRELS, lambda qid: "all long" if qid.startswith("long") else None)
    assert [of.label for of in found.slices] == ["all long"]
    assert found.unlabelled == 20
    assert compare_slices(A, B, QRELS, {"long1": "x", "foreign": "y"}).unlabelled == 39


def test_slices_agree_with_the_comparison_of_their_queries_alone():
    part = {qid: QRELS[qid] for qid in QRELS if qid.startswith("long")}
    found = compare_slices(A, B, QRELS, KIND, seed=3)["long"]
    alone = slice_evaluations(evaluate(A, part, "nDCG@10"), evaluate(B, part, "nDCG@10"), lambda _: "all", seed=3)[
        "all"
    ]
    assert (found.low, found.high, found.p_value) == (alone.low, alone.high, alone.p_value)


def test_it_can_be_stored_and_read():
    found = compare_slices(A, B, QRELS, KIND)
    assert json.loads(json.dumps(found.to_dict()))["slices"][1]["label"] == "short"
    assert str(found).splitlines()[1].startswith("long")


def test_queries_are_grouped_by_their_length_shortest_first():
    queries = {"a": "one two three four five", "b": "one", "c": "", "d": "w " * 40}
    found = query_length_groups(queries, (2, 5))
    assert found == {"c": "0-1 words", "b": "0-1 words", "a": "5 words and more", "d": "5 words and more"}
    assert list(found) == ["c", "b", "a", "d"]


def test_queries_are_grouped_by_the_length_of_their_relevant_passages():
    corpus = {"short": "w " * 10, "long": "w " * 300}
    qrels = {"a": {"long": 1, "short": 0}, "b": {"short": 2}, "c": {"short": 1, "long": 1}, "none": {"lost": 1}}
    assert passage_length_groups(corpus, qrels, (100, 200)) == {
        "b": "0-99 words",
        "c": "100-199 words",
        "a": "200 words and more",
    }


def test_queries_are_grouped_by_the_source_of_their_relevant_documents():
    qrels = {"a": {"d1": 1, "d2": 0}, "b": {"d1": 1, "d2": 1}, "c": {"d2": 1}, "d": {"d9": 1}, "e": {"d1": 0}}
    sources = {"d1": "wiki", "d2": "manual"}
    expected = {"a": "wiki", "b": "several sources", "c": "manual"}
    assert source_groups(qrels, sources) == source_groups(qrels, sources.get) == expected


@pytest.mark.parametrize("bounds", [(), (5, 5), (9, 3)])
def test_bounds_that_do_not_increase_are_refused(bounds):
    with pytest.raises(EvaluationError, match="increase"):
        query_length_groups({"q": "x"}, bounds)


@pytest.mark.parametrize("groups", [{}, {"foreign": "x"}, {"long1": None}])
def test_labels_of_no_judged_query_are_refused(groups):
    with pytest.raises(EvaluationError, match="label"):
        compare_slices(A, B, QRELS, groups)
