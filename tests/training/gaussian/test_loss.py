"""The loss: its parts, its units, collapse, and the seed's options."""

import math

import pytest
import torch
from torch import nn

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.gaussian.loss import IsotropicLoss


def drawn(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def loss(**options):
    return IsotropicLoss(nn.Identity(), **options)


def test_parts_are_named_and_add_up():
    queries, documents = drawn(32, 16), drawn(32, 16, 1)
    parts = loss(distance="l2", lambda_isotropy=2.0, lambda_reg=0.5).of_vectors(queries, documents)
    assert list(parts) == ["contrastive", "isotropy", "variance"]
    assert list(loss(lambda_isotropy=0.0, lambda_reg=0.0).of_vectors(queries, documents)) == ["contrastive"]
    half = loss(distance="l2", lambda_isotropy=1.0).of_vectors(queries, documents)
    assert parts["isotropy"].item() == pytest.approx(2 * half["isotropy"].item())


def test_distances_are_in_units_of_random_texts():
    for distance in ("l2", "cosine"):
        found = loss(distance=distance).distances(drawn(64, 512), drawn(64, 512, 1))
        assert found.mean().item() == pytest.approx(1, abs=0.05)
        same = drawn(4, 512)
        assert loss(distance=distance).distances(same, same).diagonal().abs().max().item() < 1e-5


def test_infonce_is_the_formula():
    queries, documents, dim = drawn(8, 16), drawn(8, 16, 1), 16
    found = loss(distance="l2", lambda_isotropy=0.0).of_vectors(queries, documents)["contrastive"]
    logits = -(torch.cdist(queries, documents) ** 2) / (2 * math.sqrt(dim))
    assert found.item() == pytest.approx(nn.functional.cross_entropy(logits, torch.arange(8)).item(), rel=1e-5)


def test_margin_takes_given_negatives_or_the_hardest_of_the_batch():
    queries = torch.eye(4)[:2]
    documents = torch.eye(4)[:2]
    assert loss(contrastive="margin", lambda_isotropy=0.0, margin=0.5).of_vectors(queries, documents)[
        "contrastive"
    ].item() == pytest.approx(0.0)
    near = loss(contrastive="margin", lambda_isotropy=0.0, margin=0.5).of_vectors(queries, documents, queries)
    assert near["contrastive"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("contrastive", ["infonce", "margin"])
def test_no_collapse_at_any_documented_setting(distance, contrastive):
    """From nearly collapsed vectors every setting ends Gaussian; the seed's covariance loss is what does not."""
    queries, documents = ((drawn(64, 16, seed) * 0.02 + 0.5).requires_grad_() for seed in (0, 1))
    of = loss(distance=distance, contrastive=contrastive, lambda_reg=0.1, slices=64)
    optimizer = torch.optim.Adam([queries, documents], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        sum(of.of_vectors(queries, documents).values()).backward()
        optimizer.step()
    assert of.collapse() is None
    assert of.figures["embedding_std"] > 0.5


def test_collapse_is_named_with_the_remedy():
    of = loss(distance="l2")
    of.of_vectors(torch.ones(8, 16) + drawn(8, 16) * 1e-3, torch.ones(8, 16))
    assert "lambda_isotropy" in of.collapse()
    healthy = loss(distance="l2")
    healthy.of_vectors(drawn(8, 16), drawn(8, 16, 1))
    assert healthy.collapse() is None


def test_slices_change_with_each_training_step_and_repeat_for_a_step():
    of = loss(distance="l2")
    queries, documents = drawn(16, 16) * 2, drawn(16, 16, 1)
    first, second = (of.of_vectors(queries, documents)["isotropy"].item() for _ in range(2))
    of.step = 0
    assert first != second
    assert of.of_vectors(queries, documents)["isotropy"].item() == first


def test_predictor_starts_as_nothing():
    queries, documents = drawn(8, 16), drawn(8, 16, 1)
    plain = loss().of_vectors(queries, documents)["contrastive"].item()
    assert loss(predictor=8, dim=16).of_vectors(queries, documents)["contrastive"].item() == pytest.approx(plain)


@pytest.mark.parametrize(
    "options",
    [{"distance": "dot"}, {"isotropy": "x"}, {"lambda_isotropy": -1.0}, {"temperature": 0.0}, {"predictor": 4}],
)
def test_bad_options_are_named(options):
    with pytest.raises(InvalidInputError, match="Expected"):
        loss(**options)
