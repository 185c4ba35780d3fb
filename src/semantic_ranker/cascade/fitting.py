"""Fits a cascade to a model: what each feature of the first pass is worth in logits, and how wide the margin must be.

Needs queries with candidates like those that will be ranked, and no judgments: the model's own order is the target.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker._files import write_atomically
from semantic_ranker._settings import MANIFEST
from semantic_ranker.bm25 import BM25Index
from semantic_ranker.cascade.first_pass import shared_first_pass
from semantic_ranker.cascade.selection import KEY, CascadeSettings, select
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.cross_encoder import CrossEncoder

_RIDGE = 1e-3
_STEPS = 30
_LEAST_QUERIES = 20
_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One query with its candidates.

    Attributes:
        features: Of the first pass, float64 (n, features).
        logits: Of the model, float (n,).
    """

    features: NDArray[np.float64]
    logits: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeFit:
    """Fitted settings, with what they cost on queries that they were not fitted to.

    Attributes:
        settings: The settings.
        queries: Queries in the sample.
        top: Texts kept of each.
        lost: Mean share of the model's own top texts that the cascade misses.
        lost_high: Upper end of its 95 % interval: two standard errors above.
        scored: Mean share of the texts that the model still scores.
    """

    settings: CascadeSettings
    queries: int
    top: int
    lost: float
    lost_high: float
    scored: float

    def to_dict(self) -> dict[str, Any]:
        """Return settings and figures as JSON values, as a manifest keeps them."""
        figures = {"lost": self.lost, "lost_high": self.lost_high, "scored": self.scored}
        rounded = {name: round(value, 4) for name, value in figures.items()}
        return {**self.settings.to_dict(), "top": self.top, "queries": self.queries, **rounded}


def fit_cascade(samples: Sequence[Sample], *, top: int = 10, lost: float = 0.02) -> CascadeFit:
    """Fit weights and the least margin that loses no more than ``lost`` of the model's top texts.

    Weights are fitted by least squares to logits less their mean over each query. The margin is chosen, and its cost
    stated, on queries whose weights were fitted to others (5-fold cross-validation).

    Args:
        samples: 20 queries or more.
        top: Texts kept of each.
        lost: Mean share of them that may be missed; upper end of the interval.

    Raises:
        InvalidInputError: There are too few queries.
    """
    if len(samples) < _LEAST_QUERIES:
        raise InvalidInputError(
            f"Expected {_LEAST_QUERIES} or more queries that find enough passages to fit a cascade to, got "
            f"{len(samples)}: give more queries and passages, or fewer candidates."
        )
    held_out = _held_out_estimates(samples)
    spread = float(np.std([value for sample in samples for value in sample.logits - sample.logits.mean()]))
    margins = np.linspace(0.0, 3.0 * spread, _STEPS)
    # The last one is taken where none is good enough: its cost is stated all the same.
    for margin in margins:
        found = [
            _cost(sample, estimates, top, float(margin)) for sample, estimates in zip(samples, held_out, strict=True)
        ]
        missed, scored = np.asarray(found).T
        high = float(missed.mean() + 2.0 * missed.std(ddof=1) / np.sqrt(len(missed)))
        if high <= lost:
            break
    settings = CascadeSettings(weights=tuple(_weights(samples).tolist()), margin=float(margin))
    return CascadeFit(
        settings=settings,
        queries=len(samples),
        top=top,
        lost=float(missed.mean()),
        lost_high=high,
        scored=float(scored.mean()),
    )


def _held_out_estimates(samples: Sequence[Sample]) -> list[NDArray[np.float64]]:
    weights = [
        _weights([sample for row, sample in enumerate(samples) if row % _FOLDS != fold]) for fold in range(_FOLDS)
    ]
    return [sample.features @ weights[row % _FOLDS] for row, sample in enumerate(samples)]


def _weights(samples: Sequence[Sample]) -> NDArray[np.float64]:
    features = np.concatenate([sample.features - sample.features.mean(0) for sample in samples])
    logits = np.concatenate([sample.logits - sample.logits.mean() for sample in samples])
    gram = features.T @ features
    gram[np.diag_indices(len(gram))] += _RIDGE * len(features)
    return np.linalg.solve(gram, features.T @ logits)


def _cost(sample: Sample, estimates: NDArray[np.float64], top: int, margin: float) -> tuple[float, float]:
    """Return the share of the top that is missed, and the share of the texts that is scored."""
    found = select(estimates, top, margin, lambda rows: [float(sample.logits[row]) for row in rows], float)
    best = np.argsort(-sample.logits, kind="stable")[:top].tolist()
    return sum(row not in found for row in best) / max(len(best), 1), len(found) / max(len(estimates), 1)


def samples_of(
    encoder: CrossEncoder, queries: Sequence[str], documents: Sequence[str], *, candidates: int = 100
) -> Iterator[Sample]:
    """Yield what `fit_cascade` needs: each query with its first documents by BM25, as both passes see them.

    Args:
        encoder: The model.
        queries: Like those to come.
        documents: Like those to come, some thousands; each is scored for the queries that find it.
        candidates: Documents of a query.
    """
    index, first = BM25Index(list(documents)), shared_first_pass()
    for query in queries:
        texts = [documents[row] for row, _ in index.search(query, candidates)]
        if len(texts) == candidates:
            yield Sample(first.features(query, texts), encoder.score(query, texts))


def manifest_path(folder: Path) -> Path:
    """Return where a model folder keeps a cascade.

    Raises:
        InvalidInputError: The folder has no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InvalidInputError(
            f"Expected {MANIFEST} in {str(folder)!r} to keep the cascade in, found none: export the model with "
            "`semantic-ranker export` first."
        )
    return path


def store_cascade(folder: Path, fit: CascadeFit) -> None:
    """Put a fitted cascade into the manifest of a model folder.

    Raises:
        InvalidInputError: The folder has no manifest.
        StorageError: The manifest cannot be written.
    """
    path = manifest_path(folder)
    manifest = json.loads(path.read_bytes()) | {KEY: fit.to_dict()}
    write_atomically(path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
