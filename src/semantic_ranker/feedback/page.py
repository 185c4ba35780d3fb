"""The figures of a feedback log as a page to open in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantic_ranker.feedback.metrics import FeedbackMetrics, Share

if TYPE_CHECKING:
    from semantic_ranker.reports.page import Cell, Page


def metrics_page(metrics: FeedbackMetrics, *, name: str = "feedback log") -> Page:
    """Return resolution, precision by intent, response times and answers out of context as a page.

    Args:
        metrics: What `measure` found.
        name: Of the log, for the title.

    Raises:
        ModuleNotFoundError: The extra ``report`` is not installed.
    """
    from semantic_ranker.reports.page import Page

    period = f"{metrics.first} to {metrics.last}" if metrics.first else "no interactions"
    page = Page(f"Assistant: {name}", f"{metrics.interactions} interactions, {period}")
    page.section("Shares").table(
        ["share", "value", "95 % interval", "of"],
        [
            _row(label, share)
            for label, share in (
                ("reviewed", metrics.reviewed),
                ("automatic resolution", metrics.resolution),
                ("answers out of context", metrics.out_of_context),
                ("precision of what was shown", metrics.precision),
                ("degraded", metrics.degraded),
                ("embeddings from the cache", metrics.cache),
            )
        ],
        "Over the interactions of which it is known.",
    )
    page.section("Intents").table(
        ["intent", "interactions", "precision", "judged", "resolution", "known"],
        [
            [intent, of.interactions, of.precision.value, of.precision.of, of.resolution.value, of.resolution.of]
            for intent, of in metrics.by_intent.items()
        ],
    )
    return page.section("Response times").table(
        ["stage", "P50 ms", "P95 ms", "P99 ms", "timed"],
        [[stage, f"{of.p50:.1f}", f"{of.p95:.1f}", f"{of.p99:.1f}", of.count] for stage, of in metrics.latency.items()],
    )


def _row(label: str, share: Share) -> list[Cell]:
    interval = None if share.value is None else f"{share.low:.3f} to {share.high:.3f}"
    return [label, share.value, interval, share.of]
