"""How vectors lie in their space. None of these figures is quality by itself: read them beside retrieval."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.embedding_quality.matrices import matrix, sample, unit
from semantic_ranker.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PAIRWISE_ROWS = 2000
"""Rows that figures over all pairs are computed on."""
HUB_ROWS = 5000
"""Rows that hubness is computed on: it depends on their number."""
HUB_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The figures of one set of vectors.

    Attributes:
        vectors: How many there are.
        dim: Their width.
        average_cosine: Of two different vectors; 0 is isotropic.
        uniformity: Lower is more uniform; about -4 for 2,000 uniform directions in many dimensions.
        iso_score: 1 when all directions have the same variance, 0 when one has all; None with fewer vectors
            than dimensions.
        effective_rank: Dimensions in use, by the entropy of the singular values.
        participation_ratio: Dimensions in use, by the variances.
        top_component_share: Share of the variance in the first direction.
        hubness: Skewness of how often a vector is among the 10 nearest of others; above about 1 there are hubs.
    """

    vectors: int
    dim: int
    average_cosine: float
    uniformity: float
    iso_score: float | None
    effective_rank: float
    participation_ratio: float
    top_component_share: float
    hubness: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the figures, ready for JSON."""
        return asdict(self)


def geometry(vectors: ArrayLike, *, seed: int = 0) -> Geometry:
    """Measure how vectors lie.

    Args:
        vectors: (n, dim), n of 12 or more.
        seed: Of the samples that the figures over pairs are computed on.

    Raises:
        EvaluationError: It is no matrix of finite numbers, has too few rows, or a vector is zero.
    """
    found = matrix(vectors, least=HUB_NEIGHBOURS + 2)
    return Geometry(
        vectors=len(found),
        dim=found.shape[1],
        average_cosine=average_cosine(found),
        uniformity=uniformity(found, seed=seed),
        iso_score=iso_score(found) if found.shape[1] > 1 and len(found) >= found.shape[1] else None,
        effective_rank=effective_rank(found),
        participation_ratio=participation_ratio(found),
        top_component_share=top_component_share(found),
        hubness=hubness(found, seed=seed),
    )


def alignment(left: ArrayLike, right: ArrayLike, *, alpha: float = 2.0) -> float:
    """Return the mean distance of positive pairs, to the power ``alpha``, on unit vectors; lower is better.

    Wang & Isola 2020, equation 3: ``E ||f(x) - f(y)||^alpha``.

    Args:
        left: (n, dim).
        right: (n, dim), row by row the partner of ``left``.
        alpha: The exponent.

    Raises:
        EvaluationError: The shapes differ, or a vector has no direction.
    """
    first, second = unit(left, least=1), unit(right, least=1)
    if first.shape != second.shape:
        raise EvaluationError(f"Expected pairs of one shape, got {first.shape} and {second.shape}.")
    return float((np.linalg.norm(first - second, axis=1) ** alpha).mean())


def uniformity(vectors: ArrayLike, *, t: float = 2.0, seed: int = 0) -> float:
    """Return how evenly unit vectors cover the sphere, 0 or less; lower is more even.

    Wang & Isola 2020, equation 5: ``log E exp(-t ||f(x) - f(y)||^2)`` over different vectors, at most 2,000 of them.

    Args:
        vectors: (n, dim).
        t: The temperature.
        seed: Of the sample.

    Raises:
        EvaluationError: There are fewer than 2 vectors, or one has no direction.
    """
    found = sample(unit(vectors), PAIRWISE_ROWS, seed)
    squared = np.maximum(2.0 - 2.0 * (found @ found.T)[np.triu_indices(len(found), 1)], 0.0)
    return float(np.log(np.exp(-t * squared).mean()))


def iso_score(vectors: ArrayLike) -> float:
    """Return how evenly the variance is spread over all directions, 0 to 1.

    Rudman et al. 2022, algorithm 1, from the eigenvalues of the covariance.

    Args:
        vectors: (n, dim), **one vector a row**, n of dim or more. A transposed matrix gives another number, not an
            error, unless it has fewer rows than columns.

    Raises:
        EvaluationError: There are fewer vectors than dimensions, fewer than 2 dimensions, or no variance at all.
    """
    found = matrix(vectors)
    count, dim = found.shape
    if dim < 2 or count < dim:
        raise EvaluationError(
            f"Expected at least as many vectors as dimensions, and 2 dimensions or more, got shape {found.shape}: "
            "give more vectors, one a row (is the matrix transposed?)."
        )
    variances = _variances(found)
    scaled = variances * math.sqrt(dim) / np.linalg.norm(variances)
    defect = np.linalg.norm(scaled - 1.0) / math.sqrt(2 * (dim - math.sqrt(dim)))
    used = (dim - defect**2 * (dim - math.sqrt(dim))) ** 2 / dim
    return float(np.clip((used - 1) / (dim - 1), 0.0, 1.0))


def effective_rank(vectors: ArrayLike) -> float:
    """Return the exponential of the entropy of the normalised singular values of the centred vectors, 1 to dim.

    Roy & Vetterli 2007.

    Raises:
        EvaluationError: There are fewer than 2 vectors, or they are all the same.
    """
    found = np.sqrt(_variances(matrix(vectors)))
    shares = found[found > 0] / found.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation_ratio(vectors: ArrayLike) -> float:
    """Return ``(sum of variances)^2 / sum of squared variances`` over the principal directions, 1 to dim.

    Raises:
        EvaluationError: There are fewer than 2 vectors, or they are all the same.
    """
    variances = _variances(matrix(vectors))
    return float(variances.sum() ** 2 / (variances**2).sum())


def top_component_share(vectors: ArrayLike) -> float:
    """Return the share of the variance that lies in the first principal direction, 0 to 1.

    Raises:
        EvaluationError: There are fewer than 2 vectors, or they are all the same.
    """
    variances = _variances(matrix(vectors))
    return float(variances.max() / variances.sum())


def average_cosine(vectors: ArrayLike) -> float:
    """Return the mean cosine of two different vectors, over all pairs.

    Raises:
        EvaluationError: There are fewer than 2 vectors, or one has no direction.
    """
    found = unit(vectors)
    count = len(found)
    # The sum over all pairs is the squared length of the sum, less each vector with itself.
    return float(((found.sum(axis=0) ** 2).sum() - count) / (count * (count - 1)))


def hubness(vectors: ArrayLike, *, k: int = HUB_NEIGHBOURS, seed: int = 0) -> float:
    """Return the skewness of how often each vector is among the ``k`` nearest of the others, by cosine.

    Radovanovic et al. 2010, ``S_Nk``, on at most 5,000 vectors.

    Args:
        vectors: (n, dim), n of k + 2 or more.
        k: Neighbours.
        seed: Of the sample.

    Raises:
        EvaluationError: There are too few vectors, or one has no direction.
    """
    found = sample(unit(vectors, least=k + 2), HUB_ROWS, seed)
    cosines = found @ found.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    counts = np.bincount(nearest.ravel(), minlength=len(found)).astype(np.float64)
    deviation = counts - counts.mean()
    spread = math.sqrt((deviation**2).mean())
    return float((deviation**3).mean() / spread**3) if spread > 0 else 0.0


def _variances(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the eigenvalues of the covariance, float64 (dim,)."""
    values = np.maximum(np.linalg.eigvalsh(np.atleast_2d(np.cov(vectors.T))), 0.0)
    # Rounding leaves dust where there is no variance.
    values[values <= values.max() * np.finfo(np.float64).eps * len(values)] = 0.0
    if values.max() <= np.finfo(np.float64).eps ** 2:
        raise EvaluationError("Expected vectors that differ, got the same one throughout: there is no variance.")
    return values
