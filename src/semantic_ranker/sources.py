"""What a passage owes to its document: scores are drawn towards that of the best passage of the same source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_sources(sources: Sequence[Hashable], count: int) -> None:
    """Refuse sources that do not belong to so many texts.

    Raises:
        InvalidInputError: There are more or fewer, or one is not hashable; ``.index`` says which.
    """
    if isinstance(sources, (str, bytes)) or len(sources) != count:
        got = "a string" if isinstance(sources, (str, bytes)) else str(len(sources))
        raise InvalidInputError(f"Expected one source a text ({count}), got {got}.")
    for index, source in enumerate(sources):
        if not isinstance(source, Hashable):
            raise InvalidInputError(
                f"Expected a path or another hashable name as source at {index}, got {type(source).__name__}.", index
            )


def drawn_to_sources(logits: NDArray[np.float32], sources: Sequence[Hashable], weight: float) -> NDArray[np.float32]:
    """Return ``(1 - weight) * logit + weight * (best logit of the same source)``.

    A document is as good as its best passage (MaxP, https://arxiv.org/abs/1905.09217), and a passage is scored by
    itself and by its document (Callan, Passage-Level Evidence in Document Retrieval, SIGIR 1994). The best passage of
    every source keeps its score, so below a weight of 1 the first place never changes.

    Args:
        logits: float32 (n,).
        sources: As many names of documents; None is a passage without one, which keeps its score.
        weight: Between 0 and 1.

    Returns:
        float32 (n,).

    Raises:
        InvalidInputError: See `check_sources`.
    """
    check_sources(sources, len(logits))
    best: dict[Hashable, float] = {}
    for source, logit in zip(sources, logits.tolist(), strict=True):
        if source is not None:
            best[source] = max(logit, best.get(source, logit))
    own = logits.astype(np.float64)
    tops = np.array([top if source is None else best[source] for source, top in zip(sources, own, strict=True)])
    # By the distance, so that a best passage keeps its score to the bit.
    drawn: NDArray[np.float32] = (own + weight * (tops - own)).astype(np.float32) if len(own) else logits
    return drawn


def drawn_run(
    run: Mapping[str, Mapping[str, float]], sources: Mapping[str, Hashable], weight: float
) -> dict[str, dict[str, float]]:
    """Return the run with every query's scores drawn to their sources; documents without one keep theirs."""
    found = {}
    for query, scores in run.items():
        names = list(scores)
        values = np.array(list(scores.values()), dtype=np.float32)
        drawn = drawn_to_sources(values, [sources.get(name) for name in names], weight) if weight else values
        found[query] = dict(zip(names, map(float, drawn), strict=True))
    return found
