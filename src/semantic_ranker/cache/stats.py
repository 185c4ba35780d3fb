"""What a cache did, in numbers."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStats:
    """Figures of one tier since it was opened; hits and misses count distinct texts of a call.

    Attributes:
        hits: Texts whose vector it had.
        misses: Texts whose vector it did not have, could not give in time, or had damaged.
        corrupt: Values that were damaged, foreign or of another schema; each was deleted.
        evictions: Entries given up for room; 0 for Redis, which counts its own (``semantic-ranker cache stats``).
        entries: Entries held; for Redis, entries written.
        bytes: Bytes held, with overhead; for Redis, bytes written.
        errors: Failures by kind, such as ``timeout``, ``connection``, ``oom``, ``pool``.
    """

    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    evictions: int = 0
    entries: int = 0
    bytes: int = 0
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Figures of a cache since it was opened; ``hits + misses == lookups``.

    Attributes:
        lookups: Texts asked for, each once a call.
        hits: Texts of which nothing had to be computed by the call: held by a tier, or joined.
        misses: Texts that the call had to compute.
        joined: Of the hits, those that another call was computing at that moment.
        zeros: Vectors of length 0 that a model gave; they are similar to nothing.
        memory: Of the tier in this process.
        redis: Of the tier in Redis; None where there is none.
        redis_available: Whether Redis is being asked at present; None where there is none.
    """

    lookups: int = 0
    hits: int = 0
    misses: int = 0
    joined: int = 0
    zeros: int = 0
    memory: TierStats = field(default_factory=TierStats)
    redis: TierStats | None = None
    redis_available: bool | None = None

    @property
    def hit_rate(self) -> float:
        """Share of lookups that were hits; 0.0 before the first."""
        return self.hits / self.lookups if self.lookups else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        return {**asdict(self), "hit_rate": self.hit_rate}


class Tally:
    """Counters that threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, **amounts: int) -> None:
        """Add to counters by name; an error's name is ``error_`` and its kind."""
        with self._lock:
            self._counts.update(amounts)

    def read(self) -> dict[str, int]:
        """Return all counters at one moment."""
        with self._lock:
            return dict(self._counts)
