"""The report of an evaluation: one page on how good systems are, where they differ, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.evaluation.reliability import measure_reliability, scores_and_labels
from semantic_ranker.evaluation.resampling import show_p
from semantic_ranker.evaluation.significance import Comparison, interval
from semantic_ranker.evaluation.slices import Slice, SliceComparison
from semantic_ranker.reports import plots
from semantic_ranker.reports.page import Cell, Page

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.evaluation.inputs import Measured
    from semantic_ranker.evaluation.metrics import Qrels

SHOWN = 25
"""Queries in each of the tables of the worst and of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a report is made of.

    Attributes:
        data: Name of the collection.
        qrels: Its judgments.
        systems: What was measured; the first is the baseline.
        comparisons: Comparison of the baseline with each other system by name.
        slices: Comparisons by kind of query: by system name, then by what the queries were grouped by.
        queries: Text by query id, as far as it is known.
        history: Log of a training run, or nothing.
    """

    data: str
    qrels: Qrels
    systems: Sequence[Measured]
    comparisons: Mapping[str, Comparison]
    slices: Mapping[str, Mapping[str, SliceComparison]]
    queries: Mapping[str, str]
    history: Sequence[Mapping[str, Any]] = ()


def comparison_page(findings: Findings) -> Page:
    """Return the page.

    Raises:
        ModuleNotFoundError: The extra ``report`` is not installed.
    """
    names = [system.name for system in findings.systems]
    page = Page(
        f"{', '.join(names)} on {findings.data}" if names else f"Training of {findings.data}",
        "Rankings measured as trec_eval measures them, with intervals over queries." if names else "",
    )
    if findings.systems:
        _scores(page, findings)
    for name, found in findings.comparisons.items():
        _differences(page, name, found, findings)
    if findings.systems:
        _distributions(page, findings)
        _reliability(page, findings)
        _latency(page, findings.systems)
    if findings.history:
        page.section("Training")
        page.plot(
            plots.learning_curves(findings.history),
            "Loss, evaluation and learning rate by step.",
            f"Learning curves of a training run of {len(findings.history)} log entries.",
        )
    if findings.systems:
        _method(page, findings)
    return page


def _scores(page: Page, findings: Findings) -> None:
    metric = _first_metric(findings)
    page.section("Scores")
    page.facts({"queries": len(_values(findings.systems[0], metric)), "systems": len(findings.systems)})
    metrics = list(findings.systems[0].evaluation.mean)
    intervals = {
        (system.name, name): interval(system.evaluation.per_query[name])
        for system in findings.systems
        for name in metrics
    }
    rows: list[list[Cell]] = [
        [system.name, name, system.evaluation.mean[name], *intervals[system.name, name]]
        for name in metrics
        for system in findings.systems
    ]
    page.table(["system", "metric", "mean", "low", "high"], rows, "Means, with 95 % bootstrap intervals over queries.")
    page.plot(
        plots.bars_with_intervals(
            {
                system.name: (system.evaluation.mean[metric], *intervals[system.name, metric])
                for system in findings.systems
            },
            xlabel=f"{metric}, 95 % interval",
        ),
        "Intervals of single systems may overlap although their difference is certain: see the paired differences.",
        f"Mean {metric} of each system with its interval.",
    )
    for system in findings.systems:
        if system.rerank is not None:
            _rerank(page, system)


def _rerank(page: Page, system: Measured) -> None:
    report = system.rerank
    if report is None:
        return
    page.table(
        ["metric", "first stage", "reranked", "ceiling", "gain", "low", "high", "p"],
        [
            [m.metric, m.first_stage, m.reranked, m.ceiling, *_signed(m.gain, m.low, m.high), show_p(m.p_value)]
            for m in report.metrics
        ],
        f"{system.name} reranks {round(report.candidates, 1):g} candidates a query ({system.candidates}); "
        "the ceiling is their best order"
        + (", and all relevant documents are among them (closed set)." if report.closed_set else "."),
    )


def _differences(page: Page, name: str, found: Comparison, findings: Findings) -> None:
    base = findings.systems[0].name
    page.section(f"{name} against {base}")
    page.table(
        ["metric", base, name, "difference", "low", "high", "p", "p Holm", "won", "lost"],
        [
            [
                m.metric,
                m.mean_a,
                m.mean_b,
                *_signed(m.difference, m.low, m.high),
                show_p(m.p_value),
                show_p(m.adjusted_p),
                m.won,
                m.lost,
            ]
            for m in found.metrics
        ],
        "Paired by query: 95 % interval, two-sided randomisation test, Holm's correction over what is compared here.",
    )
    first = found.metrics[0]
    page.plot(
        plots.per_query_differences(first.per_query, metric=first.metric, a=base, b=name),
        f"{first.won:,} queries won, {first.lost:,} lost, {len(first.per_query) - first.won - first.lost:,} equal.",
        f"Difference in {first.metric} of each query, sorted.",
    )
    worst, best = first.extremes(SHOWN)
    for verb, rows, all_of_them in (("loses", worst, first.lost), ("gains", best, first.won)):
        if not rows:
            continue
        others = len(first.per_query) - len(rows)
        cut = f" most; the other {others:,} are not listed" if len(rows) < all_of_them else ""
        page.details(
            f"The {len(rows)} queries where {name} {verb}{cut}",
            ["query", "text", first.metric],
            [[qid, findings.queries.get(qid), f"{value:+.4f}"] for qid, value in rows],
        )
    for kind, slices in findings.slices.get(name, {}).items():
        _slices(page, kind, slices)


def _slices(page: Page, kind: str, found: SliceComparison) -> None:
    largest = sorted(found.slices, key=lambda of: -of.queries)[:SHOWN]
    shown = [of for of in found.slices if of in largest]
    drawn = {
        f"{s.label} (n = {s.queries:,})": (s.difference, s.low, s.high)
        for s in shown
        if s.low is not None and s.high is not None
    }
    which = f", the {SHOWN} largest of {len(found.slices):,}" if found.slices[SHOWN:] else ""
    small = sum(of.is_too_small for of in found.slices)
    without = f" {small:,} of {len(found.slices):,} have too few queries for an interval." if small else ""
    if drawn:
        page.plot(
            plots.bars_with_intervals(drawn, xlabel=f"difference in {found.metric}, 95 % interval", reference=0),
            f"Difference by {kind}{which}.{without}",
            f"Difference in {found.metric} for each {kind}.",
        )
    page.details(
        f"Figures by {kind}{which}",
        ["slice", "queries", "A", "B", "difference", "low", "high", "p Holm"],
        [[s.label, s.queries, s.mean_a, s.mean_b, *_signed(s.difference), *_certainty(s)] for s in shown],
    )


def _certainty(of: Slice) -> list[str]:
    if of.low is None or of.high is None or of.adjusted_p is None:
        return ["too few", "too few", "-"]
    return [*_signed(of.low, of.high), show_p(of.adjusted_p)]


def _signed(*values: float) -> list[str]:
    return [f"{value:+.4f}" for value in values]


def _distributions(page: Page, findings: Findings) -> None:
    page.section("Score distributions")
    page.text("A ranker that discriminates gives relevant documents other scores than the rest.")
    for system in findings.systems:
        scores, labels = scores_and_labels(system.run, findings.qrels)
        finite = np.isfinite(scores)
        groups = {
            "relevant": scores[finite & (labels > 0)].tolist(),
            "not relevant or unjudged": scores[finite & (labels == 0)].tolist(),
        }
        if any(groups.values()):
            page.plot(
                plots.histogram(groups, xlabel=f"score of {system.name}"),
                f"{system.name}: {system.evaluation.tied:.1%} of its ranks are ties, broken by document id.",
                f"Distributions of the scores of {system.name} for relevant and other documents.",
            )


def _reliability(page: Page, findings: Findings) -> None:
    shown = [(system, found) for system in findings.systems if (found := _calibrated(system, findings)) is not None]
    if not shown:
        return
    page.section("Reliability of the scores")
    page.text("Unjudged documents count as not relevant, so a score may look too high where judgments are sparse.")
    for system, (scores, labels) in shown:
        figures = measure_reliability(scores, labels)
        page.plot(
            plots.reliability(scores, labels),
            ("" if system.relevance else "If the scores of this run are meant as probabilities: ")
            + f"{system.name}: expected calibration error {figures.expected_error:.4f}, "
            f"Brier score {figures.brier:.4f}, "
            f"{figures.texts:,} texts of which {figures.relevant:.1%} are relevant.",
            f"Share of relevant documents by relevance score of {system.name}.",
        )


def _calibrated(system: Measured, findings: Findings) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    scores, labels = scores_and_labels(system.run, findings.qrels)
    if not len(scores):
        return None
    if system.relevance is not None:
        return system.relevance(scores), labels
    # A run file does not say whether its scores are calibrated; in [0, 1], and not all at its lower end, they may be.
    possible = system.kind == "run" and scores.min() >= 0 and 0.5 < scores.max() <= 1
    return (scores, labels) if possible else None


def _latency(page: Page, systems: Sequence[Measured]) -> None:
    timed = {system.name: list(system.latency_ms) for system in systems if system.latency_ms}
    if not timed:
        return
    page.section("Latency")
    rows: list[list[Cell]] = [
        [name, len(values), *(float(found) for found in np.percentile(values, (50, 95, 99)))]
        for name, values in timed.items()
    ]
    page.table(
        ["system", "queries", "p50 ms", "p95 ms", "p99 ms"], rows, "Reranking one query at a time, measured here."
    )
    page.plot(
        plots.histogram(timed, xlabel="milliseconds a query", log_x=True),
        "Time to rerank the candidates of one query.",
        "Distribution of the latency of each system.",
    )


def _method(page: Page, findings: Findings) -> None:
    page.section("How this was measured")
    page.text(
        "Means go over every judged query; one without results counts as zero. Unjudged documents are not relevant. "
        "Ideal rankings are over all judged documents, retrieved or not; gains are linear. Equal scores are ordered "
        "by document id. Intervals resample queries, so they speak of new queries on this collection."
    )
    page.table(
        ["system", "queries with results", "ranks that are ties"],
        [[of.name, sum(map(bool, of.run.values())), f"{of.evaluation.tied:.1%}"] for of in findings.systems],
    )


def _first_metric(findings: Findings) -> str:
    return next(iter(findings.systems[0].evaluation.mean))


def _values(system: Measured, metric: str) -> Mapping[str, float]:
    return system.evaluation.per_query[metric]
