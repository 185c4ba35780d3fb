"""Leaves out pairs that teach the wrong thing: repeated, ambiguous, too literal, or not found by search."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from semantic_ranker import BM25Index
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.duplicates import normalized
from semantic_ranker_training.hard_negatives.dense import DenseIndex, as_embedder
from semantic_ranker_training.prepare.strategies import Pair
from semantic_ranker_training.prepare.text import leaks, overlap

_AT_ONCE = 256


def without_leaks(pairs: Sequence[Pair], dropped: Counter[str]) -> list[Pair]:
    """Leave out pairs whose passage still has the query's words as one run."""
    return _kept(pairs, [leaks(pair.query, pair.positive) for pair in pairs], "query_in_positive", dropped)


def distinct(pairs: Sequence[Pair], dropped: Counter[str], most_positives: int = 2) -> list[Pair]:
    """Leave out repeated pairs, and queries that belong to more than so many passages: they name none."""
    passages: dict[str, dict[str, None]] = {}
    first: list[bool] = []
    for pair in pairs:
        of = passages.setdefault(normalized(pair.query), {})
        text = normalized(pair.positive)
        first.append(text in of)
        of[text] = None
    kept = _kept(pairs, first, "repeated", dropped)
    return _kept(kept, [len(passages[normalized(pair.query)]) > most_positives for pair in kept], "ambiguous", dropped)


def not_literal(pairs: Sequence[Pair], most: float, dropped: Counter[str]) -> list[Pair]:
    """Leave out pairs of which the passage has more than this share of the query's words."""
    return _kept(pairs, [overlap(pair.query, pair.positive) > most for pair in pairs], "token_overlap", dropped)


def consistent(
    pairs: Sequence[Pair], within: int, dropped: Counter[str], *, embedder: Any = None, language: str = "english"
) -> list[Pair]:
    """Leave out pairs whose passage is not among the first ``within`` that a search of all passages finds.

    Args:
        pairs: The pairs.
        within: First ranks that count; equal scores rank in input order.
        dropped: Gets the count.
        embedder: A model for `as_embedder`: a pair stays if BM25 or it finds the passage; None searches by BM25 only.
        language: Snowball stemmer of BM25.

    Raises:
        InvalidInputError: ``within`` is not 1 or more.
    """
    if within < 1:
        raise InvalidInputError(f"Expected a rank of 1 or more for the consistency filter, got {within}.")
    texts = list(dict.fromkeys(pair.positive for pair in pairs))
    rows = {text: row for row, text in enumerate(texts)}
    index = BM25Index(texts, language=language)
    lost: list[bool] = []
    for start in tqdm(range(0, len(pairs), _AT_ONCE), desc="consistency", unit="batch", disable=None, delay=2):
        batch = pairs[start : start + _AT_ONCE]
        for pair, found in zip(batch, index.search_many([pair.query for pair in batch], within), strict=True):
            lost.append(rows[pair.positive] not in {row for row, _ in found})
    if embedder is not None and any(lost):
        again = [place for place, gone in enumerate(lost) if gone]
        for place, gone in zip(
            again, _lost_to(embedder, [pairs[place] for place in again], texts, within), strict=True
        ):
            lost[place] = gone
    return _kept(pairs, lost, "inconsistent", dropped)


def _lost_to(embedder: Any, pairs: Sequence[Pair], texts: list[str], within: int) -> list[bool]:
    lost: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        index = DenseIndex(as_embedder(embedder), texts, Path(folder), 4096)
        for start in range(0, len(pairs), _AT_ONCE):
            batch = pairs[start : start + _AT_ONCE]
            found, _ = index.search(index.embed([pair.query for pair in batch]), within)
            lost += [pair.positive not in {texts[row] for row in of} for pair, of in zip(batch, found, strict=True)]
    return lost


def _kept(pairs: Sequence[Pair], out: Sequence[bool], reason: str, dropped: Counter[str]) -> list[Pair]:
    if count := sum(map(bool, out)):
        dropped[reason] += count
    return [pair for pair, gone in zip(pairs, out, strict=True) if not gone]
