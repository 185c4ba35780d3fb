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
# UTF-8 of two or three bytes, read as cp1252: a lead (0xC2 to 0xEF) and as many signs of the bytes 0x80 to 0xBF.
_CONTINUED = (
    "["
    + re.escape("".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xC0)))
    + "\x81\x8d\x8f\x90\x9d]"
)
_MOJIBAKE = re.compile(f"[\u00c2-\u00df]{_CONTINUED}|[\u00e0-\u00ef]{_CONTINUED}{{2}}")
_MANGLED_SHARE = 0.9  # below it, some letters are right: then the text may well be about mojibake


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


def mend_mojibake(text: str) -> tuple[str, int, bool]:
    """Return a text in which UTF-8 that was read as cp1252, such as ``Ã©`` for ``é``, is put right.

    Only where nearly all signs outside of ASCII are such: else some were read rightly, and nothing is changed.

    Returns:
        The text, in how many places that seems to have happened, and whether they were mended.
    """
    count = inside = 0

    def mended(found: re.Match[str]) -> str:
        nonlocal count, inside
        if (right := _reread(found.group())) is None:
            return found.group()
        count, inside = count + 1, inside + len(found.group())
        return right

    right = _MOJIBAKE.sub(mended, text)
    foreign = len(text) - len(text.encode("ascii", "ignore")) if count else 0
    if not count or inside < _MANGLED_SHARE * foreign:
        return text, count, False
    return right, count, True


def _reread(mangled: str) -> str | None:
    try:
        # The five bytes that cp1252 leaves free are read as the controls of their numbers.
        data = b"".join(sign.encode("latin-1" if "\x80" <= sign <= "\x9f" else "cp1252") for sign in mangled)
        return data.decode("utf-8")
    except UnicodeError:
        return None
