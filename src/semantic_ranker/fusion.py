"""Fusion of runs: several rankings of the same queries into one. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.evaluation.metrics import Run, rank_documents


def fuse_rrf(runs: Sequence[Run], k: float = 60) -> dict[str, dict[str, float]]:
    """Fuse by reciprocal ranks: a document scores the sum of ``1 / (k + rank)``, ranks from 1.

    Only ranks count, so runs on any scale can be fused. A run that lacks a document or a query adds nothing to it.
    Equal scores inside a run are ranked by document id; the result does not depend on insertion order.

    Args:
        runs: Scores by query id, then document id.
        k: How much the top ranks are flattened.

    Returns:
        The fused run, best document first, for every query of any run.

    Raises:
        InvalidInputError: There are no runs, ``k`` is negative, or a score is not finite.
    """
    _check_runs(runs)
    if not k >= 0:
        raise InvalidInputError(f"Expected k to be 0 or more, got {k!r}.")
    parts = [
        {
            qid: {document: 1.0 / (k + rank) for rank, document in enumerate(rank_documents(scores), start=1)}
            for qid, scores in run.items()
        }
        for run in runs
    ]
    return _add(parts, [dict.fromkeys(part, 0.0) for part in parts])


def fuse_weighted(runs: Sequence[Run], weights: Sequence[float]) -> dict[str, dict[str, float]]:
    """Fuse by a weighted sum of scores, after each run's scores of each query became z-scores.

    A document that a run lacks gets the lowest z-score of that run and query: it ranks with the last one found. A
    run without any document for a query adds nothing, nor does one whose scores are all equal.

    Args:
        runs: Scores by query id, then document id.
        weights: One a run, finite, 0 or more and not all 0.

    Returns:
        The fused run, best document first, for every query of any run.

    Raises:
        InvalidInputError: There are no runs, the weights do not fit, or a score is not finite.
    """
    _check_runs(runs)
    if len(weights) != len(runs):
        raise InvalidInputError(f"Expected one weight a run ({len(runs)}), got {len(weights)}.")
    if not np.isfinite(weights).all() or min(weights) < 0 or not any(weights):
        raise InvalidInputError(f"Expected finite weights of 0 or more, one of them above 0, got {list(weights)}.")
    parts = [
        {qid: _z_scores(dict(scores), weight) for qid, scores in run.items()}
        for run, weight in zip(runs, weights, strict=True)
    ]
    lowest = [{qid: min(scores.values(), default=0.0) for qid, scores in part.items()} for part in parts]
    return _add(parts, lowest)


def _z_scores(scores: dict[str, float], weight: float) -> dict[str, float]:
    # In sorted order, so that rounding does not depend on insertion order.
    values = np.array(sorted(scores.values()), dtype=np.float64)
    spread = float(values.std()) if len(values) else 0.0
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0))):
        return dict.fromkeys(scores, 0.0)
    mean = float(values.mean())
    return {document: weight * (score - mean) / spread for document, score in scores.items()}


def _add(parts: Sequence[Run], absent: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    fused: dict[str, dict[str, float]] = {}
    for qid in dict.fromkeys(qid for part in parts for qid in part):
        present = [(part[qid], lacking[qid]) for part, lacking in zip(parts, absent, strict=True) if qid in part]
        documents = {document for scores, _ in present for document in scores}
        total = {document: sum(scores.get(document, lacking) for scores, lacking in present) for document in documents}
        fused[qid] = {document: float(total[document]) for document in rank_documents(total)}
    return fused


def _check_runs(runs: Sequence[Run]) -> None:
    if not runs:
        raise InvalidInputError("Expected at least one run, got none.")
    for index, run in enumerate(runs):
        for qid, scores in run.items():
            for document, score in scores.items():
                if not np.isfinite(score):
                    raise InvalidInputError(
                        f"Expected finite scores, got {score} in run {index}, query {qid!r}, document {document!r}.",
                        index,
                    )
