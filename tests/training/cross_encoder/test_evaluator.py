"""Evaluation during training: the project's own metrics, on candidates that do not always hold the answer."""

import math

import numpy as np
import pytest

from semantic_ranker.evaluation import RerankTask
from semantic_ranker_training.cross_encoder.artifacts import calibrate
from semantic_ranker_training.cross_encoder.evaluator import RankingEvaluator, TrainedScorer, held_out_task
from semantic_ranker_training.cross_encoder.model import open_base
from semantic_ranker_training.data import Group


class Scorer:
    """Gives fixed scores by text, through the same door as a trained model."""

    def __init__(self, scores):
        self.scores = scores

    def predict(self, pairs, **_):
        return np.array([self.scores.get(text, 0.0) for _, text in pairs], np.float32)


def measured(task, scores):
    evaluator = RankingEvaluator(task)
    evaluator.store_metrics_in_model_card_data = lambda *_: None
    return evaluator(Scorer(scores))


def test_relevant_texts_outside_the_candidates_lower_the_measures():
    # The seed took the ideal from the candidates that were found: it would report 1.0 here.
    task = RerankTask(
        queries={"q": "x"},
        corpus={"a": "a", "b": "b", "c": "c", "d": "d"},
        qrels={"q": {"a": 1, "c": 1, "d": 1}},
        candidates={"q": ["a", "b"]},
    )
    found = measured(task, {"a": 1.0})
    ideal = sum(1 / math.log2(rank + 1) for rank in (1, 2, 3))
    assert found["nDCG@10"] == pytest.approx(1 / ideal)
    assert found["Recall@10"] == pytest.approx(1 / 3)


def test_gains_are_linear_in_the_grade():
    task = RerankTask(
        queries={"q": "x"}, corpus={"a": "a", "b": "b"}, qrels={"q": {"a": 1, "b": 3}}, candidates={"q": ["a", "b"]}
    )
    found = measured(task, {"a": 1.0})["nDCG@10"]
    assert found == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_a_constant_scorer_gets_the_same_whatever_the_order_of_the_candidates():
    corpus = {name: name for name in "abcd"}
    values = {
        measured(
            RerankTask(queries={"q": "x"}, corpus=corpus, qrels={"q": {"b": 1}}, candidates={"q": list(order)}), {}
        )["nDCG@10"]
        for order in ("abcd", "dcba", "bacd")
    }
    assert len(values) == 1


def test_held_out_candidates_are_what_bm25_finds_and_not_what_is_relevant():
    held_out = [Group("blue whale", ("a sea animal of great size", "a blue whale is large"), (1.0, 1.0))]
    others = [Group("red fox", ("a red fox hunts", "blue paint"), (1.0, 0.0))]
    task = held_out_task(held_out, others)
    found = {task.corpus[document] for document in task.candidates["q0"]}
    assert found == {"a blue whale is large", "blue paint"}
    assert len(task.qrels["q0"]) == 2


def test_fractional_labels_keep_their_order():
    task = held_out_task([Group("q", ("one", "two", "three"), (0.0, 0.25, 0.75))])
    assert list(task.qrels["q0"].values()) == [0, 1, 2]


def test_scores_are_raw_logits(bert_base, quick):
    model = open_base(bert_base, quick())
    with_head = model.model.classifier
    with_head.bias.data.fill_(-30.0)
    assert TrainedScorer(model).score_many(["q"], [["red", "blue"]])[0].max() < -20.0
    assert TrainedScorer(model).score_many(["q"], [[]])[0].shape == (0,)


def test_calibration_says_why_it_was_not_fitted(bert_base, quick):
    model = open_base(bert_base, quick())
    assert calibrate(model, None, "platt")["why"] == "no held-out queries"
    closed = RerankTask(queries={"q": "x"}, corpus={"a": "red"}, qrels={"q": {"a": 1}}, candidates={"q": ["a"]})
    assert calibrate(model, closed, "platt")["why"] == "one class among the candidates"
    assert calibrate(model, closed, "none")["why"] == "not asked for"
