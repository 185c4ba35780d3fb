"""Hyperparameter search: tries what it is given, keeps the best."""

import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer, search_settings


def test_a_search_returns_the_best_of_its_trials(bert_base, toy_groups, quick, tmp_path):
    trainer = CrossEncoderTrainer(str(bert_base), config=quick(num_epochs=1, batch_size=16))
    space = {"learning_rate": (1e-4, 1e-2, "log"), "loss_function": ["listnet", "cross_entropy"]}
    found = search_settings(trainer, toy_groups[:24], space=space, output_dir=tmp_path, trials=2)
    assert len(found["trials"]) == 2
    assert found["value"] == max(trial["value"] for trial in found["trials"])
    assert 1e-4 <= found["settings"]["learning_rate"] <= 1e-2
    assert (tmp_path / "trial-0" / "model").is_dir()


def test_a_range_that_is_not_understood_is_named(bert_base, toy_groups, quick, tmp_path):
    trainer = CrossEncoderTrainer(str(bert_base), config=quick())
    with pytest.raises(InvalidInputError, match="Expected settings to search"):
        search_settings(trainer, toy_groups, space={}, output_dir=tmp_path)
    with pytest.raises(InvalidInputError, match=r"Expected a list of values or \(low, high"):
        search_settings(trainer, toy_groups, space={"learning_rate": "big"}, output_dir=tmp_path)
