"""Finds out how bytes are to be read as text, and says what is odd about them. Guesses as little as possible."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from semantic_ranker._extras import requires_extra
from semantic_ranker.documents.normalization import mend_mojibake

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that one's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_PROBE_BYTES = 65_536
_MOST_CONTROLS = 0.02
_MOST_FOREIGN = 0.30  # share of bytes above 127 from which a text is hardly Western European
_DECLARED = re.compile(
    rb"<(?:meta[^<>]{0,200}?charset|\?xml[^<>]{0,200}?encoding)\s{0,8}=\s{0,8}[\"']?([\w.:-]{1,40})", re.IGNORECASE
)
_CONTROLS = bytes({*range(0x20)} - {*b"\t\n\r\f\x1b"} | {0x7F})


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, and how it was read.

    Attributes:
        text: The text.
        encoding: Python's name of the encoding.
        notes: What is odd.
    """

    text: str
    encoding: str
    notes: tuple[str, ...] = ()


def decode(data: bytes, *, markup: bool = False) -> Decoded | None:
    """Read bytes as text: by their mark, as UTF-8, as UTF-16 without a mark, as declared, else as a guess.

    Args:
        data: The bytes.
        markup: Whether they are HTML, which may declare its encoding.

    Returns:
        The text; None where the bytes are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strictly(data[len(mark) :], encoding) or _damaged(data[len(mark) :], encoding)
    if (unmarked := _utf16(data)) is not None:
        return _strictly(data, unmarked, f"read as {unmarked}, it has no byte order mark")
    if _is_binary(data):
        return None
    return _strictly(data, "utf-8") or (_declared(data) if markup else None) or _guessed(data)


def _utf16(data: bytes) -> str | None:
    probe = data[: _PROBE_BYTES - _PROBE_BYTES % 2]
    half = len(probe) // 2
    if half < 2 or len(data) % 2 or b"\0\0" in probe.replace(b"\n\0", b"").replace(b"\0\n", b"")[:64]:
        return None
    even, odd = probe[0::2].count(0), probe[1::2].count(0)
    if odd > 0.5 * half and not even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.5 * half and not odd else None


def _is_binary(data: bytes) -> bool:
    probe = data[:_PROBE_BYTES]
    if b"\0" in probe:
        return True
    return len(probe) - len(probe.translate(None, _CONTROLS)) > _MOST_CONTROLS * len(probe)


def _strictly(data: bytes, encoding: str, *notes: str) -> Decoded | None:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError):  # LookupError: declared, but no such encoding of text
        return None
    return _with_notes(text, encoding, *notes)


def _damaged(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    return _with_notes(text, encoding, f"broken {encoding}")


def _declared(data: bytes) -> Decoded | None:
    found = _DECLARED.search(data[:4096])
    if found is None:
        return None
    name = found.group(1).decode("ascii").lower()
    name = "cp1252" if name in {"iso-8859-1", "latin-1", "latin1", "us-ascii"} else name  # as browsers read them
    if name.startswith("utf"):
        return None  # a mark or a decoder has answered that already
    return _strictly(data, name, f"read as {name}, as it declares")


def _guessed(data: bytes) -> Decoded:
    foreign = sum(byte > 0x7F for byte in data[:_PROBE_BYTES])
    # Short Western texts are what detectors get wrong most, and what is met most.
    if foreign <= _MOST_FOREIGN * min(len(data), _PROBE_BYTES):
        if (western := _strictly(data, "cp1252", "read as cp1252, it is not UTF-8")) is not None:
            return western
    elif (found := _detected(data)) is not None:
        return found
    return _damaged(data, "utf-8")


def _detected(data: bytes) -> Decoded | None:
    with requires_extra("docs-ingest"):
        from charset_normalizer import from_bytes
    best = from_bytes(data[:_PROBE_BYTES]).best()
    return None if best is None else _strictly(data, best.encoding, f"read as {best.encoding}, a guess")


def _with_notes(text: str, encoding: str, *notes: str) -> Decoded:
    found = list(notes)
    if lost := text.count("\ufffd"):
        found.append(f"{lost} characters are lost (U+FFFD)")
    text, mangled, mended = mend_mojibake(text)
    if mangled:
        done = "put right" if mended else "left as it is: other letters are right; mend the file"
        found.append(f"mojibake in {mangled} places (UTF-8 that was read as cp1252 and saved), {done}")
    return Decoded(text, encoding, tuple(found))
