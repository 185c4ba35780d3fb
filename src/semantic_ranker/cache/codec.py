"""Vectors as bytes and back: a 16-byte header, then the components.

Header, little-endian: ``SRE1``, codec (u8), flags (u8, 0), dim (u16), CRC-32 (u32), scale (f32). The CRC covers the
key, the rest of the header and the components, so that a value that answers another key is refused as well.
Measured on MiniLM: fp16 keeps every one of the nearest ten at half the bytes, int8 99.6 % at a quarter.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from semantic_ranker.errors import CacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Codec = Literal["fp16", "fp32", "int8"]
"""How components are stored."""
HEADER_BYTES = 16
MAX_DIM = 65_535
"""What the header's u16 can say."""
INT8_FLOOR = 0.999
"""Least cosine between a vector and its int8 form; below it fp16 is stored."""
_MAGIC = b"SRE1"
_HEAD = struct.Struct("<4sBBH")
_TAIL = struct.Struct("<If")
_HEADER = np.dtype(
    [("magic", "S4"), ("codec", "u1"), ("flags", "u1"), ("dim", "<u2"), ("crc", "<u4"), ("scale", "<f4")]
)
_IDS: dict[Codec, int] = {"fp32": 0, "fp16": 1, "int8": 2}
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("i1")}
# Outside these bounds fp16 overflows, or has fewer than its ten bits.
_FP16_MOST, _FP16_LEAST = 65_504.0, 2.0**-10
_INT8_MOST = 1e38


def encode(vectors: NDArray[np.float32], keys: Sequence[str], codec: Codec) -> list[bytes]:
    """Return one value a vector.

    A vector that the codec cannot hold is stored in a wider one: int8 below `INT8_FLOOR` as fp16, fp16 out of its
    range as fp32. The header says which.

    Args:
        vectors: float32 (n, dim), finite.
        keys: The n names that the values are stored under.
        codec: How to store them.

    Raises:
        CacheError: The codec is unknown, or the vectors have more than `MAX_DIM` components.
    """
    if codec not in _IDS:
        raise CacheError(f"Expected codec to be one of {', '.join(map(repr, _IDS))}, got {codec!r}.")
    if vectors.shape[1] > MAX_DIM:
        raise CacheError(f"Expected vectors of at most {MAX_DIM} components, got {vectors.shape[1]}.")
    scales = np.zeros(len(vectors), np.float32)
    forms = np.full(len(vectors), _IDS["fp32"], np.uint8)
    peaks = np.abs(vectors).max(axis=1, initial=0.0)
    stored: dict[int, NDArray[Any]] = {_IDS["fp32"]: vectors.astype("<f4", copy=False)}
    if codec != "fp32":
        forms[_fp16_holds(peaks)] = _IDS["fp16"]
        with np.errstate(over="ignore"):  # rows that overflow are not stored in this form
            stored[_IDS["fp16"]] = vectors.astype("<f2")
    if codec == "int8":
        stored[_IDS["int8"]], close = _int8(vectors, peaks, scales)
        forms[close] = _IDS["int8"]
    scales[forms != _IDS["int8"]] = 0.0
    return [
        _sealed(key, form, vectors.shape[1], scale, stored[form][row].tobytes())
        for row, (key, form, scale) in enumerate(zip(keys, forms.tolist(), scales.tolist(), strict=True))
    ]


def decode(values: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Return the vectors of values that `is_sound` accepted, or that `encode` made, float32 (n, dim)."""
    vectors = np.empty((len(values), dim), np.float32)
    rows_of: dict[int, list[int]] = {}
    for row, value in enumerate(values):
        rows_of.setdefault(value[4], []).append(row)
    for form, rows in rows_of.items():
        kind = np.dtype([("header", _HEADER), ("components", _TYPES[form], (dim,))])
        table = np.frombuffer(b"".join([values[row] for row in rows]), kind)
        found = table["components"].astype(np.float32)
        if form == _IDS["int8"]:
            found *= table["header"]["scale"][:, None]
        if len(rows) == len(values):
            return found
        vectors[rows] = found
    return vectors


def is_sound(value: object, key: str, dim: int) -> bool:
    """Return whether bytes from elsewhere are a value of this key and dimension; length and CRC are checked."""
    if not isinstance(value, bytes) or len(value) < HEADER_BYTES:
        return False
    magic, form, flags, stored_dim = _HEAD.unpack_from(value)
    if magic != _MAGIC or flags or stored_dim != dim or form not in _TYPES:
        return False
    if len(value) != HEADER_BYTES + dim * _TYPES[form].itemsize:
        return False
    crc, _ = _TAIL.unpack_from(value, _HEAD.size)
    return int(crc) == _crc(key, value[: _HEAD.size], value[12:16], memoryview(value)[HEADER_BYTES:])


def codec_of(value: bytes) -> Codec:
    """Return how a sound value is stored."""
    return next(name for name, number in _IDS.items() if number == value[4])


def _sealed(key: str, form: int, dim: int, scale: float, components: bytes) -> bytes:
    head, tail = _HEAD.pack(_MAGIC, form, 0, dim), struct.pack("<f", scale)
    crc = _crc(key, head, tail, components)
    return b"".join((head, struct.pack("<I", crc), tail, components))


def _crc(key: str, head: bytes, scale: bytes, components: bytes | memoryview) -> int:
    parts: Iterable[bytes | memoryview] = (key.encode(), head, scale, components)
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _fp16_holds(peaks: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((peaks == 0) | ((peaks <= _FP16_MOST) & (peaks >= _FP16_LEAST)))


def _int8(
    vectors: NDArray[np.float32], peaks: NDArray[np.float32], scales: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Fill in the scales; return int8 components, and which rows are close enough to their vectors."""
    np.divide(peaks, 127.0, out=scales)
    # Smaller scales are not normal numbers, and lose digits themselves; 127 times larger ones may overflow.
    usable = ((scales >= np.finfo(np.float32).tiny) & (peaks <= _INT8_MOST)) | (peaks == 0)
    divisor = np.where(usable & (peaks > 0), scales, np.float32(np.inf))
    stored = np.rint(vectors / divisor[:, None]).astype(np.int8)
    exact, kept = vectors.astype(np.float64), stored.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(kept, axis=1)
    cosines = np.divide((exact * kept).sum(axis=1), lengths, out=np.ones(len(vectors)), where=lengths > 0)
    return stored, usable & (cosines >= INT8_FLOOR)
