"""Calibration finds the sigmoid that made the labels."""

import numpy as np
import pytest

from semantic_ranker import InvalidInputError
from semantic_ranker_training.calibration import fit_platt


def test_the_generating_sigmoid_is_found():
    generator = np.random.default_rng(0)
    logits = generator.normal(10, 5, 20_000).astype(np.float32)
    relevant = generator.random(20_000) < 1 / (1 + np.exp(-(0.8 * logits - 8.0)))
    scale, bias = fit_platt(logits, relevant)
    assert scale == pytest.approx(0.8, rel=0.1)
    assert -bias / scale == pytest.approx(10.0, abs=0.3)


def test_the_share_of_relevant_texts_does_not_move_the_middle():
    generator = np.random.default_rng(0)
    relevant_logits, others = generator.normal(4, 1, 300), generator.normal(0, 1, 30_000)
    logits = np.concatenate([relevant_logits, others]).astype(np.float32)
    scale, bias = fit_platt(logits, np.arange(len(logits)) < 300)
    assert -bias / scale == pytest.approx(2.0, abs=0.2)


def test_perfectly_separated_classes_still_give_finite_numbers():
    scale, bias = fit_platt(np.array([-1, -2, 3, 4], np.float32), np.array([False, False, True, True]))
    assert 0 < scale < 100
    assert np.isfinite(bias)


@pytest.mark.parametrize("relevant", [[True, True], [False, False]])
def test_one_class_alone_is_refused(relevant):
    with pytest.raises(InvalidInputError, match="relevant and other"):
        fit_platt(np.array([1, 2], np.float32), np.array(relevant))
