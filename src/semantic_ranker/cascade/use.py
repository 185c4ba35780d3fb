"""One query through a model's cascade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from semantic_ranker.cascade.first_pass import shared_first_pass
from semantic_ranker.cascade.selection import select
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker._engine import Scored, Scorer


def cascaded(
    engine: Scorer,
    query: str,
    texts: Sequence[str],
    top: int,
    score: Callable[[Sequence[int]], Sequence[Scored | None]],
) -> dict[int, Scored | None]:
    """Return what the model says of the texts that can enter the top, by position.

    Args:
        engine: The open model, for its settings.
        query: The question.
        texts: More than ``top``.
        top: How many will be kept.
        score: Scores the texts at some positions.

    Raises:
        InvalidInputError: No cascade was fitted to the model.
    """
    settings = engine.cascade
    if settings is None:
        raise InvalidInputError(
            f"Expected a model with a fitted cascade for mode='cascade', {engine.settings.name} has none: fit one with "
            "`semantic-ranker cascade FOLDER --data PAIRS`, or use mode='full'."
        )
    estimates = settings.estimates(shared_first_pass().features(query, texts))
    return select(estimates, top, settings.margin, score, lambda item: item.logit if item else float("-inf"))
