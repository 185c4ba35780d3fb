"""Does a relevance score mean what it says: calibration of scores in [0, 1] against judgments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.metrics import Qrels, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How far scores are from the share that is relevant.

    Attributes:
        expected_error: Mean over the texts of the distance, in their bin of equal width, between the mean score and
            the share that is relevant (ECE; Naeini et al. 2015).
        brier: Mean squared distance between score and label (Brier 1950).
        texts: How many.
        relevant: Share of them that is relevant.
        mean_score: Mean of the scores; equal to ``relevant`` when calibrated on the whole.
    """

    expected_error: float
    brier: float
    texts: int
    relevant: float
    mean_score: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return asdict(self)


def measure_reliability(
    probabilities: Sequence[float] | NDArray[np.float64],
    labels: Sequence[float] | NDArray[np.float64],
    *,
    bins: int = 10,
) -> Reliability:
    """Measure the calibration of scores.

    Args:
        probabilities: Scores in [0, 1].
        labels: 1 for relevant, 0 for not, of each.
        bins: Groups of equal width.

    Raises:
        EvaluationError: There are none, their numbers differ, or a score lies outside [0, 1].
    """
    scores, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if not len(scores) or scores.shape != truth.shape or not ((scores >= 0) & (scores <= 1)).all():
        raise EvaluationError(
            f"Expected one label for each score in [0, 1], got {len(scores)} scores and {len(truth)} labels: "
            "calibrate the scores first."
        )
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = np.abs(np.bincount(place, scores - truth, bins))
    return Reliability(
        expected_error=float(gaps.sum() / len(scores)),
        brier=float(((scores - truth) ** 2).mean()),
        texts=len(scores),
        relevant=float(truth.mean()),
        mean_score=float(scores.mean()),
    )


def scores_and_labels(
    run: Run, qrels: Qrels, *, most: int = 200_000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of a run, and 1 for each that belongs to a relevant document; unjudged ones count as not.

    Args:
        run: Scores by query id, then document id.
        qrels: Judgments.
        most: Texts at most: of a larger run, evenly spread queries are taken.

    Returns:
        Two float64 (n,), in the run's order.
    """
    qids = [qid for qid in run if qid in qrels]
    total = sum(len(run[qid]) for qid in qids)
    scores: list[float] = []
    labels: list[float] = []
    for qid in qids[:: max(1, -(-total // most))]:
        scores.extend(run[qid].values())
        labels.extend(float(qrels[qid].get(document, 0) > 0) for document in run[qid])
    return np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
