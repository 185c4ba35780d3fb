from __future__ import annotations

import json

import numpy as np
import pytest

from semantic_ranker import EvaluationError, compare
from semantic_ranker.evaluation import compare_seeds

QUERIES = [f"q{i}" for i in range(60)]
QRELS = {qid: {"hit": 1} for qid in QUERIES}


def run_of(seed, worst):
    ranks = np.random.default_rng(seed).integers(1, worst, len(QUERIES))
    return {
        qid: {("hit" if place == rank else f"x{place}"): -float(place) for place in range(1, 11)}
        for qid, rank in zip(QUERIES, ranks, strict=True)
    }


def test_means_and_deviations_are_over_seeds():
    a, b = {s: run_of(s, 9) for s in range(4)}, {f"s{s}": run_of(s + 50, 4) for s in range(3)}
    found = compare_seeds(a, b, QRELS, ["mrr", "ndcg@10"])
    rr = found["RR"]
    singles = list(rr.by_seed_a.values())
    assert list(rr.by_seed_a) == ["0", "1", "2", "3"]
    assert rr.mean_a == pytest.approx(np.mean(singles))
    assert rr.sd_a == pytest.approx(np.std(singles, ddof=1))
    assert rr.difference == pytest.approx(rr.mean_b - rr.mean_a)
    assert 0 < rr.low < rr.difference < rr.high
    assert rr.better == 1.0
    assert (found.queries, len(found.metrics)) == (60, 2)
    assert json.loads(json.dumps(found.to_dict()))["metrics"][0]["metric"] == "RR"
    assert "4 and 3 seeds" in str(found)


def test_one_lucky_seed_widens_the_interval_beyond_that_of_the_queries():
    same, lucky = run_of(1, 8), run_of(1, 2)
    steady = compare_seeds({0: same, 1: same}, {0: same, 1: same}, QRELS, "RR")["RR"]
    assert (steady.low, steady.high, steady.better) == (0, 0, 0.5)
    found = compare_seeds({0: same, 1: same}, {0: same, 1: lucky}, QRELS, "RR")["RR"]
    single = compare(same, lucky, QRELS, "RR")["RR"]
    assert single.low > 0
    assert found.low <= 0 < found.high
    assert found.high - found.low > single.high - single.low
    assert found.better == 0.75


def test_equal_seeds_of_the_resampling_give_equal_intervals():
    a, b = {s: run_of(s, 6) for s in range(3)}, {s: run_of(s + 9, 6) for s in range(3)}
    assert compare_seeds(a, b, QRELS, seed=1) == compare_seeds(a, b, QRELS, seed=1)
    assert compare_seeds(a, b, QRELS, seed=1) != compare_seeds(a, b, QRELS, seed=2)
    with pytest.raises(KeyError):
        compare_seeds(a, b, QRELS)["AP"]


@pytest.mark.parametrize(("a", "b"), [({}, {}), ({0: run_of(0, 5)}, {0: run_of(0, 5), 1: run_of(1, 5)})])
def test_a_single_seed_is_refused(a, b):
    with pytest.raises(EvaluationError, match="two training seeds"):
        compare_seeds(a, b, QRELS)
