"""What a server counts, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from semantic_ranker._extras import requires_extra

with requires_extra("server"):
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one server.

    Args:
        taken: Gives how many requests run and wait now.
        limit: How many may.
    """

    def __init__(self, taken: Callable[[], int], limit: int) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "semantic_ranker_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "semantic_ranker_request_seconds",
            "Seconds from a request's arrival to its answer.",
            ("path",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._texts = Counter("semantic_ranker_texts", "Texts ranked or embedded.", ("path",), registry=registry)
        self._degraded = Counter("semantic_ranker_degraded", "Answers second best.", ("path",), registry=registry)
        Gauge("semantic_ranker_in_flight", "Requests running and waiting.", registry=registry).set_function(taken)
        Gauge("semantic_ranker_in_flight_limit", "Most of them before 429.", registry=registry).set(limit)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def computed(self, path: str, texts: int, degraded: bool) -> None:
        """Count what was computed for it."""
        self._texts.labels(path).inc(texts)
        self._degraded.labels(path).inc(int(degraded))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
