"""The figures of a feedback log: resolution, precision by intent, response time, answers out of context."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from semantic_ranker.feedback.records import Interaction, stamp

_Z = 1.959963984540054  # of a 95 % interval
_UNKNOWN = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share with its 95 % interval.

    Attributes:
        count: How many.
        of: Out of how many.
        value: ``count / of``, None when there are none.
        low: Lower end of Wilson's score interval (Wilson, 1927), 0 when there are none.
        high: Upper end, 1 when there are none.
    """

    count: int
    of: int
    value: float | None
    low: float
    high: float

    @classmethod
    def make(cls, count: int, of: int) -> Share:
        """Return the share of ``count`` in ``of``."""
        if of == 0:
            return cls(count=0, of=0, value=None, low=0.0, high=1.0)
        p, square = count / of, _Z**2
        middle = (p + square / (2 * of)) / (1 + square / of)
        half = _Z / (1 + square / of) * math.sqrt(p * (1 - p) / of + square / (4 * of**2))
        return cls(count=count, of=of, value=p, low=max(0.0, middle - half), high=min(1.0, middle + half))


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Response times of a stage, in milliseconds.

    Attributes:
        count: How many were timed.
        p50: Half were as fast or faster.
        p95: 95 % were.
        p99: 99 % were.
    """

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentMetrics:
    """What one intent came to.

    Attributes:
        interactions: How many had it.
        precision: Share of relevant ones among the judged documents that were shown.
        resolution: Share of resolved ones among the interactions of which it is known.
    """

    interactions: int
    precision: Share
    resolution: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackMetrics:
    """Everything that `measure` finds; shares go over the interactions of which the answer is known.

    Attributes:
        interactions: How many there were.
        first: Time of the first, ISO 8601, None without any.
        last: Time of the last.
        reviewed: Share of interactions with a review.
        resolution: Automatic resolution: settled without a person's help.
        out_of_context: Answers that say what the documents do not.
        precision: Relevant ones among the judged documents that were shown.
        by_intent: The same by intent, largest first; ``(none)`` is for interactions without one.
        latency: By stage; ``total`` is what the user waited.
        cache: Embeddings that a cache had.
        degraded: Interactions in which a stage failed.
    """

    interactions: int
    first: str | None
    last: str | None
    reviewed: Share
    resolution: Share
    out_of_context: Share
    precision: Share
    by_intent: dict[str, IntentMetrics]
    latency: dict[str, Percentiles]
    cache: Share
    degraded: Share

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    interactions: int = 0
    reviewed: int = 0
    resolved: int = 0
    resolution_known: int = 0
    outside: int = 0
    context_known: int = 0
    relevant: int = 0
    judged: int = 0
    hits: int = 0
    looked_up: int = 0
    degraded: int = 0
    times_ms: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))

    def add(self, item: Interaction) -> None:
        review = item.review
        shown = {document.id for document in item.retrieved}
        self.interactions += 1
        self.reviewed += not review.is_empty
        self.resolved += review.resolved is True
        self.resolution_known += review.resolved is not None
        self.outside += review.out_of_context is True
        self.context_known += review.out_of_context is not None
        # What a reviewer adds from elsewhere says nothing of what was shown.
        self.relevant += len(shown & set(review.relevant))
        self.judged += len(shown & {*review.relevant, *review.irrelevant})
        self.hits += item.cache_hits
        self.looked_up += item.cache_hits + item.cache_misses
        self.degraded += item.degraded

    def add_times(self, item: Interaction) -> None:
        if item.total_ms is not None:
            for stage, value in {**item.latency_ms, "total": item.total_ms}.items():
                self.times_ms[stage].append(value)


def measure(interactions: Iterable[Interaction]) -> FeedbackMetrics:
    """Return the figures of a log; keeps no more of it in memory than its times.

    Args:
        interactions: In any order, such as ``FeedbackLog(path).read()``.
    """
    total, intents = _Tally(), defaultdict[str, _Tally](_Tally)
    first: datetime | None = None
    last: datetime | None = None
    for item in interactions:
        total.add(item)
        total.add_times(item)
        intents[item.intent or _UNKNOWN].add(item)
        first, last = min(first or item.time, item.time), max(last or item.time, item.time)
    ordered = sorted(intents.items(), key=lambda pair: (-pair[1].interactions, pair[0]))
    return FeedbackMetrics(
        interactions=total.interactions,
        first=stamp(first) if first else None,
        last=stamp(last) if last else None,
        reviewed=Share.make(total.reviewed, total.interactions),
        resolution=Share.make(total.resolved, total.resolution_known),
        out_of_context=Share.make(total.outside, total.context_known),
        precision=Share.make(total.relevant, total.judged),
        by_intent={name: _intent(tally) for name, tally in ordered},
        latency={stage: _percentiles(values) for stage, values in total.times_ms.items()},
        cache=Share.make(total.hits, total.looked_up),
        degraded=Share.make(total.degraded, total.interactions),
    )


def _intent(tally: _Tally) -> IntentMetrics:
    return IntentMetrics(
        interactions=tally.interactions,
        precision=Share.make(tally.relevant, tally.judged),
        resolution=Share.make(tally.resolved, tally.resolution_known),
    )


def _percentiles(values: array[float]) -> Percentiles:
    p50, p95, p99 = np.percentile(np.frombuffer(values, dtype=np.float64), [50, 95, 99]).tolist()
    return Percentiles(count=len(values), p50=p50, p95=p95, p99=p99)
