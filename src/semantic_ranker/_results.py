"""From scores to what `CrossEncoder.rank` returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.ranking import RankedText, order
from semantic_ranker.sources import drawn_to_sources

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker._engine import Scored

Relevance = Callable[["ArrayLike"], "NDArray[np.float64]"]
"""From logits to relevance."""


def ranked(
    texts: Sequence[str],
    kept: Sequence[tuple[int, Scored]],
    relevance: Relevance,
    top_k: int | None,
    sources: Sequence[Hashable] | None = None,
    source_weight: float = 0.0,
) -> list[RankedText]:
    """Return scored texts, best first; ties keep their input order.

    Args:
        texts: The caller's.
        kept: Positions and scores of those that were scored, in input order.
        relevance: See `CrossEncoder.relevance`.
        top_k: How many to keep; None keeps all.
        sources: The document of each of the caller's texts, or None.
        source_weight: See `drawn_to_sources`.
    """
    if not kept:
        return []
    logits = np.asarray([item.logit for _, item in kept], dtype=np.float32)
    if sources is not None and source_weight:
        logits = drawn_to_sources(logits, [sources[index] for index, _ in kept], source_weight)
    values = relevance(logits)
    return [
        RankedText(
            index=kept[place][0],
            text=texts[kept[place][0]],
            logit=kept[place][1].logit,
            relevance_score=float(values[place]),
            truncated=kept[place][1].truncated,
            span=kept[place][1].span,
        )
        for place in order(logits, top_k)
    ]


def unranked(
    texts: Sequence[str], kept: Sequence[int], relevance: Relevance, top_k: int | None, reason: str
) -> list[RankedText]:
    """Return texts in the order in which they came, unscored, with the reason.

    Args:
        texts: The caller's.
        kept: Positions of those that are not left out.
        relevance: As for `ranked`.
        top_k: How many to keep; None keeps all.
        reason: For ``degraded``.
    """
    # Descending, so that whoever sorts by score keeps the order too.
    logits = -np.arange(len(texts), dtype=np.float32)
    values = relevance(logits)
    return [
        RankedText(
            index=index,
            text=texts[index],
            logit=float(logits[index]),
            relevance_score=float(values[index]),
            truncated=False,
            span=None,
            degraded=reason,
        )
        for index in kept
    ][:top_k]
