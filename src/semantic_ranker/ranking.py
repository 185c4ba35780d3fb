"""The one ordering rule: descending logits, ties in input order, nothing that is not a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import InvalidInputError, NonFiniteScoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedText:
    """One text after reranking.

    Attributes:
        index: Position in the caller's list.
        text: The caller's text, unchanged.
        logit: The model's raw score of the text by itself; texts are ranked by it where no sources were given.
        relevance_score: Calibrated relevance in [0, 1], a plain float; texts are ranked by what it was made of.
        truncated: Whether part of the text was too long to be read.
        span: Character range of ``text`` that the score stands for, or None where the tokenizer gives no offsets.
        degraded: None, or why nothing was scored: the text has its input place, and its scores say that place only.
    """

    index: int
    text: str
    logit: float
    relevance_score: float
    truncated: bool
    span: tuple[int, int] | None
    degraded: str | None = None


def check_top_k(top_k: object) -> int | None:
    """Return ``top_k`` if it is None or an int of 1 or more.

    Raises:
        InvalidInputError: It is anything else (0, negative, a bool, a float).
    """
    if top_k is None:
        return None
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise InvalidInputError(f"Expected top_k to be None or an int of 1 or more, got {top_k!r}.")
    return int(top_k)


def check_finite(logits: NDArray[np.float32]) -> None:
    """Refuse logits that cannot be ranked.

    Args:
        logits: float32 (n,).

    Raises:
        NonFiniteScoreError: Some are NaN or infinite; ``.indices`` says which.
    """
    bad = np.flatnonzero(~np.isfinite(logits))
    if len(bad):
        raise NonFiniteScoreError(
            f"Expected finite logits, got {logits[bad[0]]} for the text at index {bad[0]} "
            f"({len(bad)} of {len(logits)} are not finite): the model or its export is damaged; export it again.",
            bad.tolist(),
        )


def order(logits: NDArray[np.float32], top_k: int | None = None) -> NDArray[np.intp]:
    """Return the indices of the best logits, best first, ties in input order.

    Args:
        logits: float32 (n,).
        top_k: How many to keep; None keeps all, more than n keeps n.

    Raises:
        NonFiniteScoreError: A logit is NaN or infinite.
        InvalidInputError: ``top_k`` is not None or an int of 1 or more.
    """
    top_k = check_top_k(top_k)
    check_finite(logits)
    return np.argsort(-logits, kind="stable")[:top_k]
