"""Scores of a teacher: any model that scores pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from semantic_ranker.errors import InvalidInputError, NonFiniteScoreError, ScoreCountError


def score_lists(teacher: Any, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> list[list[float]]:
    """Return a teacher's score of each text for its query.

    Args:
        teacher: With ``score_many(queries, texts_per_query)`` as `semantic_ranker.CrossEncoder`, with
            ``predict(pairs)`` as sentence-transformers' ``CrossEncoder``, or a function of pairs.
        queries: The questions.
        texts: The texts of each.

    Raises:
        InvalidInputError: The teacher has no such verb.
        ScoreCountError: It gives another number of scores than there are texts.
        NonFiniteScoreError: It gives NaN or infinity.
    """
    if hasattr(teacher, "score_many"):
        found = [list(map(float, scores)) for scores in teacher.score_many(list(queries), [list(of) for of in texts])]
    else:
        found = _of_pairs(teacher, queries, texts)
    if [len(scores) for scores in found] != [len(of) for of in texts]:
        raise ScoreCountError("Expected the teacher to give one score a text, got another number.")
    if not all(math.isfinite(score) for scores in found for score in scores):
        raise NonFiniteScoreError("Expected finite scores of the teacher, got NaN or infinity.")
    return found


def _of_pairs(teacher: Any, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> list[list[float]]:
    predict = getattr(teacher, "predict", teacher)
    if not callable(predict):
        raise InvalidInputError(f"Expected a teacher with score_many or predict, got {type(teacher).__name__}.")
    pairs = [(query, text) for query, of in zip(queries, texts, strict=True) for text in of]
    scores = [float(score) for score in (predict(pairs) if pairs else [])]
    if len(scores) != len(pairs):
        raise ScoreCountError(f"Expected {len(pairs)} scores of the teacher, got {len(scores)}.")
    given = iter(scores)
    return [[next(given) for _ in of] for of in texts]
