"""The project's plots, each a matplotlib figure of its own; no window and no global state is touched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.reports.canvas import figure, finite, label, legend, log_scale, thin
from semantic_ranker.reports.learning import learning_curves
from semantic_ranker.reports.svg import INK, LINE, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "bars_with_intervals",
    "histogram",
    "label",
    "learning_curves",
    "lines",
    "pareto",
    "pareto_front",
    "per_query_differences",
    "reliability",
]


def per_query_differences(
    differences: Mapping[str, float] | Sequence[float], *, metric: str, a: str = "A", b: str = "B"
) -> Figure:
    """Draw the difference of every query, sorted: how many are won and lost, and by how much.

    Args:
        differences: ``b - a`` of each query.
        metric: What was measured.
        a: Name of the one system.
        b: Name of the other.

    Raises:
        InvalidInputError: There are none, or one is not finite.
    """
    values = np.sort(finite(differences.values() if isinstance(differences, Mapping) else differences))
    drawn, axes = figure()
    kept = thin(len(values))
    share = (np.arange(len(values)) + 0.5) / len(values) * 100
    # The first and the last step reach the ends.
    if len(values) > 1:
        share[0], share[-1] = 0.0, 100.0
    zeros = np.zeros(len(kept))
    for sign, colour in ((-1, SERIES[1]), (1, SERIES[0])):
        part = values[kept] * sign > 0
        axes.fill_between(
            share[kept], values[kept], zeros, where=part.tolist(), color=colour, alpha=0.35, linewidth=0, step="mid"
        )
    axes.plot(share[kept], values[kept], color=INK, linewidth=1.2, drawstyle="steps-mid")
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(0, 100)
    axes.set_xlabel("queries, sorted by difference (%)")
    axes.set_ylabel(label(f"{metric}: {b} minus {a}", 70))
    return drawn


def histogram(
    groups: Mapping[str, Sequence[float] | NDArray[np.float64]], *, xlabel: str, bins: int = 40, log_x: bool = False
) -> Figure:
    """Draw the distributions of several groups over each other, each as shares of its own size.

    Args:
        groups: Values by name.
        xlabel: What the values are, with their unit.
        bins: Bars at most; few values get fewer, so that a bar is more than one of them.
        log_x: Whether the axis is logarithmic; values must then be above zero.

    Raises:
        InvalidInputError: There is no value, or one is not finite.
    """
    found = {name: finite(values) for name, values in groups.items() if len(values)}
    everything = finite(np.concatenate(list(found.values())) if found else [])
    low, high = float(everything.min()), float(everything.max())
    if log_x and low <= 0:
        raise InvalidInputError(f"Expected values above zero on a logarithmic axis, got {low:g}.")
    bins = min(bins, max(8, 2 * math.isqrt(len(everything))))
    if low == high:
        low, high = (low * 0.5, high * 2) if log_x else (low - 0.5, high + 0.5)
    edges = np.geomspace(low, high, bins + 1) if log_x else np.linspace(low, high, bins + 1)
    drawn, axes = figure()
    for number, (name, values) in enumerate(found.items()):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        colour = SERIES[number % len(SERIES)]
        shares = counts / len(values) * 100
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.2)
        axes.stairs(shares, edges, color=colour, linewidth=1.4, label=label(f"{name} (n = {len(values):,})"))
    if log_x:
        log_scale(axes)
    axes.set_xlabel(label(xlabel, 70))
    axes.set_ylabel("share (%)")
    legend(axes)
    return drawn


def reliability(
    probabilities: Sequence[float] | NDArray[np.float64],
    labels: Sequence[float] | NDArray[np.float64],
    *,
    bins: int = 10,
) -> Figure:
    """Draw how often texts of a given relevance score are relevant: on the diagonal the score means what it says.

    Args:
        probabilities: Calibrated scores in [0, 1].
        labels: 1 for relevant, 0 for not, of each.
        bins: Groups of equal width.

    Raises:
        InvalidInputError: There are none, the lengths differ, or a score lies outside [0, 1].
    """
    scores, truth = finite(probabilities), finite(labels)
    if len(scores) != len(truth) or scores.min() < 0 or scores.max() > 1:
        raise InvalidInputError(
            f"Expected a score in [0, 1] for each label, got {len(scores)} scores from {scores.min():g} to "
            f"{scores.max():g} and {len(truth)} labels: calibrate the scores first."
        )
    place = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    mean = np.bincount(place, scores, bins)[filled] / counts[filled]
    rate = np.bincount(place, truth, bins)[filled] / counts[filled]
    drawn, axes = figure(width=6.0, height=4.6)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfectly calibrated")
    # Wilson's interval, because a group may hold few texts.
    low, high = _wilson(rate, counts[filled])
    axes.vlines(mean, low, high, color=SERIES[0], linewidth=1.2, alpha=0.7)
    axes.plot(mean, rate, color=SERIES[0], marker="o", markersize=5, linewidth=1.4, label="measured, 95 % interval")
    axes.stairs(counts / counts.sum(), np.linspace(0, 1, bins + 1), fill=True, color=LINE, label="share of the texts")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="relevance score", ylabel="share that is relevant")
    legend(axes)
    return drawn


def pareto(
    points: Mapping[str, tuple[float, float]],
    *,
    xlabel: str,
    ylabel: str,
    lower_x_is_better: bool = True,
    log_x: bool = False,
) -> Figure:
    """Draw systems by cost and quality, and join those that no other beats in both.

    Args:
        points: Cost (x) and quality (y, higher is better) by name.
        xlabel: Meaning of x, with its unit.
        ylabel: Meaning of y.
        lower_x_is_better: Whether x is a cost.
        log_x: Whether its axis is logarithmic.

    Raises:
        InvalidInputError: There are no points, or one is not finite.
    """
    xs = finite(point[0] for point in points.values())
    ys = finite(point[1] for point in points.values())
    front = pareto_front(xs, ys, lower_x_is_better=lower_x_is_better)
    drawn, axes = figure()
    axes.plot(xs[front], ys[front], color=SERIES[0], linewidth=1.2, drawstyle="default", zorder=1)
    on_front = np.isin(np.arange(len(xs)), front)
    axes.scatter(xs[on_front], ys[on_front], color=SERIES[0], s=34, zorder=2)
    axes.scatter(xs[~on_front], ys[~on_front], color=MUTED, s=24, zorder=2)
    for name, x, y in zip(points, xs, ys, strict=True):
        axes.annotate(label(name), (x, y), (5, 5), textcoords="offset points", fontsize=8, color=INK)
    if log_x:
        log_scale(axes)
    axes.margins(x=0.18, y=0.12)
    axes.set(xlabel=label(xlabel, 70), ylabel=label(ylabel, 70))
    return drawn


def pareto_front(
    xs: NDArray[np.float64], ys: NDArray[np.float64], *, lower_x_is_better: bool = True
) -> NDArray[np.intp]:
    """Return the indices of the points that no other beats, from the best x on.

    Args:
        xs: float64 (n,), costs unless ``lower_x_is_better`` is off.
        ys: float64 (n,), higher is better.
        lower_x_is_better: Whether x is a cost.
    """
    cost = xs if lower_x_is_better else -xs
    best, front = -np.inf, []
    for index in np.lexsort((-ys, cost)):
        if ys[index] > best:
            best = float(ys[index])
            front.append(int(index))
    return np.array(front, dtype=np.intp)


def bars_with_intervals(
    rows: Mapping[str, tuple[float, float, float]], *, xlabel: str, reference: float | None = None
) -> Figure:
    """Draw values with their intervals, one below the other.

    Args:
        rows: Value, low and high end by name, first on top.
        xlabel: What the values are.
        reference: Where a line goes, such as 0 for differences.

    Raises:
        InvalidInputError: There are none, or a value is not finite.
    """
    values, lows, highs = (finite(row[part] for row in rows.values()) for part in range(3))
    drawn, axes = figure(height=1.1 + 0.34 * len(values))
    places = np.arange(len(values))[::-1]
    if reference is not None:
        axes.axvline(reference, color=MUTED, linewidth=1)
    axes.hlines(places, lows, highs, color=SERIES[0], linewidth=2.4, alpha=0.55)
    axes.plot(values, places, color=SERIES[0], marker="o", markersize=6, linestyle="none")
    axes.set_yticks(places, [label(name) for name in rows])
    axes.set_ylim(-0.6, len(values) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label(xlabel, 70))
    return drawn


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str, log_x: bool = False
) -> Figure:
    """Draw curves.

    Args:
        series: The xs and the ys by name.
        xlabel: Meaning of x, with its unit.
        ylabel: Meaning of y, with its unit.
        log_x: Whether the axis is logarithmic.

    Raises:
        InvalidInputError: There are no points, one is not finite, or xs and ys differ in length.
    """
    drawn, axes = figure()
    for number, (name, (xs, ys)) in enumerate(series.items()):
        if len(xs) != len(ys):
            raise InvalidInputError(f"Expected as many ys as xs in {name!r}, got {len(ys)} and {len(xs)}.")
        kept = thin(len(xs))
        axes.plot(
            finite(xs)[kept],
            finite(ys)[kept],
            color=SERIES[number % len(SERIES)],
            linewidth=1.5,
            linestyle=("-", "--", ":")[number // len(SERIES) % 3],
            marker="o" if len(kept) < 30 else None,
            markersize=3.5,
            label=label(name),
        )
    if not series:
        raise InvalidInputError("Expected at least one curve, got none.")
    if log_x:
        log_scale(axes)
    axes.set(xlabel=label(xlabel, 70), ylabel=label(ylabel, 70))
    legend(axes)
    return drawn


def _wilson(rate: NDArray[np.float64], counts: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    z = 1.96
    middle = (rate + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(rate * (1 - rate) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)
    return middle - half, middle + half
