"""Quality against the time of reranking: what docs/models.md shows of it, and its plot, out of existing results only.

Both axes are of 100 candidates: nDCG@10 is the macro average of quality.json (BM25's best 100), time the processor
time of 100 passages in latency.json, one run in which all took turns. What was not timed there is shown as an estimate.

A further model of the bundled kind needs two files, and then appears by itself: results/quality_<key>.json as
quality.py writes it, and `<key> int8, new passages` (`<key> int8, known passages`) as contenders of latency.json, or of
results/latency_<key>.json with `bundled int8, new passages` beside them: the ratio within that run is what counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from table_parts import has, read, rows

from semantic_ranker.reports.svg import INK, LINE, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

COUNT = 100
MODELS = {"bundled": "bundled", "tiny": "tiny"}
"""Names in the plot of the models of the bundled kind, by the key of their files; those without files are left out."""
REFERENCE = "bundled int8, new passages"
FITTED = "reranker + BM25, fitted"
NEW, KNOWN = "new passages", "known passages"
LINEAR = 10.0  # milliseconds up to which the axis is linear, because BM25 alone reranks in 0
PLACES = (
    *((7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -9, "center")),
    *((6, 9, "left"), (6, -9, "left"), (-6, -9, "right"), (-6, 9, "right")),
)
COLOURS = {True: SERIES[0], False: SERIES[1], None: INK}
FURTHER = (1.0, 1.6, 2.4, 3.5, 5.0, 7.0)
NEAR = 12.0  # pixels beyond which a line leads from the name to its point


@dataclass(frozen=True)
class Point:
    """A system: processor milliseconds of reranking 100 passages, and nDCG@10 with its interval.

    ``known`` says that passages were encoded before, None that none is; ``estimated`` that it was not in that run.
    """

    name: str
    milliseconds: float
    mean: float
    low: float
    high: float
    known: bool | None
    estimated: bool = False


def _contenders(key: str) -> dict[str, float]:
    """Return processor milliseconds of the contenders of a run, as of latency.json's run."""
    found = {name: 1000 * part["cpu_s_per_100"] for name, part in read("latency")["contenders"].items()}
    if has(f"latency_{key}"):
        other = read(f"latency_{key}")["contenders"]
        ratio = found[REFERENCE] / other[REFERENCE]["cpu_s_per_100"]
        found |= {n: ratio * part["cpu_s_per_100"] for n, part in other.items() if n.startswith(f"{key} ")}
    return found


def _models() -> list[Point]:
    found = []
    for key, name in MODELS.items():
        file = "quality" if key == "bundled" else f"quality_{key}"
        if not has(file):
            continue
        macro, times = read(file)["macro"], _contenders(key)
        for kind in (NEW, KNOWN):
            if (time := times.get(f"{key} int8, {kind}")) is None:
                continue
            for system, label in (("reranker", name), (FITTED, f"{name} + BM25")):
                found.append(Point(label, time, *_interval(macro[system]), known=kind == KNOWN))
    return found


def _interval(figure: dict[str, float], change: float = 0.0) -> tuple[float, float, float]:
    return figure["mean"] + change, figure["low"] + change, figure["high"] + change


def points() -> list[Point]:
    """Return all systems of which both figures exist."""
    macro, times, change = read("quality")["macro"], _contenders("bundled"), read("cascade")["macro"]["change"]
    one_text = read("embedder_peers")["threads"]["1"]["contenders"]["ours MiniLM fp32"]["one_text_p50_ms"]
    cascade = _interval(macro["reranker"], change)
    found = [Point("BM25 alone", 0.0, *_interval(macro["BM25"]), known=None)]
    for system, label in (("bi-encoder", "MiniLM"), ("RRF", "MiniLM + BM25")):
        found.append(Point(label, one_text, *_interval(macro[system]), known=True, estimated=True))
        found.append(Point(label, times["ours fp32"], *_interval(macro[system]), known=False, estimated=True))
    time = times["bundled int8, cascade, first 10, new passages"]
    found.append(Point("cascade", time, *cascade, known=False))
    return sorted([*found, *_models()], key=lambda point: (point.milliseconds, point.mean))


def front(found: Sequence[Point], *, known: bool) -> list[Point]:
    """Return the points of one kind, and BM25 alone, that no other of them beats, fastest first."""
    import numpy as np

    from semantic_ranker.reports.plots import pareto_front

    some = [point for point in found if point.known in (known, None)]
    best = pareto_front(np.array([point.milliseconds for point in some]), np.array([point.mean for point in some]))
    return [some[place] for place in best]


def pareto() -> str:
    found = points()
    best = {known: front(found, known=known) for known in (True, False)}
    body = rows(
        ("order by", "passages", f"processor time of {COUNT}", "nDCG@10", "on the frontier"),
        (
            (
                point.name,
                {True: "known", False: "new", None: ""}[point.known],
                f"{'about ' if point.estimated else ''}{point.milliseconds:,.0f} ms",
                f"{point.mean:.3f} [{point.low:.3f}, {point.high:.3f}]",
                "yes" if point in best[bool(point.known)] else "",
            )
            for point in found
        ),
    )
    names = {known: ", ".join(point.name for point in best[known]) for known in best}
    latency, quality = read("latency"), read("quality")
    return (
        f"{body}\n\n"
        f"Where passages are known, no other is better in the same time than {names[True]}; where they are new, than "
        f"{names[False]}. Overlapping intervals make no tie: the [README](../README.md) has paired differences.\n\n"
        f"Macro average over {', '.join(quality['collections'])}, 95 % intervals; processor time is the median of "
        f"{latency['texts']['queries']} queries of one run, passages of {latency['texts']['mean_tokens']:.0f} tokens, "
        "without BM25's search and the sum of two scores. MiniLM is all-MiniLM-L6-v2 as a bi-encoder. It was not in "
        "that run: for its new passages stand its six layers in fp32 there, reading question and passage; for its "
        "known ones one longer text, on the clock (`benchmarks/embedder_peers.py`). BM25 is added to it by reciprocal "
        "ranks, to the bundled model by the weight fitted to judged queries. The cascade is the bundled model's; its "
        "interval is the full one's, moved by its change. "
        f"`{latency['command']}`, `{quality['command']}`\n\n"
        "![nDCG@10 against processor time](../benchmarks/results/pareto.svg)"
    )


def draw(found: Sequence[Point]) -> tuple[Figure, list[Annotation]]:
    """Return the plot and the names in it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    from matplotlib.transforms import ScaledTranslation

    figure = Figure(figsize=(9, 5.2))
    figure.subplots_adjust(left=0.075, right=0.985, top=0.93, bottom=0.1)
    axes = figure.add_subplot()
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.35)
    axes.set_xlim(-2, 5 * max(point.milliseconds for point in found))
    low, high = min(point.low for point in found), max(point.high for point in found)
    axes.set_ylim(low - 0.01, high + 0.012)
    axes.xaxis.set_major_locator(FixedLocator([0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"processor milliseconds of reranking {COUNT} passages (logarithmic from {LINEAR:g} on)", color=INK)
    axes.set_ylabel("nDCG@10, macro average (lines: 95 % interval)", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.grid(visible=True, color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    figure.canvas.draw()
    boxes: list[Bbox] = []
    centres: dict[Point, tuple[float, float]] = {}
    for place, point in enumerate(found):
        # Points of equal time stand side by side: their intervals would hide each other.
        same = sum(before.milliseconds == point.milliseconds for before in found[:place])
        beside = axes.transData + ScaledTranslation(7 * same / 72, 0, figure.dpi_scale_trans)
        colour = COLOURS[point.known]
        x, y = point.milliseconds, point.mean
        axes.plot([x, x], [point.low, point.high], color=colour, alpha=0.4, linewidth=1.6, transform=beside, zorder=2)
        inner = "white" if point.estimated else colour
        axes.plot(x, y, "o", markersize=6.5, color=colour, markerfacecolor=inner, transform=beside, zorder=3)
        centre, *ends = (beside.transform((x, value)).tolist() for value in (y, point.low, point.high))
        centres[point] = centre[0], centre[1]
        boxes += [_box(centre[0], centre[1], 6), *_along([ends[0], ends[1]], 3)]
    back = axes.transData.inverted()
    for known, style in ((True, "-"), (False, "--")):
        joined = [centres[point] for point in front(found, known=known)]
        label = f"frontier, {KNOWN if known else NEW}"
        xs, ys = back.transform(joined).T
        axes.plot(xs, ys, color=COLOURS[known], linestyle=style, linewidth=1.3, label=label, zorder=1)
        boxes += _along(joined, 2)
    named: list[Bbox] = []
    texts = [_named(axes, point.name, at, list(centres.values()), boxes, named) for point, at in centres.items()]
    axes.plot(
        [], [], "o", color=INK, markerfacecolor="white", markersize=6.5, linestyle="none", label="time is estimated"
    )
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, frameon=False, labelcolor=INK)
    return figure, texts


def _box(x: float, y: float, half: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _along(corners: Sequence[Sequence[float]], half: float) -> list[Bbox]:
    """Return boxes that cover a line, in pixels."""
    found = []
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        steps = 1 + int(max(abs(x1 - x0), abs(y1 - y0)) / (2 * half))
        found += [_box(x0 + (x1 - x0) * n / steps, y0 + (y1 - y0) * n / steps, half) for n in range(steps + 1)]
    return found


def _distance(box: Bbox, point: tuple[float, float]) -> float:
    right, up = (max(low - value, value - high, 0.0) for low, value, high in zip(box.min, point, box.max, strict=True))
    return math.hypot(right, up)


def _named(
    axes: Axes,
    name: str,
    own: tuple[float, float],
    centres: Sequence[tuple[float, float]],
    boxes: list[Bbox],
    named: list[Bbox],
) -> Annotation:
    """Name a point at the nearest place where the name hides nothing, stays inside and is nearest to its own point."""
    from semantic_ranker.reports.canvas import label

    x, y = axes.transData.inverted().transform(own).tolist()
    inside = axes.get_window_extent()
    tried: list[tuple[int, Annotation, Bbox]] = []
    for further, (right, up, side) in itertools.product(FURTHER, PLACES):
        text = axes.annotate(
            label(name), (x, y), (right * further, up * further), textcoords="offset points", fontsize=8.5, color=INK,
            ha=side, va="center", zorder=4,
        )  # fmt: skip
        # Browsers have other fonts: a tenth more room than measured.
        space = text.get_window_extent().expanded(1.1, 1.15)
        faults = sum(space.overlaps(box) for box in boxes)
        faults += 100 * sum(space.overlaps(box) for box in named)
        faults += 1000 * (space.x1 > inside.x1 or space.x0 < inside.x0)
        faults += any(_distance(space, other) < 1.3 * _distance(space, own) for other in centres if other != own)
        tried.append((faults, text, space))
        if not tried[-1][0]:
            break
    _, chosen, space = min(tried, key=lambda of: of[0])
    for _, text, _ in tried:
        if text is not chosen:
            text.remove()
    named.append(space)
    if _distance(space, own) > NEAR:
        end = [min(max(value, low), high) for low, value, high in zip(space.min, own, space.max, strict=True)]
        axes.plot(*axes.transData.inverted().transform([own, end]).T, color=MUTED, linewidth=0.6, zorder=1)
        boxes += _along([own, end], 1)
    return chosen


def plot(path: Path) -> None:
    import matplotlib

    settings = {"svg.fonttype": "none", "svg.hashsalt": "semantic-ranker", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        # White behind the plot: it stays readable on a dark page.
        draw(points())[0].savefig(path, facecolor="white", metadata={"Date": None})
