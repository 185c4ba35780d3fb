"""Scores of pairs, kept between calls in a `semantic_ranker.cache.TieredCache`: the same question over the same texts.

A score is found by the model's fingerprint, with the options that change a score, the query and the text. It is kept
as four float32: logit, whether the text was cut, and the span of the winning window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from semantic_ranker._engine import Scored
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.ranking import check_finite
from semantic_ranker.spaces import EmbeddingSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBERS = 4
_NO_SPAN = -1.0
Pair = tuple[str, str]
Compute = Callable[[list[str], list[list[str]]], list[list[Scored]]]
"""Scores the texts of each query."""


class PairCache(Protocol):
    """What is needed of a cache; `semantic_ranker.cache.TieredCache` with ``codec="fp32"`` is one."""

    def get_or_compute(
        self, space: EmbeddingSpace, role: Any, texts: Sequence[str], compute: Callable[[list[str]], Any]
    ) -> NDArray[np.float32]:
        """Return float32 (n, dim) of texts, computing what is nowhere kept."""


def checked_cache(cache: Any) -> PairCache | None:
    """Return a caller's cache, None stays None.

    Raises:
        InvalidInputError: It is no cache, or one whose codec would round logits.
    """
    if cache is not None and not callable(getattr(cache, "get_or_compute", None)):
        raise InvalidInputError(f"Expected score_cache to be a TieredCache or None, got {type(cache).__name__}.")
    codec = getattr(cache, "codec", "fp32")
    if codec != "fp32":
        raise InvalidInputError(
            f"Expected a score_cache with codec='fp32', got {codec!r}: it would round logits, and so change the order."
        )
    found: PairCache | None = cache
    return found


def cached_scores(
    cache: PairCache,
    fingerprint: str,
    queries: Sequence[str],
    groups: Sequence[Sequence[str]],
    compute: Compute,
) -> list[list[Scored]]:
    """Return one `Scored` a text, computing those that are nowhere kept.

    Args:
        cache: Where they are kept.
        fingerprint: Of the model and the options that change a score.
        queries: The questions.
        groups: The texts of each.
        compute: Scores what is missing; called once at most, with each missing pair once.

    Raises:
        NonFiniteScoreError: The model gave NaN or infinity; nothing of that call is kept.
    """
    space = EmbeddingSpace(
        model="pair scores", weights=fingerprint, tokenizer="", dim=_NUMBERS, pooling="pair", normalize=False
    )
    pairs = {_name(query, text): (query, text) for query, texts in zip(queries, groups, strict=True) for text in texts}

    def missing(names: list[str]) -> NDArray[np.float32]:
        return _computed([pairs[name] for name in names], compute)

    names = [_name(query, text) for query, texts in zip(queries, groups, strict=True) for text in texts]
    rows = iter(cache.get_or_compute(space, "d", names, missing).tolist()) if names else iter(())
    return [[_scored(next(rows)) for _ in texts] for texts in groups]


def _computed(pairs: Sequence[Pair], compute: Compute) -> NDArray[np.float32]:
    by_query: dict[str, list[int]] = {}
    for row, (query, _) in enumerate(pairs):
        by_query.setdefault(query, []).append(row)
    found = compute(list(by_query), [[pairs[row][1] for row in rows] for rows in by_query.values()])
    values = np.empty((len(pairs), _NUMBERS), np.float32)
    for rows, scored in zip(by_query.values(), found, strict=True):
        for row, item in zip(rows, scored, strict=True):
            values[row] = (item.logit, item.truncated, *(item.span or (_NO_SPAN, _NO_SPAN)))
    check_finite(values[:, 0])
    return values


def _scored(row: list[float]) -> Scored:
    logit, truncated, begin, end = row
    return Scored(logit, bool(truncated), None if begin == _NO_SPAN else (int(begin), int(end)))


def _name(query: str, text: str) -> str:
    # The length keeps "a" + "bc" and "ab" + "c" apart.
    return f"{len(query)} {query}{text}"
