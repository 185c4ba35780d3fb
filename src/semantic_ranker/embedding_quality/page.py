"""The HTML report of `semantic-ranker embed-eval`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semantic_ranker.reports import Page

if TYPE_CHECKING:
    from semantic_ranker.embedding_quality.measure import TaskResult

HEADINGS = {
    "sts": "Textual similarity",
    "clustering": "Clustering",
    "retrieval": "Retrieval",
    "vectors": "Stored vectors",
}


def quality_page(subject: str, space: str, results: Sequence[TaskResult]) -> Page:
    """Return the report.

    Args:
        subject: Name of the model or file.
        space: A line on its embedding space; may be empty.
        results: What was measured.
    """
    page = Page(f"Embedding quality: {subject}", space)
    for result in results:
        page.section(f"{HEADINGS[result.kind]}: {result.name}")
        if result.scores:
            page.table(["figure", "value"], [[name, _cell(value)] for name, value in result.scores.items()])
        if result.geometry:
            rows = [[name, value] for name, value in result.geometry.to_dict().items()]
            page.table(["geometry", "value"], rows, "How the vectors lie; none of these figures is quality by itself.")
        if result.quantization:
            page.table(
                ["storage", "bytes", "cosine", "least cosine", "top-10 overlap", "nDCG@10", "difference"],
                [list(impact.to_dict().values()) for impact in result.quantization],
                "What it costs to store the documents in fewer bytes than fp32.",
            )
    return _with_plot(page, results)


def _with_plot(page: Page, results: Sequence[TaskResult]) -> Page:
    ends = {
        result.name: (result.scores["main_score"], *result.scores["main_score_interval"])
        for result in results
        if "main_score_interval" in result.scores
    }
    if not ends:
        return page
    from semantic_ranker.reports.plots import bars_with_intervals

    return page.plot(
        bars_with_intervals(ends, xlabel="nDCG@10"),
        "Retrieval with 95 % intervals over queries.",
        "Bars: nDCG@10 of each collection with its interval",
    )


def _cell(value: object) -> str | float | int | None:
    if isinstance(value, list):
        return " to ".join(f"{end:.4f}" for end in value)
    return value if isinstance(value, (str, float, int)) else None
