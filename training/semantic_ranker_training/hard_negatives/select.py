"""Chooses the negatives of one query from its ranked candidates. Scores nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.fusion import fuse_rrf
from semantic_ranker_training.data.duplicates import DuplicateChecker, normalized
from semantic_ranker_training.hard_negatives.config import MiningConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What the retrievers found for one query.

    Attributes:
        positives: Rows of the judged positives; empty when none are known.
        bm25: Score by row, best first; empty without BM25.
        dense: The same of the dense retriever.
        dense_of: Dense score of every row that occurs, or None without the dense retriever.
    """

    positives: tuple[int, ...]
    bm25: dict[int, float]
    dense: dict[int, float]
    dense_of: dict[int, float] | None

    def fused(self) -> list[int]:
        """Return the rows by reciprocal rank fusion, best first."""
        runs = [
            {"q": {f"{row:012d}": score for row, score in found.items()}} for found in (self.bm25, self.dense) if found
        ]
        return [int(document) for document in fuse_rrf(runs)["q"]] if runs else []


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidates that passed every filter.

    Attributes:
        hard: Rows, best first, inside the rank window.
        rank: Fused rank of each row, from 1.
        limit: Highest dense score that was allowed, or None.
        dropped: How many each filter dropped.
    """

    hard: list[int]
    rank: dict[int, int]
    limit: float | None
    dropped: Counter[str] = field(default_factory=Counter)


def admissible(candidates: Candidates, documents: Sequence[str], config: MiningConfig) -> Choice:
    """Apply the filters that need no teacher: judged, duplicates, too close to the positive, rank window."""
    ranked = candidates.fused()
    rank = {row: place for place, row in enumerate(ranked, start=1)}
    positives = set(candidates.positives)
    # Nothing is known to be relevant: the best candidate stands in for the positive, and is never a negative.
    reference = positives or set(ranked[:1])
    checker = DuplicateChecker([documents[row] for row in sorted(reference)], config.near_duplicate)
    limit = _limit(candidates, reference, config)
    choice = Choice([], rank, limit)
    for row in ranked:
        reason = _reason(row, candidates, reference, positives, checker, limit, documents)
        if not reason and not config.first_rank <= rank[row] <= config.last_rank:
            reason = "rank_window"
        if reason:
            choice.dropped[reason] += 1
            continue
        choice.hard.append(row)
        checker.add(documents[row])
    return choice


def pick(
    choice: Choice,
    candidates: Candidates,
    documents: Sequence[str],
    config: MiningConfig,
    generator: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """Return the rows of the hard and of the random negatives.

    Where hard ones are lacking, random ones take their place, which their provenance says.
    """
    wanted = config.negatives - config.random
    hard = choice.hard
    if config.pick == "sample" and len(hard) > wanted:
        chosen = generator.choice(len(hard), wanted, replace=False)
        hard = [hard[place] for place in sorted(chosen)]
    hard = hard[:wanted]
    taken = {normalized(documents[row]) for row in (*hard, *candidates.positives)}
    banned = {*candidates.positives, *choice.rank}
    return hard, _random_rows(config.negatives - len(hard), documents, banned, taken, generator)


def provenance(
    row: int, kind: str, candidates: Candidates, choice: Choice, config: MiningConfig, teacher: float | None
) -> dict[str, Any]:
    """Return what is known of one text of a group: who found it, where, with which scores, and why it is there."""
    found: dict[str, Any] = {"kind": kind, "row": row}
    for name, scores in (("bm25", candidates.bm25), ("dense", candidates.dense)):
        if row in scores:
            found[f"{name}_rank"] = 1 + list(scores).index(row)
            found[f"{name}_score"] = round(float(scores[row]), 5)
    if candidates.dense_of is not None and row in candidates.dense_of:
        found["dense_score"] = round(float(candidates.dense_of[row]), 5)
    if row in choice.rank:
        found["rank"] = choice.rank[row]
    if teacher is not None:
        found["teacher_score"] = round(teacher, 5)
    found["why"] = _why(kind, row, choice, config)
    return found


def _limit(candidates: Candidates, reference: set[int], config: MiningConfig) -> float | None:
    if config.score_ratio is None or candidates.dense_of is None or not reference:
        return None
    lowest = min(candidates.dense_of[row] for row in reference)
    # A ratio of a negative score would lie above it.
    return lowest - (1 - config.score_ratio) * abs(lowest)


def _reason(
    row: int,
    candidates: Candidates,
    reference: set[int],
    positives: set[int],
    checker: DuplicateChecker,
    limit: float | None,
    documents: Sequence[str],
) -> str:
    if row in positives:
        return "judged"
    if row in reference:
        return "stand_in"
    if limit is not None and candidates.dense_of is not None and candidates.dense_of[row] > limit:
        return "too_close"
    return checker.reason(documents[row])


def _random_rows(
    count: int, documents: Sequence[str], banned: set[int], taken: set[str], generator: np.random.Generator
) -> list[int]:
    rows: list[int] = []
    # More than are wanted, because some are banned or repeat each other; never more than there are.
    most = min(len(documents), 4 * count + len(banned) + 20)
    draws: NDArray[np.int64] = generator.choice(len(documents), most, replace=False)
    for row in map(int, draws):
        if len(rows) == count:
            break
        words = normalized(documents[row])
        if row not in banned and words not in taken:
            rows.append(row)
            taken.add(words)
    return rows


def _why(kind: str, row: int, choice: Choice, config: MiningConfig) -> str:
    if kind == "positive":
        return "judged relevant"
    if kind == "random":
        return "drawn from all documents"
    window = f"rank {choice.rank[row]} in {config.first_rank}-{config.last_rank}"
    return window if choice.limit is None else f"{window}, dense score at most {choice.limit:.5f}"


def merged_positives(queries: Sequence[str], positives: Mapping[int, Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the positives of each query, with those of every query of the same words: they answer it too."""
    of_words: dict[str, dict[int, None]] = {}
    for index, rows in positives.items():
        of_words.setdefault(normalized(queries[index]), {}).update(dict.fromkeys(rows))
    return [
        tuple(dict.fromkeys([*positives.get(index, ()), *of_words.get(normalized(query), {})]))
        for index, query in enumerate(queries)
    ]
