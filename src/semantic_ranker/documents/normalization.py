"""Brings text into one form: NFC, line feeds, no invisible characters. Never changes a word."""

from __future__ import annotations

import re
import unicodedata

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Soft hyphen, zero-width space, word joiner, byte order mark, controls. Joiners stay: emoji and Persian need them.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_TAIL = re.compile(r"(?<![ \t])[ \t]+(?=\n|\Z)")
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
# A capital after the hyphen is a name such as Jean-\nPaul; digits are ranges.
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u2010]\n[ \t]{0,8}(?=[a-z\u00df-\u00f6\u00f8-\u00ff])")
_MOJIBAKE = re.compile(
    "Ã[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u2013-\u203a]|â€[\u0080-\u2122]?|Â[\u00a0-\u00bf]"
)


def normalize(text: str) -> str:
    """Return a text in NFC, with line feeds, plain spaces and without invisible characters; twice changes nothing.

    Half a character pair becomes U+FFFD, so that UTF-8 can hold the text.
    """
    text = _SURROGATES.sub("\ufffd", text)
    text = _LINE_ENDS.sub("\n", text)
    text = _INVISIBLE.sub("", _SPACES.sub(" ", text))
    return _LINE_TAIL.sub("", unicodedata.normalize("NFC", text))


def mend_print(text: str) -> str:
    """Return text of a printed page with ligatures taken apart and words that lines broke put together."""
    return _HYPHENATED.sub("", text.translate(_LIGATURES))


def count_mojibake(text: str) -> int:
    """Return how many times UTF-8 that was read as cp1252 seems to occur, such as ``Ã©``. Nothing is mended."""
    return sum(1 for _ in _MOJIBAKE.finditer(text))
