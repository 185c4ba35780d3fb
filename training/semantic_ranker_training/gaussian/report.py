"""How isotropic vectors are: the figures of `embedding_quality`, the partition ratio and SIGReg, before and after.

None of them is quality: full whitening has the best and the worst retrieval. Read them beside nDCG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semantic_ranker.embedding_quality.geometry import geometry
from semantic_ranker.embedding_quality.matrices import matrix, sample, unit
from semantic_ranker_training.gaussian.sigreg import NULL, SLICES, sigreg

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SIGREG_ROWS = 1000
"""SIGReg grows with the number of vectors, so it is computed on as many for all."""
METRICS = ("nDCG@10", "Recall@10", "Recall@100", "RR@10", "AP@100")


def partition_ratio(vectors: ArrayLike) -> float:
    """Return ``min Z(c) / max Z(c)`` over the eigenvectors ``c`` of ``X'X``, ``Z(c) = sum exp(c.x)``; 1 is isotropic.

    Mu & Viswanath 2018 (arXiv:1702.01417), equation 5, on vectors of length 1; an eigenvector counts in both
    directions, for its sign is nobody's choice.

    Raises:
        EvaluationError: There are fewer than 2 vectors, or one has no direction.
    """
    found = unit(vectors)
    _, directions = np.linalg.eigh(found.T @ found)
    products = found @ directions
    sums = np.concatenate([np.exp(products).sum(0), np.exp(-products).sum(0)])
    return float(sums.min() / sums.max())


def isotropy(vectors: ArrayLike, *, seed: int = 0) -> dict[str, float | int | None]:
    """Return the figures of one set of vectors, by name.

    Args:
        vectors: (n, dim), one vector a row, n of 12 or more.
        seed: Of samples and slices.

    Returns:
        Those of `geometry`, ``partition_ratio``, and ``sigreg``: of at most 1,000 vectors scaled to a mean square of 1
        a coordinate, less its expectation for a Gaussian, so that 0 is Gaussian.

    Raises:
        EvaluationError: As for `geometry`.
    """
    found = matrix(vectors, least=12)
    few = sample(found, SIGREG_ROWS, seed)
    scaled = few / np.sqrt((few**2).mean())
    value = float(sigreg(torch.from_numpy(scaled.astype(np.float32)), count=SLICES, seed=seed)) - NULL
    return {**geometry(found, seed=seed).to_dict(), "partition_ratio": partition_ratio(found), "sigreg": value}


def isotropy_table(rows: Mapping[str, tuple[ArrayLike, Mapping[str, float]]], metrics: Sequence[str] = METRICS) -> str:
    """Return a Markdown table: a model a row, its isotropy beside its retrieval.

    Args:
        rows: Vectors of documents and measures by canonical name, by the model's name; first the one before.
        metrics: Measures to show.
    """
    shown = ("average_cosine", "partition_ratio", "iso_score", "effective_rank", "uniformity", "hubness", "sigreg")
    lines = ["| model | " + " | ".join((*metrics, *shown)) + " |", "|" + "---|" * (1 + len(metrics) + len(shown))]
    for name, (vectors, measures) in rows.items():
        found: Mapping[str, Any] = isotropy(vectors)
        cells = [*(measures.get(metric) for metric in metrics), *(found[key] for key in shown)]
        lines.append(f"| {name} | " + " | ".join("-" if cell is None else f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"
