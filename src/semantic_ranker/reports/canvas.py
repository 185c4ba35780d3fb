"""What the plots share: empty figures in the project's style, names and numbers made fit to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.reports.svg import INK, LINE, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_POINTS = 500  # of one curve: more cannot be seen, and would make the page heavy
_NAME = 40  # characters of a name in a plot


def label(text: str, width: int = _NAME) -> str:
    """Return a name as a plot can show it: one short line, no formula, nothing that steers."""
    line = " ".join(text[: 8 * width].split())
    line = line if len(line) <= width else line[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    # Dollars would make it a formula, and a leading underscore would hide it from the legend.
    shown = shown.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{shown}" if shown.startswith("_") else shown


def figure(width: float = 8.0, height: float = 3.6) -> tuple[Figure, Axes]:
    """Return an empty figure of inches ``width`` by ``height``, and its axes."""
    drawn, axes = figures(1, width, height)
    return drawn, axes[0]


def figures(count: int, width: float = 8.0, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with ``count`` axes below each other, each ``height`` inches high."""
    with requires_extra("report"):
        from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height * count), layout="constrained")
    found = [drawn.add_subplot(count, 1, number + 1) for number in range(count)]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(LINE)
        axes.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=9)
        axes.grid(visible=True, color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
    return drawn, found


def legend(axes: Axes) -> None:
    """Name what is in the axes above them, where no line can run through it."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            borderaxespad=0.2,
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            ncols=min(3, len(handles)),
        )


def log_scale(axes: Axes) -> None:
    """Make the x axis logarithmic, with numbers as people write them."""
    with requires_extra("report"):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def finite(values: Any) -> NDArray[np.float64]:
    """Return float64 (n,).

    Raises:
        InvalidInputError: There are none, or one is not finite.
    """
    found = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    if not len(found) or not np.isfinite(found).all():
        raise InvalidInputError(f"Expected finite values to draw, got {len(found)} of which some are not.")
    return found


def thin(count: int) -> NDArray[np.intp]:
    """Return the indices to draw of ``count`` points: evenly spaced, the ends among them."""
    # Both ends stay: the worst and the best are what a reader looks for.
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.intp))
