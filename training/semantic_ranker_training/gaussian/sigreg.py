"""Sketched isotropic Gaussian regularisation: how far a batch of vectors is from N(0, I), slice by slice.

Balestriero & LeCun 2025 (arXiv:2511.08544), written from the formula: for random unit directions ``a_k``

    SIGReg(Z) = 1/K sum_k N * integral |phi_k(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt

with ``phi_k(t) = 1/N sum_n exp(i t a_k.z_n)``, which is the statistic of Epps & Pulley (1983) on each slice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

SLICES = 256
"""Directions of a step; below 5 % of a step of a MiniLM."""
KNOTS = 17
T_MAX = 3.0
NULL = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
"""Expectation for vectors drawn from N(0, I), of any number: 1.0594. Two statistics compare less this."""
COLLAPSED = math.sqrt(2 * math.pi) - 2 * math.sqrt(math.pi) + math.sqrt(2 * math.pi / 3)
"""The statistic divided by the number of vectors when all are zero: 0.4089."""


def slices(dim: int, count: int = SLICES, *, seed: int = 0, device: torch.device | str = "cpu") -> Tensor:
    """Return random unit directions as columns, float32 (dim, count).

    Drawn on the CPU, so that the same seed gives the same directions on every rank and device.

    Args:
        dim: Of the vectors.
        count: How many.
        seed: Of the draw; take another one at each step.
        device: Where to.
    """
    drawn = torch.randn(dim, count, generator=torch.Generator().manual_seed(seed))
    return (drawn / drawn.norm(dim=0)).to(device)


def epps_pulley(values: Tensor, *, knots: int = KNOTS, t_max: float = T_MAX) -> Tensor:
    """Return the statistic of each column against N(0, 1).

    The integral over the real line is twice a trapezoid sum over ``[0, t_max]``, for the integrand is even. In a
    process group the characteristic functions are those of the vectors of all ranks, and gradients flow through.

    Args:
        values: float (n, columns).
        knots: Points of the sum.
        t_max: Where the integral ends; ``exp(-t^2 / 2)`` is 0.011 at 3.

    Returns:
        float32 (columns,); about `NULL` for a Gaussian sample, ``n`` times `COLLAPSED` for zeros.
    """
    t = torch.linspace(0, t_max, knots, device=values.device)
    gaussian = torch.exp(-(t**2) / 2)
    angles = values.float()[:, :, None] * t
    cosine, sine, count = _sums(angles.cos().sum(0), angles.sin().sum(0), len(values))
    error = (cosine / count - gaussian) ** 2 + (sine / count) ** 2
    return 2 * count * torch.trapezoid(error * gaussian, t, dim=-1)


def sigreg(vectors: Tensor, *, count: int = SLICES, seed: int = 0, knots: int = KNOTS, t_max: float = T_MAX) -> Tensor:
    """Return the mean statistic over random slices; see the module for the formula.

    It grows with the number of vectors for anything but N(0, I): divide by it where it is a loss.

    Args:
        vectors: float (n, dim).
        count: Slices.
        seed: Of the slices; take another one at each step, and the same on every rank.
        knots: Points of the integral.
        t_max: Where the integral ends.

    Returns:
        A scalar, float32.

    Raises:
        InvalidInputError: It is no matrix with a row, or an option is out of range.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise InvalidInputError(f"Expected vectors of shape (1 or more, dim), got {tuple(vectors.shape)}.")
    if count < 1 or knots < 2 or not t_max > 0:
        raise InvalidInputError(
            f"Expected 1 slice or more, 2 knots or more and t_max above 0, got {count}, {knots} and {t_max}."
        )
    directions = slices(vectors.shape[1], count, seed=seed, device=vectors.device)
    return epps_pulley(vectors.float() @ directions, knots=knots, t_max=t_max).mean()


def total_count(vectors: Tensor) -> int:
    """Return the number of vectors on all ranks."""
    if not _distributed():
        return len(vectors)
    count = torch.tensor([len(vectors)], device=vectors.device)
    dist.all_reduce(count)
    return int(count)


def covariance_loss(vectors: Tensor) -> Tensor:
    """Return the seed's loss, ``||C - v I||_F / dim`` with the batch's own variance ``v``: kept to be measured against.

    It is no SIGReg: it is 0 for vectors that are all the same, and it is above 0 for a true Gaussian with fewer vectors
    than dimensions, so that it rewards vectors that shrink.

    Args:
        vectors: float (n, dim), n of 2 or more.

    Returns:
        A scalar, float32.
    """
    values = vectors.float()
    centred = values - values.mean(0)
    covariance = centred.T @ centred / (len(values) - 1)
    target = torch.eye(values.shape[1], device=values.device) * values.var()
    return torch.linalg.matrix_norm(covariance - target) / values.shape[1]


def _sums(cosine: Tensor, sine: Tensor, count: int) -> tuple[Tensor, Tensor, int | Tensor]:
    if not _distributed():
        return cosine, sine, count
    # The sum's gradient is summed over ranks too; DDP then divides by their number, which gives that of one batch.
    counted = torch.tensor([float(count)], device=cosine.device)
    dist.all_reduce(counted)
    sums = _AllReduce.apply(torch.stack([cosine, sine]))  # type: ignore[no-untyped-call]
    return sums[0], sums[1], counted


class _AllReduce(torch.autograd.Function):
    """A sum over ranks whose gradient is summed over ranks: each rank's loss reads all ranks' vectors."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
