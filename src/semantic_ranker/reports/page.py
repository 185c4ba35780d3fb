"""A self-contained HTML page, built piece by piece; every text that comes in is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

from semantic_ranker._extras import requires_extra
from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker._version import __version__
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

Cell: TypeAlias = str | int | float | bool | None
"""What a table holds; None and NaN are shown as a dash, floats with four decimals."""

_LONGEST = 600  # characters of one cell or paragraph piece: a page stays a page, whatever a document holds
_NUMBER = re.compile(r"[+\-\u2212<]?[\d.,]+(e[+-]?\d+)?\s?(%|ms|s|MB|\u00d7)?( to -?[\d.,]+)?|[\u2013\u2014-]")
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    kind: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numeric: tuple[bool, ...] = ()
    figure: Figure | None = None
    alt: str = ""


@dataclass(slots=True)
class Page:
    """A page in the making; every method returns the page, so that calls chain.

    Args:
        title: Heading of the page.
        subtitle: A sentence below it.

    Example:
        >>> page = Page("Two runs").section("Result").table(["metric", "value"], [["nDCG@10", 0.4137]])
        >>> "0.4137" in page.render()
        True
    """

    title: str
    subtitle: str = ""
    _blocks: list[_Block] = field(default_factory=list, repr=False)

    def section(self, heading: str) -> Page:
        """Begin a section; three or more get a table of contents."""
        return self._add(_Block(kind="section", text=_shown(heading)))

    def text(self, paragraph: str) -> Page:
        """Add a paragraph."""
        return self._add(_Block(kind="text", text=_clean(paragraph)))

    def facts(self, facts: Mapping[str, Cell]) -> Page:
        """Add named values, shown side by side."""
        rows = tuple((_shown(name), _shown(value)) for name, value in facts.items())
        return self._add(_Block(kind="facts", rows=rows))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str = "") -> Page:
        """Add a table; columns of numbers are aligned right.

        Raises:
            InvalidInputError: A row has another number of cells than there are columns.
        """
        return self._add(_table("table", columns, rows, caption))

    def details(self, summary: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Page:
        """Add a table that is folded away below a summary.

        Raises:
            InvalidInputError: As for `table`.
        """
        return self._add(_table("details", columns, rows, summary))

    def plot(self, figure: Figure, caption: str, alt: str) -> Page:
        """Add a plot as inline SVG, see `semantic_ranker.reports.plots`.

        Args:
            figure: A `matplotlib.figure.Figure`; its black, white and palette colours follow the reader's theme.
            caption: A sentence below the plot.
            alt: What the plot shows, for those who cannot see it.
        """
        return self._add(_Block(kind="plot", text=_clean(caption), figure=figure, alt=_clean(alt)))

    def render(self) -> str:
        """Return the page as HTML.

        Raises:
            ModuleNotFoundError: The extra ``report`` is not installed.
        """
        html: str = _template().render(
            title=_shown(self.title),
            subtitle=_clean(self.subtitle),
            version=__version__,
            blocks=[_ready(number, block) for number, block in enumerate(self._blocks)],
        )
        return html

    def write(self, path: StrPath) -> None:
        """Write the page, whole or not at all.

        Raises:
            StorageError: The file cannot be written; one that was there is untouched.
            ModuleNotFoundError: The extra ``report`` is not installed.
        """
        write_atomically(path, self.render())

    def _add(self, block: _Block) -> Page:
        self._blocks.append(block)
        return self


def format_cell(value: Cell) -> str:
    """Return a value as it is shown: floats with four decimals, whole numbers with separators, nothing as a dash."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    number = float(value)  # numpy's floats among them
    if 0 < abs(number) < 0.0005:
        return f"{number:.1e}"
    return f"{number:.4f}" if abs(number) < 100 else f"{number:,.1f}"


def _shown(value: Cell) -> str:
    return _clean(format_cell(value))


def _clean(text: str) -> str:
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _table(kind: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], text: str) -> _Block:
    taken = [tuple(row) for row in rows]
    for index, row in enumerate(taken):
        if len(row) != len(columns):
            raise InvalidInputError(
                f"Expected {len(columns)} cells in row {index}, one a column, got {len(row)}.", index
            )
    return _Block(
        kind=kind,
        text=_clean(text),
        columns=tuple(map(_shown, columns)),
        rows=tuple(tuple(map(_shown, row)) for row in taken),
        numeric=tuple(_is_numeric([row[column] for row in taken]) for column in range(len(columns))),
    )


def _is_numeric(cells: Sequence[Cell]) -> bool:
    known = [cell for cell in cells if cell is not None]
    return bool(known) and all(_looks_numeric(cell) for cell in known)


def _looks_numeric(cell: Cell) -> bool:
    if isinstance(cell, str):
        return _NUMBER.fullmatch(cell) is not None
    return not isinstance(cell, bool)


def _ready(number: int, block: _Block) -> dict[str, Any]:
    svg = ""
    if block.figure is not None:
        from semantic_ranker.reports.svg import inline_svg

        svg = inline_svg(block.figure, prefix=f"p{number}", alt=block.alt)
    return {
        "kind": block.kind,
        "id": f"s{number}",
        "text": block.text,
        "columns": block.columns,
        "rows": block.rows,
        "numeric": block.numeric,
        "svg": svg,
    }


@lru_cache(maxsize=1)
def _template() -> Template:
    with requires_extra("report"):
        from jinja2 import Environment, StrictUndefined

        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
        return environment.from_string(resources.files(__package__).joinpath("page.html.jinja").read_text("utf-8"))
