"""What cannot be measured is refused with a typed error that says what was expected, what came, and where."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from semantic_ranker import EvaluationError, compare, evaluate
from semantic_ranker.evaluation import canonical_metric, read_qrels_file, read_run_file

RUN, QRELS = {"q": {"a": 1.0}}, {"q": {"a": 1}}


@pytest.mark.parametrize(
    ("run", "qrels", "says"),
    [
        ({"q": {"a": None}}, QRELS, "numbers as scores, got None for query 'q', 'a'"),
        ({"q": {"a": "1.0"}}, QRELS, "numbers as scores, got '1.0'"),
        ({"q": ["a", "b"]}, QRELS, "scores by document id for query 'q' of the run, got a list"),
        ({"q": {"a": float("nan")}}, QRELS, "NaN"),
        ({"q": {"a": np.float32("nan")}}, QRELS, "NaN"),
        (RUN, {"q": ["a"]}, "grades by document id for query 'q', got a list"),
        (RUN, {"q": {"a": "1"}}, "whole relevance grades, got '1'"),
        (RUN, {"q": {"a": float("nan")}}, "whole relevance grades"),
        (RUN, {"q": {"a": None}}, "whole relevance grades"),
        (RUN, {}, "got none"),
        ({"other": {"a": 1.0}}, QRELS, "none in common"),
    ],
)
def test_values_of_the_wrong_kind(run, qrels, says):
    with pytest.raises(EvaluationError, match=says):
        evaluate(run, qrels)


def test_numbers_of_numpy_and_infinite_scores_are_fine():
    run = {"q": {"a": np.float32(0.5), "b": np.int64(1), "c": float("-inf"), "d": float("inf")}}
    assert evaluate(run, {"q": {"b": np.int64(1)}}, "RR").mean == {"RR": 0.5}


def test_a_run_of_another_collection_with_equal_query_ids():
    qrels = {str(n): {f"mine{n}": 1} for n in range(12)}
    run = {str(n): {f"theirs{n}": 1.0} for n in range(12)}
    with pytest.raises(EvaluationError, match="run of another collection"):
        evaluate(run, qrels)
    with pytest.raises(EvaluationError, match="run of another collection"):
        compare({qid: {f"mine{qid}": 1.0} for qid in qrels}, run, qrels)
    with pytest.raises(EvaluationError, match="run of another collection"):  # one of three queries has a known id
        evaluate({"0": {"theirs": 1.0}, "x": {"y": 1.0}, "z": {"y": 1.0}}, qrels)
    # One document in common is a bad run and no foreign one, and so is a run on a collection that is known.
    assert evaluate(run | {"0": {"mine5": 1.0}}, qrels, "RR").mean == {"RR": 0.0}
    assert evaluate(run, qrels, "RR", corpus={f"theirs{n}" for n in range(12)}).mean == {"RR": 0.0}
    assert evaluate(dict(list(run.items())[:9]), qrels, "RR").mean == {"RR": 0.0}


def test_documents_that_the_collection_does_not_have():
    with pytest.raises(EvaluationError, match="documents of the collection, got 'b' for query 'q'"):
        evaluate({"q": {"a": 1.0, "b": 0.5}}, QRELS, corpus={"a": "text"})


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("ndcgg@5", "nDCG@5"),
        ("hitrat@3", "Success@3"),
        ("mmr@10", "RR@10"),
        ("precison@1", "P@1"),
        ("judge@9", "Judged@9"),
    ],
)
def test_the_nearest_metric_is_named(asked, nearest):
    with pytest.raises(EvaluationError, match=f"did you mean '{nearest}'"):
        canonical_metric(asked)


@pytest.mark.parametrize("name", ["ndcg@0", "hit_rate@0", "map@00", "judged@-1", "recall@1.5", "p@1e3"])
def test_a_cut_off_below_one_is_no_cut_off(name):
    with pytest.raises(EvaluationError, match="cut-off of 1 or more"):
        evaluate(RUN, QRELS, name)


@pytest.mark.parametrize("name", ["ndcg@10", "NDCG@10", "nDCG_@10", " ndcg@10 "])
def test_the_spellings_of_the_seeds(name):
    assert canonical_metric(name) == "nDCG@10"
    assert canonical_metric("hit_rate@5") == canonical_metric("Hit Rate@5") == canonical_metric("hits@5") == "Success@5"


def test_json_files_hold_runs_and_judgments(tmp_path):
    run, qrels = tmp_path / "run.json", tmp_path / "qrels.json"
    run.write_text(json.dumps({"q": {"a": 1.0, "b": 2}, "p": ["c", "a"]}))
    qrels.write_text(json.dumps({"q": {"b": 1}, "p": {"a": 2}}))
    assert read_run_file(run) == {"q": {"a": 1.0, "b": 2}, "p": {"c": 2.0, "a": 1.0}}
    assert evaluate(run, str(qrels), "RR").per_query == {"RR": {"q": 1.0, "p": 0.5}}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("run.json", '{"q": {"a": 1, "a": 2}}', "'a' twice"),
        ("run.json", '{"q": {"a": 1}, "q": {"b": 1}}', "'q' twice"),
        ("run.json", '{"q": ["a", "a"]}', "repeated"),
        ("run.json", '{"q": "a"}', "list of ids, for query 'q', got a str"),
        ("run.json", '{"q": [1, 2]}', "list of ids"),
        ("run.json", "[]", "an empty list"),
        ("run.json", "{}", "an empty dict"),
        ("run.json", "{", "Expected JSON"),
        ("run.json", "[" * 100_000, "Expected JSON"),
        ("run.trec", "q Q0 a 1 1.0 tag\nq Q0 a 2 0.5 tag\n", "run.trec:2"),
        ("run.trec", "q Q0 a 1 nan tag\n", "a number as score"),
        ("run.trec", "q a 1.0\n", "run.trec:1"),
        ("run.trec", "", "no lines"),
        ("run.trec", "\xff\xfe", "UTF-8"),
    ],
)
def test_runs_that_cannot_be_read(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(EvaluationError, match=says):
        read_run_file(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("qrels.json", '{"q": ["a"]}', "grades by document id for query 'q', got a list"),
        ("qrels.json", '{"q": {"a": 1, "a": 0}}', "twice"),
        ("qrels.tsv", "q\ta\t1\nq\ta\t1\n", "qrels.tsv:2"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "got none"),
        ("qrels.tsv", "q\ta\tyes\n", "whole number as grade"),
    ],
)
def test_judgments_that_cannot_be_read(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(EvaluationError, match=says):
        read_qrels_file(path)


def test_places_where_there_is_no_file(tmp_path):
    with pytest.raises(EvaluationError, match="Expected a file"):
        read_run_file(tmp_path / "none.trec")
    with pytest.raises(EvaluationError, match="Expected a file"):
        read_run_file(tmp_path / "none.json")
    with pytest.raises(EvaluationError, match="Cannot read"):
        read_run_file(tmp_path)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "dev.tsv").write_text("q\ta\t1\n")
    with pytest.raises(EvaluationError, match="splits there: dev"):
        read_qrels_file(tmp_path)
    assert read_qrels_file(tmp_path, "dev") == QRELS
    if hasattr(os, "mkfifo") and os.geteuid() != 0:
        (tmp_path / "run.trec").touch(mode=0o000)
        with pytest.raises(EvaluationError, match="Cannot read"):
            read_run_file(tmp_path / "run.trec")


def test_the_queries_that_lose_and_gain_most_come_first():
    qids = [f"q{n}" for n in range(6)]
    a = {
        qid: {"hit" if rank == place else f"x{rank}": -float(rank) for rank in range(1, 5)}
        for qid, place in zip(qids, [1, 1, 2, 4, 3, 2], strict=True)
    }
    b = {
        qid: {"hit" if rank == place else f"x{rank}": -float(rank) for rank in range(1, 5)}
        for qid, place in zip(qids, [2, 4, 2, 1, 2, 2], strict=True)
    }
    found = compare(a, b, {qid: {"hit": 1} for qid in qids}, "RR")["RR"]
    worst, best = found.extremes(5)
    assert worst == [("q1", -0.75), ("q0", -0.5)]
    assert best == [("q3", 0.75), ("q4", pytest.approx(1 / 6))]
    assert found.extremes(1) == ([("q1", -0.75)], [("q3", 0.75)])
    assert found.extremes(0) == ([], [])
    assert (found.won, found.lost) == (2, 2)
