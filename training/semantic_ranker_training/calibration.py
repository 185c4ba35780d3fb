"""Fits ``relevance = sigmoid(scale * logit + bias)`` (Platt 1999) on held-out groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 50


def fit_platt(logits: NDArray[np.float32], relevant: NDArray[np.bool_]) -> tuple[float, float]:
    """Return ``(scale, bias)`` that minimise the log loss, both classes weighing the same.

    With equal weights a relevance of 0.5 is the logit that is as likely for a relevant as for another text,
    whatever the share of relevant texts in a candidate list.

    Args:
        logits: float32 (n,).
        relevant: bool (n,).

    Raises:
        InvalidInputError: One of the classes is empty.
    """
    count = int(relevant.sum())
    _check_classes(count, len(relevant))
    centre, spread = float(logits.mean()), float(logits.std()) + 1e-9
    x = np.stack([(logits - centre) / spread, np.ones_like(logits)], 1).astype(np.float64)
    weight = np.where(relevant, 0.5 / count, 0.5 / (len(relevant) - count))
    # Newton's method on a convex loss of two unknowns, with Platt's smoothed targets.
    target = np.where(relevant, (count + 1) / (count + 2), 1 / (len(relevant) - count + 2))
    theta = np.zeros(2)
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-x @ theta))
        gradient = x.T @ (weight * (p - target))
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        theta -= np.linalg.solve(hessian, gradient)
    scale = float(theta[0] / spread)
    return scale, float(theta[1] - scale * centre)


def fit_temperature(logits: NDArray[np.float32], relevant: NDArray[np.bool_]) -> float:
    """Return the ``scale`` of ``sigmoid(scale * logit)`` that minimises the log loss (Guo et al. 2017).

    Both classes weigh the same, as in `fit_platt`. A logit of 0 stays a relevance of 0.5.

    Args:
        logits: float32 (n,).
        relevant: bool (n,).

    Raises:
        InvalidInputError: One of the classes is empty.
    """
    count = int(relevant.sum())
    _check_classes(count, len(relevant))
    spread = float(np.abs(logits).max()) + 1e-9
    x = logits.astype(np.float64) / spread
    weight = np.where(relevant, 0.5 / count, 0.5 / (len(relevant) - count))
    target = np.where(relevant, (count + 1) / (count + 2), 1 / (len(relevant) - count + 2))
    scale = 0.0
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-scale * x))
        scale -= float(x @ (weight * (p - target))) / (float((x * x) @ (weight * p * (1 - p))) + 1e-9)
    return scale / spread


def _check_classes(count: int, texts: int) -> None:
    if count in (0, texts):
        raise InvalidInputError(f"Expected relevant and other texts to calibrate on, got {count} of {texts} relevant.")
