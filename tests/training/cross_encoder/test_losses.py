"""Every loss is really in effect: its gradient is its own, and a toy ranking is learnt with it."""

import itertools
import math

import numpy as np
import pytest
import torch
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator
from torch import nn

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder import LOSSES, TrainingConfig
from semantic_ranker_training.cross_encoder.engine import run_trainer
from semantic_ranker_training.cross_encoder.losses import GroupCrossEntropyLoss, MarginLoss, build_loss
from semantic_ranker_training.cross_encoder.model import open_base
from semantic_ranker_training.cross_encoder.rows import Schedule
from semantic_ranker_training.data import Group


def scored(groups):
    return [
        Group(g.query, g.texts, g.labels, tuple(3.0 * label + 0.1 * row for row, label in enumerate(g.labels)))
        for g in groups
    ]


def gradient(name, model, groups, quick):
    config = quick(loss_function=name, batch_size=32 if name in ("bce", "mse") else 8)
    schedule = Schedule(scored(groups), config)
    loss = build_loss(model, config, pos_weight=schedule.pos_weight())
    batch = CrossEncoderDataCollator(preprocess_fn=model.preprocess)(list(schedule.rows()))
    labels = batch.pop("label", None)
    model.zero_grad()
    torch.manual_seed(0)
    loss(list(batch.values()), labels).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_every_loss_has_a_gradient_of_its_own(bert_base, easy_groups, toy_groups, quick, tmp_path):
    # A model with an opinion (red is best), so that no two losses agree because all logits are alike.
    config = quick(learning_rate=5e-3, num_epochs=6, loss_function="cross_entropy")
    model = open_base(bert_base, config)
    run_trainer(model, Schedule(easy_groups, config), tmp_path)
    model.eval()
    found = {name: gradient(name, model, toy_groups[:12], quick) for name in LOSSES}
    for name, vector in found.items():
        assert torch.isfinite(vector).all(), name
        assert vector.norm() > 1e-6, name
    for (a, x), (b, y) in itertools.combinations(found.items(), 2):
        assert torch.nn.functional.cosine_similarity(x, y, dim=0) < 0.9999, (a, b)


@pytest.mark.parametrize("name", LOSSES)
def test_a_toy_ranking_is_learnt(name, bert_base, easy_groups, quick, tmp_path):
    pairs = name in ("bce", "mse")
    config = quick(
        loss_function=name, learning_rate=5e-3, num_epochs=6, batch_size=32 if pairs else 8, logging_steps=50
    )
    model = open_base(bert_base, config)
    groups = scored(easy_groups)
    run_trainer(model, Schedule(groups, config), tmp_path)
    model.eval()
    first = 0
    for group in groups:
        logits = model.predict([(group.query, text) for text in group.texts], activation_fn=nn.Identity())
        first += int(np.argmax(logits) == 0)
    assert first >= 0.9 * len(groups)


def test_margin_is_the_mean_hinge_over_pairs(bert_base, quick):
    loss = MarginLoss(open_base(bert_base, quick()), margin=1.0)
    logits = torch.tensor([[2.0, 1.5, -1.0], [0.0, 3.0, -1e9]])
    positive = torch.tensor([[True, False, False], [True, False, False]])
    present = torch.tensor([[True, True, True], [True, True, False]])
    # Hinges: 1 - (2 - 1.5) = 0.5, 0 for the far negative, 1 - (0 - 3) = 4; the absent text counts nowhere.
    assert float(loss.of_logits(logits, positive, present)) == pytest.approx((0.5 + 0.0 + 4.0) / 3)


def test_group_cross_entropy_sets_each_positive_against_the_negatives(bert_base, quick):
    loss = GroupCrossEntropyLoss(open_base(bert_base, quick()))
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    positive = torch.tensor([[True, True, False]])
    wanted = [-math.log(math.exp(x) / (math.exp(x) + 1.0)) for x in (1.0, 2.0)]
    assert float(loss.of_logits(logits, positive, torch.ones_like(positive))) == pytest.approx(sum(wanted) / 2)


def test_mnrl_keeps_logits_apart_from_a_sigmoid(bert_base, quick):
    config = quick(loss_function="mnrl")
    assert isinstance(build_loss(open_base(bert_base, config), config).activation_fn, nn.Identity)


def test_unknown_loss_names_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"loss_function out of bce, mse.*got 'hinge'"):
        TrainingConfig(loss_function="hinge")
