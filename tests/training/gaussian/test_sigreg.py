"""SIGReg against closed forms, against published and measured values, and across processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.gaussian.sigreg import COLLAPSED, NULL, covariance_loss, epps_pulley, sigreg, slices

WORKER = Path(__file__).parent / "sigreg_worker.py"


def gaussian(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def exact(values):
    """The statistic as sums over pairs: the integral has a closed form with this weight."""
    values = values.double()
    pairs = torch.exp(-((values[:, None] - values[None]) ** 2) / 2).sum() * math.sqrt(2 * math.pi) / len(values)
    single = 2 * math.sqrt(math.pi) * torch.exp(-(values**2) / 4).sum()
    return float(pairs - single + len(values) * math.sqrt(2 * math.pi / 3))


def of_normal(mean, std, n):
    """The statistic of an infinite sample of N(mean, std^2), times n."""
    own = math.sqrt(2 * math.pi / (2 * std**2 + 1))
    cross = math.sqrt(2 * math.pi / (std**2 + 2)) * math.exp(-(mean**2) / (2 * (std**2 + 2)))
    return n * (own - 2 * cross + math.sqrt(2 * math.pi / 3))


@pytest.mark.parametrize("shape", ["gaussian", "shifted", "narrow", "two points"])
def test_trapezoid_is_the_closed_form(shape):
    drawn = gaussian(200, 1)[:, 0]
    values = {"gaussian": drawn, "shifted": drawn + 1, "narrow": drawn / 4, "two points": drawn.sign()}[shape]
    found = float(epps_pulley(values[:, None], knots=201, t_max=8.0)[0])
    assert found == pytest.approx(exact(values), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.25), (1.0, 1.0), (0.0, 2.0)])
def test_many_draws_tend_to_the_population(mean, std):
    n = 20_000
    values = gaussian(n, 1, seed=3) * std + mean
    assert float(epps_pulley(values, knots=101, t_max=8.0)[0]) == pytest.approx(of_normal(mean, std, n), rel=0.05)


@pytest.mark.parametrize("n", [32, 64, 256])
def test_gaussian_vectors_reach_the_null_at_any_number(n):
    found = [float(sigreg(gaussian(n, 384, seed=seed), count=256, seed=seed)) for seed in range(4)]
    assert sum(found) / 4 == pytest.approx(NULL, abs=0.06)


@pytest.mark.parametrize(("n", "measured"), [(32, 12.9), (64, 25.7), (256, 103), (1024, 412)])
def test_collapse_grows_with_the_number(n, measured):
    found = float(sigreg(torch.zeros(n, 384)))
    assert found == pytest.approx(measured, rel=0.01)
    assert found == pytest.approx(n * COLLAPSED, rel=0.02)


def test_unit_vectors_are_collapsed_and_scaled_ones_are_gaussian():
    unit = torch.nn.functional.normalize(gaussian(256, 384), dim=1)
    assert float(sigreg(unit)) > 0.95 * 256 * COLLAPSED
    assert float(sigreg(unit * math.sqrt(384), count=1024)) == pytest.approx(NULL, abs=0.12)


def test_mean_shift_and_low_rank_are_seen():
    shifted = gaussian(32, 384)
    low_rank = gaussian(256, 8) @ torch.linalg.qr(gaussian(384, 8, seed=1)).Q.T * math.sqrt(384 / 8)
    assert float(sigreg(low_rank, count=1024)) > 4 * NULL
    ones = torch.ones(384) / math.sqrt(384)
    along = epps_pulley((shifted + 5 * ones) @ ones[:, None])
    assert float(along[0]) > 10


def test_slices_are_unit_and_change_with_the_seed():
    first = slices(64, 16, seed=1)
    assert torch.allclose(first.norm(dim=0), torch.ones(16), atol=1e-6)
    assert torch.equal(first, slices(64, 16, seed=1))
    assert not torch.equal(first, slices(64, 16, seed=2))


def test_descent_makes_collapsed_vectors_gaussian_where_the_seeds_loss_keeps_them():
    def descend(loss):
        vectors = (gaussian(128, 16) * 0.05).requires_grad_()
        optimizer = torch.optim.Adam([vectors], lr=0.05)
        for step in range(150):
            optimizer.zero_grad()
            loss(vectors, step).backward()
            optimizer.step()
        return float(vectors.detach().std(0).mean())

    assert descend(lambda found, step: sigreg(found, count=64, seed=step) / len(found)) == pytest.approx(1, abs=0.15)
    assert descend(lambda found, step: covariance_loss(found)) < 0.3


def test_seeds_loss_is_zero_on_collapse_and_not_on_a_gaussian():
    assert float(covariance_loss(torch.ones(32, 384))) == 0
    assert float(covariance_loss(gaussian(32, 384))) == pytest.approx(0.18, abs=0.02)


def test_bad_arguments_are_named():
    for vectors, options in ((torch.zeros(0, 4), {}), (torch.zeros(4), {}), (torch.zeros(4, 4), {"count": 0})):
        with pytest.raises(InvalidInputError, match="Expected"):
            sigreg(vectors, **options)


def test_two_processes_give_the_value_and_the_gradients_of_one(tmp_path):
    sizes = (24, 40)
    vectors = gaussian(sum(sizes), 16) * 0.5 + 0.3
    weight = torch.linspace(0.5, 1.5, 16).requires_grad_()
    value = sigreg(vectors * weight, count=32, seed=5)
    value.backward()
    torch.save({"vectors": vectors, "sizes": sizes}, tmp_path / "in.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    workers = [
        subprocess.Popen([sys.executable, str(WORKER), str(tmp_path), str(rank)], env=environment) for rank in (0, 1)
    ]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["value"] == pytest.approx(value.item(), rel=1e-4)
        assert found["gradient"] == pytest.approx(weight.grad.tolist(), rel=1e-3, abs=1e-5)
