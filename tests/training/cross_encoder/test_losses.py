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


def logit_gradient(name, base, groups, quick, monkeypatch):
    """Return the loss's gradient by pair, its logits being set far apart, and the norm of the weights' gradient."""
    config = quick(loss_function=name, batch_size=32 if name in ("bce", "mse") else 8)
    model, seen = open_base(base, config).eval(), []
    forward = type(model).forward

    def with_own_logits(self, features, **options):
        found = forward(self, features, **options)
        pairs = [tuple(ids[ids != 0].tolist()) for ids in found["input_ids"]]
        own = [np.random.default_rng(pair).normal(scale=2.0) for pair in pairs]
        found["scores"] = found["scores"] + torch.tensor(own, dtype=torch.float32).view(-1, 1)
        found["scores"].retain_grad()
        seen.append((pairs, found["scores"]))
        return found

    monkeypatch.setattr(type(model), "forward", with_own_logits)
    schedule = Schedule(scored(groups), config)
    loss = build_loss(model, config, pos_weight=schedule.pos_weight())
    batch = CrossEncoderDataCollator(preprocess_fn=model.preprocess)(list(schedule.rows()))
    labels = batch.pop("label", None)
    torch.manual_seed(0)
    loss(list(batch.values()), labels).backward()
    by_pair = {}
    for pairs, scores in seen:
        for pair, value in zip(pairs, scores.grad.flatten().tolist(), strict=True):
            by_pair[pair] = by_pair.get(pair, 0.0) + value
    monkeypatch.undo()
    return by_pair, sum(float(p.grad.norm()) for p in model.parameters() if p.grad is not None)


def test_every_loss_has_a_gradient_of_its_own(bert_base, toy_groups, quick, monkeypatch):
    found = {name: logit_gradient(name, bert_base, toy_groups[:8], quick, monkeypatch) for name in LOSSES}
    assert all(0 < norm < math.inf for _, norm in found.values())
    every = sorted({pair for by_pair, _ in found.values() for pair in by_pair})
    vectors = {name: np.array([by_pair.get(pair, 0.0) for pair in every]) for name, (by_pair, _) in found.items()}
    for (a, x), (b, y) in itertools.combinations(vectors.items(), 2):
        assert x @ y / np.linalg.norm(x) / np.linalg.norm(y) < 0.999, (a, b)


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
