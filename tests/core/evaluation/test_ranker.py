from __future__ import annotations

import json
import math

import pytest

from semantic_ranker import BM25Index, CrossEncoder, EvaluationError, RankerEvaluator
from semantic_ranker.evaluation import JudgedQuery, RerankTask

CORPUS = {
    "cat": "The cat sleeps on the warm sofa.",
    "dog": "A dog barks at the postman.",
    "sun": "The sun is a star in the Milky Way.",
    "tea": "Green tea is brewed with hot water.",
    "moon": "The moon orbits the earth once a month.",
}
TASK = RerankTask(
    queries={"q1": "where does the cat sleep", "q2": "how to brew green tea", "q3": "xylophone"},
    corpus=CORPUS,
    qrels={"q1": {"cat": 1}, "q2": {"tea": 2, "moon": 0}, "q3": {"sun": 1, "moon": 1}},
    candidates={"q1": ["dog", "cat", "sun"], "q2": {"moon": 9.0, "tea": 3.0}, "q3": ["tea", "dog", "moon"]},
)


class Lexical:
    """BM25 over the candidates: a scorer that needs no model."""

    def __init__(self):
        self.calls = 0

    def score_many(self, queries, texts_per_query):
        self.calls += 1
        return [BM25Index(texts).scores(query) for query, texts in zip(queries, texts_per_query, strict=True)]


def test_reports_first_stage_reranked_score_ceiling_and_gain():
    report = RankerEvaluator(Lexical()).evaluate(TASK, metrics=["mrr@10", "Recall@10"])
    rr = report["RR@10"]
    assert rr.first_stage == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)
    assert rr.reranked == pytest.approx((1 + 1 + 1 / 2) / 3)  # q3 has ties only: by id, "moon" is second
    assert rr.ceiling == 1.0
    assert rr.gain == pytest.approx(rr.reranked - rr.first_stage)
    assert rr.low <= rr.gain <= rr.high
    recall = report["Recall@10"]
    assert recall.first_stage == recall.reranked == recall.ceiling == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert (report.queries, report.closed_set) == (3, False)
    assert report.candidates == pytest.approx(8 / 3)


def test_relevant_documents_outside_the_candidates_lower_the_ceiling():
    ceiling = RankerEvaluator(Lexical()).evaluate(TASK, "nDCG@10")["nDCG@10"].ceiling
    assert ceiling == pytest.approx((1 + 1 + 1 / (1 + 1 / math.log2(3))) / 3)


def test_judged_lists_work_as_mappings_and_as_objects():
    items = [
        {"query": "where does the cat sleep", "documents": [CORPUS["dog"], CORPUS["cat"]], "labels": [0, 1]},
        JudgedQuery(query="green tea", documents=[CORPUS["moon"], CORPUS["sun"], CORPUS["tea"]], labels=[0, 0, 1]),
    ]
    report = RankerEvaluator(Lexical()).evaluate(items, metrics=["ndcg@10", "precision@1", "hit_rate@1"])
    assert [entry.metric for entry in report.metrics] == ["nDCG@10", "P@1", "Success@1"]
    assert report["P@1"].first_stage == 0
    assert report["P@1"].reranked == report["P@1"].ceiling == 1
    assert report.closed_set
    assert "closed set" in str(report)


def test_a_model_that_does_not_discriminate_keeps_the_order_of_judged_lists():
    items = [{"query": "xylophone", "documents": [f"text {i}" for i in range(12)], "labels": [0] * 11 + [1]}]
    found = RankerEvaluator(Lexical()).evaluate(items, "RR")["RR"]
    assert found.reranked == found.first_stage == pytest.approx(1 / 12)


def test_the_bundled_model_reranks():
    report = RankerEvaluator().evaluate(TASK, ["RR@10"])
    assert report["RR@10"].reranked > report["RR@10"].first_stage
    with CrossEncoder() as model:
        alone = float(model.score(TASK.queries["q1"], [CORPUS["cat"]])[0])
    assert report.run["q1"]["cat"] == pytest.approx(alone, abs=1e-4)
    assert RankerEvaluator("bundled").evaluate(TASK, ["RR@10"]).run == report.run


def test_a_judged_query_without_candidates_counts_as_zero():
    task = RerankTask(queries=TASK.queries, corpus=CORPUS, qrels=TASK.qrels, candidates={"q1": ["dog", "cat"]})
    report = RankerEvaluator(Lexical()).evaluate(task, "RR@10")
    assert report["RR@10"].reranked == pytest.approx(1 / 3)
    assert report.queries == 3


def test_more_queries_than_are_scored_at_once():
    count = 70
    task = RerankTask(
        queries={f"q{i}": f"word{i}" for i in range(count)},
        corpus={"x": "other"} | {f"d{i}": f"word{i}" for i in range(count)},
        qrels={f"q{i}": {f"d{i}": 1} for i in range(count)},
        candidates={f"q{i}": ["x", f"d{i}"] for i in range(count)},
    )
    scorer = Lexical()
    found = RankerEvaluator(scorer).evaluate(task, "RR")["RR"]
    assert (found.first_stage, found.reranked) == (0.5, 1.0)
    assert scorer.calls > 1


def test_the_report_can_be_stored():
    report = RankerEvaluator(Lexical()).evaluate(TASK)
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["metrics"][0]["metric"] == "nDCG@10"
    assert "RR@10" in str(report)
    with pytest.raises(KeyError, match="AP"):
        report["AP"]


def task_of(queries, corpus, candidates):
    return RerankTask(queries=queries, corpus=corpus, qrels={"q": {"a": 1}}, candidates={"q": candidates})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "judged queries"),
        ({"query": "q", "documents": ["a"], "labels": [1]}, "judged queries"),
        ([{"query": "q", "docs": ["a"], "labels": [1]}], r"item 0, got \['docs'"),
        ([{"query": "q", "documents": ["a", "b"], "labels": [1]}], "2 documents and 1 labels"),
        ([{"query": "q", "documents": [], "labels": []}], "0 documents"),
        (task_of({}, {"a": "x"}, ["a"]), "text for every query"),
        (task_of({"q": "x"}, {}, ["a"]), "text for every candidate"),
        (task_of({"q": "x"}, {"a": "x"}, ["a", "a"]), "once"),
    ],
)
def test_test_data_that_does_not_fit_is_refused(data, says):
    with pytest.raises(EvaluationError, match=says):
        RankerEvaluator(Lexical()).evaluate(data)


def test_a_bad_metric_is_refused_before_anything_is_scored():
    scorer = Lexical()
    with pytest.raises(EvaluationError, match="nDCG@10"):
        RankerEvaluator(scorer).evaluate(TASK, "ndgc@10")
    assert scorer.calls == 0
