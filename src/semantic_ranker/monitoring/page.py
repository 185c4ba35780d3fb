"""What the monitor says, as a page that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semantic_ranker.monitoring.monitor import MonitorReport
    from semantic_ranker.reports import Page


def page_of(report: MonitorReport, *, log: str, embedder: str) -> Page:
    """Return a report as a page.

    Args:
        report: What a look said.
        log: Name of the log.
        embedder: What embedded the queries.

    Raises:
        ModuleNotFoundError: The extra ``report`` is not installed.
    """
    from semantic_ranker.reports import Page

    page = Page(f"Model health: {report.verdict}", f"{log}, {report.window[0]} to {report.window[1]}")
    page.facts(
        {
            "Verdict": report.verdict,
            "Baseline": f"{report.baseline[0]} to {report.baseline[1]}",
            "Interactions in it": report.baseline_interactions,
            "Window": f"{report.window[0]} to {report.window[1]}",
            "Its interactions": report.window_interactions,
            "Queries embedded by": embedder,
        }
    )
    page.section("Reasons")
    for reason in report.reasons or ["No signal is both significant and above its limit."]:
        page.text(reason)
    page.section("Signals")
    page.table(
        ["signal", "says", "change", "limit", "p", "p above limit", "in words"],
        [[s.name, s.state, s.change, s.threshold, s.p_value, s.limit_p_value, s.reason] for s in report.signals],
        "Days are permuted, so that what varies from day to day anyway is no alarm; "
        f"p counts below {report.alpha:.2g}. No p where the change is below its limit and no test is needed. "
        f"A fall of nDCG@10 that is surely above its limit, with a p below {report.watch_alpha:.2g}, says watch before "
        "the permutations can say retrain.",
    )
    return page
