"""A feedback log by days: what the monitor keeps of each, and the nDCG of what users or a judged set judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.feedback.export import query_id
from semantic_ranker.feedback.records import Interaction

if TYPE_CHECKING:
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[Any]"]
"""From texts to float (n, dim), such as `Embedder.embed_queries` or `hashed_words`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of traffic.

    Attributes:
        date: The day, in UTC.
        interactions: How many there were.
        ndcg: nDCG@10 of each interaction that can be judged.
        top_scores: Best score of each interaction with results, float64 (n,).
        queries: Embedded queries, float32 (interactions, dim).
        documents: How often each document was shown.
        cache_hits: Embeddings that a cache had.
        cache_misses: Embeddings that had to be computed.
        latency_p95_ms: What 95 % of the users waited at most, None when nothing was timed.
    """

    date: date
    interactions: int
    ndcg: tuple[float, ...] = ()
    top_scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    queries: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    documents: Mapping[str, int] = field(default_factory=dict)
    cache_hits: int = 0
    cache_misses: int = 0
    latency_p95_ms: float | None = None


def by_day(
    interactions: Iterable[Interaction], embed: Embed, judged: Mapping[str, Mapping[str, int]] | None = None
) -> list[Day]:
    """Return the days of a log, earliest first, empty ones left out.

    An interaction can be judged where its query is in ``judged`` or a reviewer called one of the documents relevant,
    or all that were shown irrelevant (then its nDCG is 0). Reviewed traffic is not all traffic: where users review
    what annoys them, the figure is too low, but its change still counts.

    Args:
        interactions: In any order.
        embed: Turns queries into vectors; each different query is embedded once.
        judged: Grades by query text, then document id; a review's word comes first.

    Raises:
        InvalidInputError: ``embed`` gives no finite vector a text.
    """
    by_date: dict[date, list[Interaction]] = {}
    for item in interactions:
        by_date.setdefault(item.time.astimezone(UTC).date(), []).append(item)
    items = [item for day in sorted(by_date) for item in by_date[day]]
    known = {query_id(query): grades for query, grades in (judged or {}).items()}
    ndcg = _ndcg(items, known)
    vectors = _embedded(items, embed)
    days, start = [], 0
    for day in sorted(by_date):
        end = start + len(by_date[day])
        values = tuple(ndcg[place] for place in range(start, end) if place in ndcg)
        days.append(_day(day, by_date[day], values, vectors[start:end]))
        start = end
    return days


def between(days: Sequence[Day], first: date, count: int) -> list[Day]:
    """Return the days of a period of ``count`` days, without those that have no traffic."""
    return [day for day in days if first <= day.date < first + timedelta(days=count)]


def start_of(day: date) -> datetime:
    """Return the beginning of a day, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(day: date, items: list[Interaction], ndcg: tuple[float, ...], vectors: NDArray[np.float32]) -> Day:
    shown = Counter(document.id for item in items for document in item.retrieved)
    waited = [item.total_ms for item in items if item.total_ms is not None]
    return Day(
        date=day,
        interactions=len(items),
        ndcg=ndcg,
        top_scores=np.array([item.retrieved[0].score for item in items if item.retrieved], dtype=np.float64),
        queries=vectors,
        documents=shown,
        cache_hits=sum(item.cache_hits for item in items),
        cache_misses=sum(item.cache_misses for item in items),
        latency_p95_ms=float(np.percentile(waited, 95)) if waited else None,
    )


def _embedded(items: Sequence[Interaction], embed: Embed) -> NDArray[np.float32]:
    place = {text: row for row, text in enumerate(dict.fromkeys(item.query for item in items))}
    if not place:
        return np.empty((0, 0), dtype=np.float32)
    vectors = np.asarray(embed(list(place)), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(place) or not np.isfinite(vectors).all():
        raise InvalidInputError(
            f"Expected one finite vector for each of {len(place)} queries from the embedder, got shape {vectors.shape}."
        )
    return vectors[[place[item.query] for item in items]]


def _ndcg(items: Sequence[Interaction], judged: Mapping[str, Mapping[str, int]]) -> dict[int, float]:
    from semantic_ranker.evaluation import evaluate

    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    found: dict[int, float] = {}
    for place, item in enumerate(items):
        shown = list(dict.fromkeys(document.id for document in item.retrieved))
        grades = dict(judged.get(query_id(item.query), {})) if judged else {}
        grades |= dict.fromkeys(item.review.relevant, 1) | dict.fromkeys(item.review.irrelevant, 0)
        if any(grade > 0 for grade in grades.values()):
            qrels[str(place)] = grades
            # The order in which they were shown, whatever the scores say.
            run[str(place)] = {document: float(len(shown) - rank) for rank, document in enumerate(shown)}
        elif shown and set(shown) <= set(item.review.irrelevant):
            found[place] = 0.0
    if qrels:
        found.update({int(key): value for key, value in evaluate(run, qrels, "nDCG@10").per_query["nDCG@10"].items()})
    return found
