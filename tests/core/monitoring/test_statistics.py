"""The monitor's arithmetic against figures that can be worked out."""

import math

import numpy as np
import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.monitoring import KernelMean, Rules, hashed_words, population_stability
from semantic_ranker.monitoring.fall import fall_p, student_tail
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


# Quantiles of printed tables of Student's t.
@pytest.mark.parametrize(
    ("t", "freedom", "p"), [(0.0, 7, 0.5), (6.314, 1, 0.05), (2.228, 10, 0.025), (-2.228, 10, 0.975), (3.69, 27, 5e-4)]
)
def test_the_tail_of_student_s_t_is_that_of_the_tables(t, freedom, p):
    assert student_tail(t, freedom) == pytest.approx(p, rel=2e-3)


def test_the_test_of_a_fall_is_student_s_on_the_days():
    sums, counts = np.array([9.0, 8.0, 10.0, 9.0, 12.0]), np.array([10.0, 10.0, 12.0, 10.0, 24.0])
    mean = 36 / 42
    variance = sum((s - mean * c) ** 2 for s, c in zip(sums[:4], counts[:4], strict=True)) / 42 * 4 / 3
    assert variance > mean**2 / 43
    t = (0.95 * mean - 0.5) / math.sqrt(variance * (0.95**2 / 42 + 1 / 24))
    assert fall_p(sums, counts, 1, limit=0.05) == pytest.approx(student_tail(t, 3))


def test_a_fall_of_few_or_faultless_judgments_is_not_taken_for_sure():
    alpha = Rules().watch_alpha
    baseline = np.full(28, 2.0)
    # Every answer was right, and of the twenty in the window two are not.
    assert fall_p(np.r_[baseline, 18.0], np.r_[baseline, 20.0], 1, limit=0.05) > alpha
    assert fall_p(np.r_[baseline, 8.0], np.r_[baseline, 20.0], 1, limit=0.05) < alpha
    assert fall_p(np.r_[baseline, 0.0], np.r_[baseline, 19.0], 1, limit=0.05) == 1.0
    assert fall_p(np.array([50.0, 0.0]), np.array([50.0, 50.0]), 1, limit=0.05) == 1.0
    assert fall_p(np.zeros(3), np.full(3, 30.0), 1, limit=0.05) == 1.0


def test_the_test_of_a_fall_is_wrong_as_often_as_its_level_says():
    rng = np.random.default_rng(0)
    counts = rng.poisson(18, (400, 35)) + 1.0
    # Exactly at the limit, where it is wrong most often.
    means = np.r_[np.full(28, 0.6), np.full(7, 0.57)] + rng.normal(0, 0.05, (400, 35))
    sums = rng.binomial(counts.astype(int), means).astype(float)
    found = np.array([fall_p(s, c, 7, limit=0.05) for s, c in zip(sums, counts, strict=True)])
    assert 0.02 <= (found < 0.05).mean() <= 0.08
    assert found.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "values",
    [
        {"false_watch_rate": 1.0},
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
