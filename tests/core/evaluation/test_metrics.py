from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker import EvaluationError, evaluate
from semantic_ranker.collections import write_run
from semantic_ranker.evaluation import canonical_metric

METRICS = ["nDCG@10", "RR@10", "AP", "AP@5", "P@5", "Recall@20", "Success@5", "nDCG", "RR"]
TREC_EVAL = {
    "nDCG@10": "ndcg_cut_10",
    "AP": "map",
    "AP@5": "map_cut_5",
    "P@5": "P_5",
    "Recall@20": "recall_20",
    "Success@5": "success_5",
    "nDCG": "ndcg",
    "RR": "recip_rank",
}

documents = st.sampled_from([f"d{number}" for number in range(12)])
scores = st.dictionaries(documents, st.integers(0, 3).map(float), max_size=12)
grades = st.dictionaries(documents, st.integers(0, 3), min_size=1, max_size=12)


def random_collection(seed):
    rng = np.random.default_rng(seed)
    ids = [f"d{number:03d}" for number in range(60)]
    qids = [f"q{number}" for number in range(20)]
    qrels = {q: {str(d): int(rng.integers(0, 4)) for d in rng.choice(ids, 15, replace=False)} for q in qids}
    # Untied scores: the tie rule is ours and not trec_eval's.
    run = {
        q: dict(zip(rng.permutation(ids)[:40].tolist(), rng.permutation(np.arange(40.0)).tolist(), strict=True))
        for q in qids
    }
    return run, qrels


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_trec_eval(seed):
    run, qrels = random_collection(seed)
    expected = pytrec_eval.RelevanceEvaluator(
        qrels, {"ndcg_cut", "map", "map_cut", "P", "recall", "success", "ndcg", "recip_rank"}
    ).evaluate(run)
    found = evaluate(run, qrels, METRICS)
    for name, theirs in TREC_EVAL.items():
        for qid in qrels:
            assert found.per_query[name][qid] == pytest.approx(expected[qid][theirs], abs=1e-9), (name, qid)


def test_values_worked_out_by_hand():
    qrels = {"q": {"a": 2, "b": 1, "c": 1, "d": 0}, "lost": {"a": 1}}
    run = {"q": {"x": 4.0, "a": 3.0, "d": 2.0, "b": 1.0}}
    found = evaluate(run, qrels, ["nDCG@3", "RR@1", "RR@3", "AP", "P@2", "R@4", "Success@1", "Success@2", "Judged@4"])
    of_q = {name: values["q"] for name, values in found.per_query.items()}
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    assert of_q == pytest.approx(
        {
            "nDCG@3": 2 / math.log2(3) / ideal,
            "RR@1": 0.0,
            "RR@3": 1 / 2,
            "AP": (1 / 2 + 2 / 4) / 3,
            "P@2": 1 / 2,
            "Recall@4": 2 / 3,
            "Success@1": 0.0,
            "Success@2": 1.0,
            "Judged@4": 3 / 4,
        },
        abs=1e-12,
    )
    assert all(values["lost"] == 0 for values in found.per_query.values())
    assert found.mean["AP"] == pytest.approx(of_q["AP"] / 2)


def test_relevant_documents_that_were_not_found_lower_the_score():
    found = evaluate({"q": {"a": 1.0}}, {"q": {"a": 1, "b": 1, "c": 1}}, ["nDCG@10", "AP"])
    assert found.mean["nDCG@10"] == pytest.approx(0.4693, abs=1e-4)
    assert found.mean["AP"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("order", ["abcd", "dcba"])
def test_ties_are_ordered_by_document_id_for_every_metric(order):
    found = evaluate(
        {"q": dict.fromkeys(order, 0.5)}, {"q": {"b": 1}}, ["RR", "RR@10", "nDCG@10", "AP", "Success@1", "P@2"]
    )
    assert found.mean == pytest.approx(
        {"RR": 0.5, "RR@10": 0.5, "nDCG@10": 1 / math.log2(3), "AP": 0.5, "Success@1": 0, "P@2": 0.5}
    )


@settings(deadline=None)
@given(scores=scores, grades=grades, data=st.data())
def test_insertion_order_never_matters(scores, grades, data):
    shuffled = dict(data.draw(st.permutations(list(scores.items()))))
    assert evaluate({"q": scores}, {"q": grades}, METRICS) == evaluate({"q": shuffled}, {"q": grades}, METRICS)


@settings(deadline=None)
@given(scores=scores, grades=grades)
def test_values_stay_in_range_and_the_ideal_order_is_best(scores, grades):
    found = evaluate({"q": scores}, {"q": grades}, METRICS)
    ideal = evaluate({"q": grades}, {"q": grades}, METRICS)
    assert all(0 <= found.mean[name] <= ideal.mean[name] + 1e-12 <= 1 + 1e-9 for name in METRICS)


@settings(deadline=None)
@given(scores=scores, grades=grades)
def test_only_the_order_of_scores_counts(scores, grades):
    stretched = {document: math.exp(score) * 1e-30 - 5e-29 for document, score in scores.items()}
    assert evaluate({"q": stretched}, {"q": grades}, METRICS) == evaluate({"q": scores}, {"q": grades}, METRICS)


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [
        ("ndcg@10", "nDCG@10"),
        ("mrr@10", "RR@10"),
        ("MRR", "RR"),
        ("map", "AP"),
        ("MAP@100", "AP@100"),
        ("precision@5", "P@5"),
        ("r@100", "Recall@100"),
        ("hit_rate@5", "Success@5"),
        ("HitRate@5", "Success@5"),
        ("judged@10", "Judged@10"),
        ("ndcg_at_10", "nDCG@10"),
        ("ndcg_cut_10", "nDCG@10"),
        ("map_cut_100", "AP@100"),
        ("recip_rank", "RR"),
        ("recall_100", "Recall@100"),
        ("P_5", "P@5"),
        ("hit_rate_at_5", "Success@5"),
    ],
)
def test_usual_spellings_share_one_canonical_name(asked, canonical):
    assert canonical_metric(asked) == canonical
    assert list(evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, [asked, canonical]).mean) == [canonical]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("ndgc@10", "'nDCG@10'"),
        ("recal@7", "'Recall@7'"),
        ("ndcg@0", "1 or more"),
        ("ndcg@-3", "1 or more"),
        ("ndcg@ten", "1 or more"),
        ("ndcg@", "1 or more"),
        ("recall", "Recall@10"),
        ("", "such as"),
        (10, "such as"),
    ],
)
def test_a_bad_metric_is_refused_with_a_hint(asked, says):
    with pytest.raises(EvaluationError, match=says):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, [asked])


@pytest.mark.parametrize(
    ("run", "qrels", "says"),
    [
        ({"q": {"a": 1.0}}, {}, "got none"),
        ({"q": {"a": 1.0}}, {"q": {}}, "got none"),
        ({"q": {"a": 1.0}}, {"other": {"a": 1}}, "none in common"),
        ({}, {"q": {"a": 1}}, "none in common"),
        ({"q": {"a": float("nan")}}, {"q": {"a": 1}}, "NaN for query 'q', document 'a'"),
        ({"q": {1: 1.0}}, {"q": {"a": 1}}, "str document ids"),
        ({"q": {"a": 1.0}}, {"q": {1: 1}}, "str document ids"),
        ({"q": {"a": 1.0}}, {1: {"a": 1}}, "str query ids"),
        ({"q": {"a": 1.0}}, {"q": {"a": 0.5}}, "whole"),
    ],
)
def test_what_cannot_be_measured_is_refused(run, qrels, says):
    with pytest.raises(EvaluationError, match=says):
        evaluate(run, qrels)


def test_no_metrics_is_refused():
    with pytest.raises(EvaluationError, match="at least one"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, [])


def test_a_query_with_no_results_counts_as_zero():
    found = evaluate({"q": {}, "p": {"a": 1.0}}, {"q": {"a": 1}, "p": {"a": 1}}, "nDCG@10")
    assert found.per_query["nDCG@10"] == {"q": 0.0, "p": 1.0}
    assert found.to_dict()["mean"] == {"nDCG@10": 0.5}
    assert str(found) == "nDCG@10  0.5000"


def test_grades_below_zero_are_not_relevant():
    found = evaluate({"q": {"spam": 2.0, "a": 1.0}}, {"q": {"spam": -2, "a": 1}}, ["nDCG@10", "AP", "Judged@2"])
    assert found.mean == pytest.approx({"nDCG@10": 1 / math.log2(3), "AP": 0.5, "Judged@2": 1.0})


def test_runs_and_judgments_are_read_from_files_and_folders(tmp_path):
    run, qrels = random_collection(0)
    write_run(tmp_path / "run.trec", run)
    (tmp_path / "qrels").mkdir()
    rows = [f"{qid}\t{document}\t{grade}\n" for qid, of in qrels.items() for document, grade in of.items()]
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    expected = evaluate(run, qrels, METRICS)
    assert evaluate(tmp_path / "run.trec", qrels, METRICS) == expected
    assert evaluate(str(tmp_path / "run.trec"), str(tmp_path), METRICS) == expected
    assert evaluate(run, tmp_path / "qrels" / "test.tsv", METRICS) == expected
    with pytest.raises(EvaluationError, match="Expected a file"):
        evaluate(tmp_path / "lost.trec", qrels)


def test_a_run_that_does_not_discriminate_says_so():
    qrels = {"q": {"a": 1}, "p": {"a": 1}}
    run = {"q": dict.fromkeys("abcd", 0.5), "p": {"a": 2.0, "b": 1.0}, "unjudged": dict.fromkeys("abcd", 0.5)}
    assert evaluate(run, qrels).tied == pytest.approx(3 / 6)
    assert evaluate({"p": run["p"]}, qrels).tied == evaluate({"q": {}}, qrels).tied == 0
