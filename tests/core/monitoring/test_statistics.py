"""The monitor's arithmetic against figures that can be worked out."""

import math

import numpy as np
import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.monitoring import KernelMean, Rules, hashed_words, population_stability
from semantic_ranker.monitoring.permutation import can_reach, days_p, least_baseline


def test_population_stability_is_the_textbook_sum():
    expected = np.repeat([0.0, 1.0], 500)
    actual = np.repeat([0.0, 1.0], [250, 750])
    e, a = np.array([500.5, 500.5]) / 1001, np.array([250.5, 750.5]) / 1001
    assert population_stability(expected, actual, bins=2) == pytest.approx(float(((a - e) * np.log(a / e)).sum()))
    assert population_stability(expected, expected) == 0.0


def test_population_stability_of_one_distribution_is_small_and_of_a_shifted_one_large():
    rng = np.random.default_rng(0)
    same = population_stability(rng.normal(size=5000), rng.normal(size=1000))
    # Its mean under no change is (bins - 1)(1/n + 1/m).
    assert same < 4 * 9 * (1 / 5000 + 1 / 1000)
    assert population_stability(rng.normal(size=5000), rng.normal(0.5, size=1000)) > 0.2


@pytest.mark.parametrize(
    ("expected", "actual", "bins"),
    [([], [1.0], 10), ([1.0], [float("nan")], 10), ([1.0], [1.0], 1), ([[1.0]], [1.0], 10)],
)
def test_population_stability_refuses_what_it_cannot_bin(expected, actual, bins):
    with pytest.raises(InvalidInputError):
        population_stability(expected, actual, bins=bins)


def test_the_features_give_the_gaussian_kernel():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    kernel = KernelMean.fit(vectors)
    distances = [np.linalg.norm(vectors[i] - vectors[j]) for i in range(60) for j in range(i)]
    one, two = kernel.total(vectors[:1]), kernel.total(vectors[1:2])
    expected = math.exp(-(np.linalg.norm(vectors[0] - vectors[1]) ** 2) / (2 * np.median(distances) ** 2))
    assert float(one @ two) == pytest.approx(expected, abs=0.15)  # 256 random features: a deviation of 1/16
    assert float(one @ one) == pytest.approx(1.0, abs=0.15)


def test_the_discrepancy_of_means_grows_with_the_shift():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2000, 8))
    kernel = KernelMean.fit(base)

    def apart(shift):
        other = rng.normal(size=(2000, 8)) + shift
        return float(((kernel.total(base) / 2000 - kernel.total(other) / 2000) ** 2).sum())

    assert apart(0.0) < apart(0.3) < apart(1.0)


def test_texts_all_alike_have_a_kernel_too():
    kernel = KernelMean.fit(np.ones((5, 3)))
    assert np.isfinite(kernel.total(np.ones((2, 3)))).all()
    for bad in (np.empty((0, 3)), np.ones(3), np.full((2, 2), np.nan)):
        with pytest.raises(InvalidInputError):
            KernelMean.fit(bad)


def test_hashed_words_are_unit_vectors_that_ignore_case_and_order():
    vectors = hashed_words(["Reset my password", "PASSWORD reset, my", "lunch", "", "\ud83d"])
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors[0], vectors[1])
    assert np.linalg.norm(vectors[:3], axis=1) == pytest.approx([1, 1, 1])
    assert not vectors[3].any()
    assert abs(float(vectors[0] @ vectors[2])) < 1


def test_p_values_of_the_permutation_test_are_uniform_where_nothing_changed():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        values = rng.normal(size=20)
        found.append(days_p(lambda member, v=values: member @ v, 20, 5, alpha=1e-3, seed=int(rng.integers(1e9))))
    assert 0.03 <= np.mean(np.array(found) <= 0.1) <= 0.17
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_p_of_an_unmistakable_window_reaches_the_level():
    values = np.r_[np.zeros(28), np.ones(7)]
    alpha = Rules().alpha
    assert days_p(lambda member: member @ values, 35, 7, alpha=alpha, seed=0) < alpha


def test_how_many_days_a_test_needs():
    alpha = Rules().alpha
    assert alpha == pytest.approx(0.05 / 365 / 6)
    least = least_baseline(alpha, 7)
    assert can_reach(alpha, least + 7, 7)
    assert not can_reach(alpha, least + 6, 7)
    assert not can_reach(alpha, 7, 7)


@pytest.mark.parametrize(
    "values",
    [
        {"ndcg_drop": -0.1},
        {"ndcg_drop": float("nan")},
        {"window_days": 0},
        {"window_days": 2.5},
        {"false_alarm_rate": 0.0},
        {"false_alarm_rate": 1.0},
        {"seed": "x"},
        {"cache_drop": True},
    ],
)
def test_rules_are_checked(values):
    with pytest.raises(InvalidInputError, match=next(iter(values))):
        Rules(**values)
