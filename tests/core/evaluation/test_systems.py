from __future__ import annotations

import json

import numpy as np
import pytest

from semantic_ranker import EvaluationError, compare
from semantic_ranker.evaluation import compare_many
from semantic_ranker.evaluation.resampling import holm

QRELS = {f"q{i}": {"hit": 1} for i in range(12)}


def ranked_at(ranks):
    return {
        f"q{i}": {("hit" if place == rank else f"x{place}"): -float(place) for place in range(1, 11)}
        for i, rank in enumerate(ranks)
    }


def random_run(seed, worst):
    return ranked_at(np.random.default_rng(seed).integers(1, worst, 12).tolist())


BASELINE = random_run(0, 11)
RUNS = {"good": random_run(1, 4), "fair": random_run(2, 8), "same": BASELINE}


def test_p_is_corrected_over_all_systems_and_metrics_and_the_rest_is_a_single_comparison():
    found = compare_many(BASELINE, RUNS, QRELS, ["RR", "nDCG@10"])
    assert list(found.systems) == list(RUNS)
    p_values = []
    for name, run in RUNS.items():
        alone = compare(BASELINE, run, QRELS, ["RR", "nDCG@10"])
        for there, single in zip(found[name].metrics, alone.metrics, strict=True):
            p_values.append(single.p_value)
            assert (there.metric, there.difference, there.low, there.high, there.p_value) == (
                single.metric,
                single.difference,
                single.low,
                single.high,
                single.p_value,
            )
    assert [metric.adjusted_p for of in found.systems.values() for metric in of.metrics] == holm(p_values)
    assert found["good"]["RR"].adjusted_p > compare(BASELINE, RUNS["good"], QRELS, ["RR"])["RR"].p_value


def test_it_reads_well_and_can_be_stored():
    found = compare_many(BASELINE, RUNS, QRELS)
    assert [line for line in str(found).splitlines() if line in RUNS] == list(RUNS)
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["good"]["metrics"][0]["adjusted_p"] == found["good"]["nDCG@10"].adjusted_p


@pytest.mark.parametrize(
    ("runs", "options", "says"),
    [
        ({}, {}, "at least one run"),
        (RUNS, {"resamples": 10}, "100 resamples"),
        (RUNS, {"metrics": "ndgc@10"}, "nDCG@10"),
        ({"other": {"z": {"hit": 1.0}}}, {}, "none in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, options, says):
    with pytest.raises(EvaluationError, match=says):
        compare_many(BASELINE, runs, QRELS, **options)
