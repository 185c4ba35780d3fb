"""The report of an evaluation, on data that leaves little to draw."""

from __future__ import annotations

import sys

import pytest

from semantic_ranker import evaluate
from semantic_ranker.evaluation import compare_slices
from semantic_ranker.evaluation._progress import progress
from semantic_ranker.evaluation.inputs import Measured
from semantic_ranker.evaluation.systems import compare_evaluations
from semantic_ranker.reports.comparison import Findings, comparison_page

QRELS = {"q": {"a": 1}, "p": {"a": 1}}


def page_of(*runs, kind="run", relevance=None, slices=None):
    systems = [
        Measured(name=f"s{n}", kind=kind, evaluation=evaluate(run, QRELS, "RR"), run=run, relevance=relevance)
        for n, run in enumerate(runs)
    ]
    others = {system.name: system.evaluation for system in systems[1:]}
    comparisons = compare_evaluations(systems[0].evaluation, others).systems if others else {}
    return comparison_page(
        Findings(data="tiny", qrels=QRELS, systems=systems, comparisons=comparisons, slices=slices or {}, queries={})
    ).render()


@pytest.mark.parametrize(
    "run",
    [
        {"q": {"a": 1.0}},
        {"q": {}},
        {"q": {"b": 1.0}, "p": {"b": 1.0}},
        {"q": {"a": 0.0, "b": 0.0}},
        {"q": {"a": float("inf"), "b": float("-inf")}},
        {"q": {"a": 1e300, "b": -1e300}},
    ],
)
def test_any_run_that_can_be_measured_can_be_reported(run):
    html = page_of(run, run)
    assert "0 queries won, 0 lost, 2 equal." in html
    assert "How this was measured" in html


def test_queries_that_lose_or_gain_are_listed_where_there_are_any():
    html = page_of({"q": {"a": 1.0}, "p": {"a": 1.0}}, {"q": {"a": 1.0}, "p": {"b": 1.0}})
    assert "The 1 queries where s1 loses</summary>" in html
    assert "where s1 gains" not in html
    assert "not listed" not in html


def test_scores_are_taken_for_probabilities_with_care():
    run = {"q": {"a": 0.9, "b": 0.2}, "p": {"a": 0.6}}
    assert "If the scores of this run are meant as probabilities" in page_of(run)
    assert "Reliability" not in page_of(run, kind="embedder")
    assert "Reliability" not in page_of({"q": {"a": 3.0, "b": 0.2}})
    assert "Reliability" not in page_of({"q": {"a": 0.016, "b": 0.01}})  # reciprocal rank fusion
    calibrated = page_of({"q": {"a": 3.0, "b": 0.2}}, kind="reranker", relevance=lambda scores: scores / 10)
    assert "expected calibration error" in calibrated
    assert "If the scores" not in calibrated


def test_of_many_kinds_of_query_the_largest_are_shown():
    qids = [f"q{n}" for n in range(60)]
    labels = {qid: "common" if n > 57 else f"kind {n}" for n, qid in enumerate(qids)}
    run = {qid: {"a": 1.0} for qid in qids}
    found = compare_slices(run, run, {qid: {"a": 1} for qid in qids}, labels, resamples=100)
    html = page_of({"q": {"a": 1.0}}, {"q": {"a": 1.0}}, slices={"s1": {"label": found}})
    assert "the 25 largest of 59" in html
    assert "too few" in html
    assert html.count("<td>kind ") == 24
    assert "<td>common</td>" in html


def test_progress_needs_no_tqdm_and_changes_nothing(monkeypatch, capsys):
    assert list(progress(range(3), "label", "unit")) == [0, 1, 2]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(progress(range(3), "label", "unit")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"semantic-ranker\[report\]"):
        page_of({"q": {"a": 1.0}})
