"""Turns a matplotlib figure into SVG for a page: its own ids, escaped text, colours of the reader's theme."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from semantic_ranker._extras import requires_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1c2430", "#5b6675", "#d5dbe3", "#ffffff"
SERIES = ("#1f6fd0", "#c2570c", "#15803d", "#8b3fc0", "#b4235a", "#0e7c86")
"""Colours of the light theme; on a page each becomes the style sheet's variable, which knows the dark one too."""

_VARIABLES = {
    "#000000": "var(--ink)",
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
} | {colour: f"var(--s{number})" for number, colour in enumerate(SERIES, start=1)}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DROPPED = {"metadata", "style", "script"}
_DECIMALS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point cannot be seen
_FONT = re.compile(r"(font(?:-family)?:[^;]*?)'[^;]*")


def inline_svg(figure: Figure, *, prefix: str, alt: str) -> str:
    """Return a figure as an ``<svg>`` element that can stand in any HTML page.

    Args:
        figure: What to draw; it is not changed.
        prefix: Put before every id, so that plots on one page do not share any.
        alt: What the plot shows, for screen readers.
    """
    root = ElementTree.fromstring(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", _draw(figure)))
    _adopt(root, prefix)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        # As wide as the page, but not larger than it was drawn to be.
        "style": f"max-width: {root.attrib['width']}",
        "role": "img",
        "aria-label": alt,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _draw(figure: Figure) -> str:
    with requires_extra("report"):
        import matplotlib

    drawn = io.StringIO()
    # Text stays text: small, selectable, and escaped by the XML writer.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "semantic-ranker"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        # Only the measuring of a label wants the glyph; the reader's browser has fonts of its own.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*", category=UserWarning)
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return drawn.getvalue()


def _adopt(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _bare(element.tag)
    for child in list(element):
        if not isinstance(child.tag, str) or _bare(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _adopt(child, prefix)
    attributes = {_bare(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        adopted = _attribute(name, value, prefix)
        if adopted is not None:
            element.set(name, adopted)


def _attribute(name: str, value: str, prefix: str) -> str | None:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        if value.startswith("#"):
            return f"#{prefix}-{value[1:]}"
        return value if value.startswith("data:image/png;base64,") else None
    if name.startswith("on"):
        return None
    if name == "d":
        return _DECIMALS.sub(r"\1", value)
    if name in ("style", "fill", "stroke"):
        value = _COLOUR.sub(lambda found: _VARIABLES.get(found[0], found[0]), value)
        value = _FONT.sub(r"\1system-ui, sans-serif", value)
    return _REFERENCE.sub(rf"url(#{prefix}-\1)", value)


def _bare(name: str) -> str:
    return name.rpartition("}")[2]
