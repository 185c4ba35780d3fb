"""What every command shares: words in, lines out."""

from __future__ import annotations

import argparse
import sys
import unicodedata


def write(line: str) -> None:
    """Print a line in the terminal's encoding; what it cannot show becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding))


def count(text: str) -> int:
    """Read a whole number of 1 or more, as the type of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def size_text(size: float) -> str:
    """Return a number of bytes for people: ``512 B``, ``52 kB``, ``24.1 MB``, ``1.2 GB``."""
    for unit, divisor, digits in (("GB", 1e9, 1), ("MB", 1e6, 1), ("kB", 1e3, 0)):
        if size >= divisor:
            return f"{size / divisor:.{digits}f} {unit}"
    return f"{size:.0f} B"


def snippet(text: str, width: int) -> str:
    """Return the beginning of a text as one line that cannot steer a terminal.

    Args:
        text: Anything.
        width: Columns that it may take; East Asian wide characters take two.
    """
    # Characters beyond this number cannot be seen, however long the text is.
    line = " ".join(text[: 8 * width].split())
    shown, columns = [], 0
    for character in line:
        columns += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if columns > width:
            break
        shown.append(character if character.isprintable() else "\ufffd")
    if len(shown) == len(line):
        return "".join(shown)
    while shown and columns > width - 1:
        columns -= 2 if unicodedata.east_asian_width(shown.pop()) in "WF" else 1
    return "".join(shown) + "…"
