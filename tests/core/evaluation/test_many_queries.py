"""From 20,000 queries on, the normal limit stands for resampling: it must say the same."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_ranker.evaluation import resampling


@pytest.fixture
def differences():
    rng = np.random.default_rng(0)
    first = np.where(rng.random(2000) < 0.6, 0.0, rng.normal(0.01, 0.3, 2000))
    return np.stack([first, first * 0.5 + rng.normal(0, 0.1, 2000)], axis=1)


def test_the_limit_agrees_with_resampling(differences, monkeypatch):
    sampled = resampling.quantiles(resampling.bootstrap_means(differences, 10_000, 0))
    sampled_p = resampling.sign_flip_p([differences], 10_000, 0)
    monkeypatch.setattr(resampling, "_NORMAL_FROM", 1000)
    limit = resampling.quantiles(resampling.bootstrap_means(differences, 10_000, 0))
    assert np.array(limit) == pytest.approx(np.array(sampled), abs=5e-4)
    assert resampling.sign_flip_p([differences], 10_000, 0) == pytest.approx(sampled_p, abs=0.015)
    assert 0.01 < sampled_p.min() < sampled_p.max() < 0.99


def test_columns_stay_tied_together_in_the_limit(differences, monkeypatch):
    monkeypatch.setattr(resampling, "_NORMAL_FROM", 1000)
    means = resampling.bootstrap_means(differences, 20_000, 0)
    assert np.corrcoef(means.T)[0, 1] == pytest.approx(np.corrcoef(differences.T)[0, 1], abs=0.02)


def test_no_difference_has_p_1_and_a_certain_one_is_never_0():
    nothing, certain = np.zeros((20_000, 1)), np.full((20_000, 1), 0.5)
    assert resampling.sign_flip_p([nothing], 100, 0).tolist() == [1.0]
    assert 0 < resampling.sign_flip_p([certain], 100, 0)[0] < 1e-100
    low, high = resampling.quantiles(resampling.bootstrap_means(certain, 100, 0))
    assert (low[0], high[0]) == pytest.approx((0.5, 0.5))


def test_small_p_values_are_shown_as_bounds():
    assert [resampling.show_p(p) for p in (1.0, 0.0123, 0.0001, 0.00009)] == ["1.0000", "0.0123", "0.0001", "<.0001"]
