from __future__ import annotations

import json
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker import EvaluationError, compare
from semantic_ranker.evaluation import interval, macro_compare, macro_interval
from semantic_ranker.evaluation.resampling import holm


def ranked_at(ranks):
    """Return a run whose query i has its one relevant document at ranks[i]."""
    return {
        f"q{i}": {("hit" if place == rank else f"x{place}"): -float(place) for place in range(1, 11)}
        for i, rank in enumerate(ranks)
    }


def qrels_for(count):
    return {f"q{i}": {"hit": 1} for i in range(count)}


def per_query(values):
    return {f"q{i}": float(value) for i, value in enumerate(values)}


def test_a_run_does_not_differ_from_itself():
    run = ranked_at([1, 2, 3, 4])
    found = compare(run, run, qrels_for(4))["nDCG@10"]
    assert (found.difference, found.low, found.high, found.p_value, found.adjusted_p) == (0, 0, 0, 1, 1)


def test_a_clear_win_is_found_and_the_swapped_comparison_mirrors_it():
    worse, better = ranked_at([5, 4, 6, 3] * 10), ranked_at([1, 2, 1, 1] * 10)
    found = compare(worse, better, qrels_for(40), ["mrr@10", "ndcg@10"])
    swapped = compare(better, worse, qrels_for(40), ["mrr@10", "ndcg@10"])
    assert [entry.metric for entry in found.metrics] == ["RR@10", "nDCG@10"]
    for there, back in zip(found.metrics, swapped.metrics, strict=True):
        assert there.difference == pytest.approx(there.mean_b - there.mean_a)
        assert 0 < there.low < there.difference < there.high
        assert there.p_value < 0.001
        assert there.adjusted_p == pytest.approx(2 * there.p_value)
        assert back.difference == pytest.approx(-there.difference)
        assert back.p_value == pytest.approx(there.p_value)
    assert found["RR@10"].mean_b == pytest.approx((1 + 1 / 2 + 1 + 1) / 4)


def test_differences_are_per_query_and_missing_queries_count_as_zero():
    found = compare(ranked_at([1, 2]), {"q0": {"hit": 1.0}}, qrels_for(2), "RR")["RR"]
    assert found.per_query == {"q0": 0.0, "q1": -0.5}


def test_p_is_exact_where_there_are_few_queries():
    ranks_a, ranks_b = [2, 2, 5, 1, 4], [1, 1, 2, 2, 1]
    d = [1 / b - 1 / a for a, b in zip(ranks_a, ranks_b, strict=True)]
    flipped = [abs(np.dot(signs, d)) for signs in product((1, -1), repeat=5)]
    expected = np.mean([value >= abs(sum(d)) - 1e-12 for value in flipped])
    assert compare(ranked_at(ranks_a), ranked_at(ranks_b), qrels_for(5), "RR")["RR"].p_value == pytest.approx(expected)


def test_sampled_p_is_close_to_the_exact_one():
    rng = np.random.default_rng(1)
    a, b = ranked_at(rng.integers(1, 11, 13).tolist()), ranked_at(rng.integers(1, 8, 13).tolist())
    exact = compare(a, b, qrels_for(13), "RR", resamples=2**13)["RR"].p_value
    sampled = compare(a, b, qrels_for(13), "RR", resamples=2**13 - 1)["RR"].p_value
    assert 0.01 < exact < 0.99
    assert sampled == pytest.approx(exact, abs=0.03)
    assert sampled != exact


def test_equal_seeds_give_equal_results_and_it_can_be_stored():
    rng = np.random.default_rng(0)
    a, b = ranked_at(rng.integers(1, 11, 30).tolist()), ranked_at(rng.integers(1, 11, 30).tolist())
    found = compare(a, b, qrels_for(30), seed=3)
    assert found == compare(a, b, qrels_for(30), seed=3)
    assert found["nDCG@10"].low != compare(a, b, qrels_for(30), seed=4)["nDCG@10"].low
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["metrics"][0]["difference"] == found["nDCG@10"].difference
    assert "nDCG@10" in str(found)
    assert "30 queries" in str(found)


def test_a_metric_that_was_not_compared_is_a_key_error():
    with pytest.raises(KeyError, match=r"RR@10"):
        compare(ranked_at([1]), ranked_at([2]), qrels_for(1))["RR@10"]


def test_interval_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = interval(rng.normal(0.3, 1.0, 60).tolist(), resamples=1000, seed=trial)
        covered += low <= 0.3 <= high
    assert 180 <= covered <= 198


def test_interval_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(0.0, 1.0, 1000)
    low, high = interval(values.tolist())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.05)
    assert interval({"a": 0.25}) == (0.25, 0.25)


def test_holm_matches_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_p_and_keeps_its_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_p = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(by_p))


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [float("inf")]])
def test_interval_refuses_what_has_no_mean(values):
    with pytest.raises(EvaluationError, match="finite value"):
        interval(values)


def test_too_few_resamples_are_refused():
    with pytest.raises(EvaluationError, match="100"):
        compare(ranked_at([1]), ranked_at([1]), qrels_for(1), resamples=99)


def test_macro_weighs_collections_and_not_queries():
    small = (per_query([0.0, 0.0]), per_query([1.0, 1.0]))
    large = (per_query([0.5] * 98), per_query([0.5] * 98))
    found = macro_compare([small, large])
    assert found.difference == pytest.approx(0.5)
    assert (found.mean_a, found.mean_b) == pytest.approx((0.25, 0.75))
    assert found.per_collection == pytest.approx((1.0, 0.0))
    assert found.queries == (2, 98)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_macro_interval_is_as_wide_as_theory_says_for_strata():
    values = np.random.default_rng(2).normal(0.2, 0.2, 300)
    # Equal values: draws shared between collections would make the interval too wide.
    groups = [values, values + 0.5, values[:100]]
    low, high = macro_interval([per_query(group) for group in groups])
    error = np.sqrt(sum(group.var() / len(group) for group in groups)) / 3
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.07)
    assert low < np.mean([group.mean() for group in groups]) < high


def test_macro_of_one_collection_is_the_ordinary_test():
    ranks_a, ranks_b = [2, 2, 5, 1, 4], [1, 1, 2, 2, 1]
    one = compare(ranked_at(ranks_a), ranked_at(ranks_b), qrels_for(5), "RR")["RR"]
    found = macro_compare([(per_query(1 / np.array(ranks_a)), per_query(1 / np.array(ranks_b)))])
    assert found.difference == pytest.approx(one.difference)
    assert found.p_value == pytest.approx(one.p_value)
    assert json.loads(json.dumps(found.to_dict()))["queries"] == [5]
    assert "1 collections, 5 queries" in str(found)


def test_macro_pairs_queries_by_id():
    found = macro_compare([({"x": 0.0, "y": 1.0}, {"y": 1.0, "x": 0.0})])
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_macro_refuses_unpaired_queries_and_nothing():
    with pytest.raises(EvaluationError, match="same queries"):
        macro_compare([({"x": 1.0}, {"y": 1.0})])
    with pytest.raises(EvaluationError, match="at least one collection"):
        macro_compare([])
    with pytest.raises(EvaluationError, match="finite value"):
        macro_interval([{}])


def test_sampled_p_is_never_0():
    # 2 ** 40 sign patterns: none of the few that are drawn is as extreme as what was seen.
    found = compare(ranked_at([2] * 40), ranked_at([1] * 40), qrels_for(40), "RR", resamples=999)["RR"]
    assert found.p_value == pytest.approx(1 / 1000)
