from __future__ import annotations

import numpy as np
import pytest

from semantic_ranker import EvaluationError
from semantic_ranker.evaluation.reliability import measure_reliability, scores_and_labels


def test_calibrated_scores_have_no_error_and_overconfident_ones_do():
    rng = np.random.default_rng(0)
    scores = rng.random(100_000)
    labels = (rng.random(100_000) < scores).astype(float)
    good, bad = measure_reliability(scores, labels), measure_reliability(np.sqrt(scores), labels)
    assert good.expected_error < 0.01
    assert bad.expected_error == pytest.approx(2 / 3 - 1 / 2, abs=0.01)
    assert good.brier < bad.brier
    assert good.mean_score == pytest.approx(good.relevant, abs=0.01)
    assert good.to_dict()["texts"] == 100_000


def test_values_worked_out_by_hand():
    found = measure_reliability([0.1, 0.1, 0.9, 1.0], [0, 1, 1, 1], bins=2)
    assert found.expected_error == pytest.approx((0.8 + 0.1) / 4)
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.01) / 4)


@pytest.mark.parametrize(("scores", "labels"), [([], []), ([0.5], [1, 0]), ([1.2], [1]), ([float("nan")], [1])])
def test_scores_that_are_no_probabilities_are_refused(scores, labels):
    with pytest.raises(EvaluationError, match="calibrate"):
        measure_reliability(scores, labels)


def test_unjudged_documents_count_as_not_relevant_and_large_runs_are_thinned_by_query():
    run = {f"q{n}": {"a": 0.9, "b": 0.1} for n in range(100)} | {"unjudged": {"a": 1.0}}
    qrels = {f"q{n}": {"a": 2} for n in range(100)}
    scores, labels = scores_and_labels(run, qrels)
    assert (scores.tolist(), labels.tolist()) == ([0.9, 0.1] * 100, [1.0, 0.0] * 100)
    scores, labels = scores_and_labels(run, qrels, most=20)
    assert (len(scores), labels.mean()) == (20, 0.5)
