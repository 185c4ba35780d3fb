"""Plain text: paragraphs between empty lines."""

from __future__ import annotations

import re

from semantic_ranker.documents.document import BlockKind, Piece

_PARAGRAPHS = re.compile(r"\n(?:[ \t]*\n)+")
_ITEM = re.compile(r"[ \t]{0,8}(?:[-*+•]|\d{1,3}[.)])[ \t]+\S")


def plain_pieces(text: str) -> list[Piece]:
    """Return the paragraphs of a text, as they are; those whose every line begins an item are lists."""
    return [Piece(_kind(part), part) for part in _PARAGRAPHS.split(text) if part.strip()]


def _kind(text: str) -> BlockKind:
    lines = text.strip("\n").split("\n")
    return "list" if len(lines) > 1 and all(map(_ITEM.match, lines)) else "paragraph"
