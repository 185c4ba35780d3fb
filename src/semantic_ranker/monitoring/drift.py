"""How far two samples are apart: of scores (population stability), and of texts (maximum mean discrepancy)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_BINS = 10
_FEATURES = 256
_WORDS_DIM = 256
_PAIRS_FROM = 400  # texts from which the kernel's width is taken
_WORD = re.compile(r"\w+")


def population_stability(expected: ArrayLike, actual: ArrayLike, *, bins: int = _BINS) -> float:
    """Return the population stability index of a sample against a reference.

    ``sum((a_i - e_i) * ln(a_i / e_i))`` over bins that hold equal shares of the reference, ``a_i`` and ``e_i`` being
    both samples' shares (Siddiqi, Credit Risk Scorecards, 2006; it is Jeffreys' divergence of the binned samples).
    Half an observation is added to every bin, so that an empty one is no infinity.

    Args:
        expected: The reference, float (n,).
        actual: The sample, float (m,).
        bins: How many; fewer where values of the reference repeat.

    Raises:
        InvalidInputError: A sample is empty or holds NaN, or ``bins`` is below 2.
    """
    reference, sample = _sample("expected", expected), _sample("actual", actual)
    if bins < 2:
        raise InvalidInputError(f"Expected 2 bins or more, got {bins}.")
    edges = bin_edges(reference, bins)
    return float(stability_of_counts(bin_counts(reference, edges)[None], bin_counts(sample, edges)[None])[0])


def bin_edges(values: NDArray[np.float64], bins: int = _BINS) -> NDArray[np.float64]:
    """Return the inner edges, float64 (at most bins - 1,), of bins that hold equal shares of the values."""
    edges: NDArray[np.float64] = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return edges


def bin_counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many values each bin holds, float64 (edges + 1,); an edge belongs to the bin below it."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.float64)


def stability_of_counts(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `population_stability` of counts, float64 (k,), from two float64 (k, bins)."""
    e, a = ((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True) for counts in (expected, actual))
    index: NDArray[np.float64] = ((a - e) * np.log(a / e)).sum(axis=1)
    return index


def hashed_words(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return texts as hashed counts of their words: sees new words, not that new words may mean the same.

    Returns:
        float32 (n, 256), L2-normalised; a text without words is zero.
    """
    vectors = np.zeros((len(texts), _WORDS_DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in _WORD.findall(text.casefold()):
            code = zlib.crc32(word.encode("utf-8", "replace"))
            vectors[row, code % _WORDS_DIM] += 1.0 if code & 0x80000000 else -1.0
    norms: NDArray[np.float32] = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    norms[norms == 0] = 1.0
    return vectors / norms


@dataclass(frozen=True, slots=True)
class KernelMean:
    """A Gaussian kernel as explicit features, so that the mean over a day's texts is all that has to be kept.

    The squared distance of two samples' means is their squared maximum mean discrepancy (Gretton et al., JMLR 13,
    2012), 0 only where the distributions are equal; the features are random Fourier features (Rahimi and Recht, 2007).

    Attributes:
        directions: float32 (dim, 256), drawn from the kernel's spectrum.
        phases: float32 (256,).
    """

    directions: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[Any], *, seed: int = 0) -> Self:
        """Choose the kernel's width as the median distance of two texts.

        Args:
            vectors: Of the baseline, float (n, dim).
            seed: Of the features.

        Raises:
            InvalidInputError: There are no vectors, or one is not finite.
        """
        data = np.asarray(vectors, dtype=np.float64)
        if data.ndim != 2 or not data.size or not np.isfinite(data).all():
            raise InvalidInputError(f"Expected finite vectors of shape (n, dim), got shape {data.shape} or others.")
        rng = np.random.default_rng(seed)
        some = data[rng.permutation(len(data))[:_PAIRS_FROM]]
        squares = (some**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * some @ some.T, 0))[
            np.triu_indices(len(some), 1)
        ]
        positive = distances[distances > 0]
        width = float(np.median(positive)) if len(positive) else 1.0
        directions = rng.standard_normal((data.shape[1], _FEATURES)) / width
        return cls(directions.astype(np.float32), rng.uniform(0.0, 2 * np.pi, _FEATURES).astype(np.float32))

    def total(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Return the sum of the features of vectors (n, dim), float64 (256,)."""
        angles = np.asarray(vectors, dtype=np.float32) @ self.directions + self.phases
        summed: NDArray[np.float64] = np.sqrt(2.0 / _FEATURES) * np.cos(angles).sum(axis=0, dtype=np.float64)
        return summed


def _sample(name: str, values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size or np.isnan(sample).any():
        raise InvalidInputError(f"Expected {name} to be one or more numbers, got an empty sample or NaN.")
    return sample
