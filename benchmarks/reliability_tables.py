"""The section of docs/models.md on what a relevance score means, and its plot, out of reliability.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from table_parts import read, rows

SHIPPED = "as shipped"
BALANCED = "as shipped, were as many relevant as not"
OTHERS = "refitted on the other three"
SAME = "refitted on the other three, relevant and other texts weighing the same"
OWN = "fitted on other queries of the collection"
DRAWN = (BALANCED, SHIPPED)
FEWEST = 30  # texts of a bin that is drawn
HEAD = (
    *("collection", "relevant", "of these above 0.5", "of the others above 0.5", "precision at 0.5", "best F1 at"),
    *("error, were as many relevant as not", "error", "error, refitted"),
)


def reliability() -> str:
    found = read("reliability")
    shipped, evenly, refitted, own = (found["ways"][way] for way in (SHIPPED, BALANCED, OTHERS, OWN))
    names = [*((name, name) for name in shipped["collections"]), ("**mean**", "")]

    def of(way: dict[str, Any], name: str) -> dict[str, Any]:
        part: dict[str, Any] = way["collections"][name] if name else way["mean"]
        return part

    body = rows(
        HEAD,
        (_line(shown, of(shipped, name), of(evenly, name), of(refitted, name)) for shown, name in names),
    )
    parts = shipped["collections"].values()
    kept, passed, precise = (
        [part["at_0.5"][name]["mean"] for part in parts] for name in ("recall", "others_above", "precision")
    )
    wanted = [part["best_f1"]["threshold"]["mean"] for part in parts]
    return (
        f"{body}\n\n"
        "**0.5 is where the evidence turns**: a text above it looks more like the relevant ones, a text below it more "
        f"like the others. Above it lie {min(kept):.0%} to {max(kept):.0%} of the relevant texts and {min(passed):.0%} "
        f"to {max(passed):.0%} of the others; the mean of the four is {shipped['mean']['at_0.5']['recall']['mean']:.0%} "
        f"and {shipped['mean']['at_0.5']['others_above']['mean']:.0%}. Where relevant texts are as frequent as others, "
        f"a score is the share that is relevant with a mean error of {evenly['mean']['expected_error']:.3f}.\n\n"
        "**It is not the share of relevant texts among your candidates**, because few candidates are relevant: of the "
        f"texts above 0.5 {min(precise):.0%} to {max(precise):.0%} are judged so, and the best F1 wants a threshold "
        f"from {min(wanted):.2f} to {max(wanted):.3f}. Choose yours on judged queries. Refitted as they come, on the "
        f"other three collections, scale and bias leave an error of {refitted['mean']['expected_error']:.3f}; fitted "
        f"to other queries of the same collection, {own['mean']['expected_error']:.3f}.\n\n"
        "Texts are BM25's best 100 a query. What nobody judged counts as not relevant, so each share is at least the "
        "one shown, and in cosqa, with one judged function a query, probably far more. Error: expected calibration "
        "error, ten bins; in brackets: 95 % interval over queries. "
        f"`{found['command']}`\n\n"
        "![Share that is relevant by relevance score](../benchmarks/results/reliability.svg)"
    )


def _line(name: str, part: dict[str, Any], evenly: dict[str, Any], refitted: dict[str, Any]) -> Sequence[object]:
    half = part["at_0.5"]
    best = part.get("best_f1")
    return (
        name,
        f"{part['relevant']:.1%}",
        _within(half["recall"]),
        _within(half["others_above"]),
        _within(half["precision"]),
        f"{best['threshold']['mean']:.3f} [{best['threshold']['low']:.3f}, {best['threshold']['high']:.3f}]"
        if best
        else "",
        *(f"{of['expected_error']:.3f}" for of in (evenly, part, refitted)),
    )


def _within(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw a panel for each of the drawn ways, and in it a line a collection."""
    import matplotlib
    from matplotlib.figure import Figure

    from semantic_ranker.reports.svg import INK, LINE, MUTED, SERIES

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    for number, way in enumerate(DRAWN):
        axes = figure.add_subplot(1, len(DRAWN), number + 1)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="score = share")
        for place, (name, part) in enumerate(result["ways"][way]["collections"].items()):
            bins = [of for of in part["bins"] if of["texts"] >= FEWEST]
            # Side by side, so that intervals of equal scores can be told apart.
            x = [of["score"] + (place - 1.5) * 0.006 for of in bins]
            shares = [of["relevant"] for of in bins]
            colour = SERIES[place % len(SERIES)]
            axes.vlines(
                x, [s["low"] for s in shares], [s["high"] for s in shares], color=colour, linewidth=1.3, alpha=0.5
            )
            axes.plot(x, [s["mean"] for s in shares], color=colour, linewidth=1.4, marker="o", markersize=4, label=name)
        axes.set(xlim=(0, 1), ylim=(-0.01, 1.01), xlabel=f"mean relevance score of a bin of {FEWEST} texts or more")
        axes.set_title(way, fontsize=10, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(LINE)
        axes.tick_params(colors=MUTED, labelsize=9)
        axes.grid(visible=True, color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        if not number:
            axes.set_ylabel("share judged relevant (lines: 95 % interval)")
            figure.legend(loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    settings = {"svg.fonttype": "none", "svg.hashsalt": "semantic-ranker", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        # White behind the plot: it stays readable on a dark page.
        figure.savefig(path, facecolor="white", metadata={"Date": None})
