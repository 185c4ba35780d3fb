"""Writes ONNX files: the part of the format that our graphs need, and nothing that reads one.

A file is a protocol buffer (https://protobuf.dev/programming-guides/encoding/) of the messages in ``onnx.proto3``
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), whose field numbers stand below. Writing it here keeps the
``onnx`` package, and its start-up time, out of the runtime.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT: Final = 1
UINT8: Final = 2
INT8: Final = 3
INT32: Final = 6
INT64: Final = 7
BOOL: Final = 9
FLOAT16: Final = 10
"""Element types of ``TensorProto.DataType``."""
_TYPES = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.int32): INT32,
    np.dtype(np.int64): INT64,
    np.dtype(np.float16): FLOAT16,
}
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT = 1, 2
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
Shape = Sequence[str | int]


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str, attributes: Mapping[str, int | float]
) -> bytes:
    """Return a ``NodeProto``.

    Args:
        kind: The operator.
        inputs: Names; an empty one leaves an optional input out.
        outputs: Names.
        domain: Of the operator; empty is ONNX's own.
        attributes: Integers and floats by name.
    """
    parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs]
    parts += [_text(4, kind), *(_field(5, _attribute(*item)) for item in attributes.items())]
    return b"".join([*parts, _text(7, domain)] if domain else parts)


def tensor(value: NDArray[np.generic], name: str) -> list[bytes]:
    """Return a ``TensorProto`` of a float or integer type above, in pieces: a table must not be copied to be written.

    Raises:
        KeyError: It is of another type.
    """
    head = b"".join(_integer(1, size) for size in value.shape) + _integer(2, _TYPES[value.dtype]) + _text(8, name)
    data = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
    return [head, _key(9, _BYTES) + _varint(len(data)), data]


def value_info(name: str, kind: int, shape: Shape | None) -> bytes:
    """Return a ``ValueInfoProto``; no shape says nothing of it."""
    sizes = None if shape is None else b"".join(_field(1, _dimension(size)) for size in shape)
    content = _integer(1, kind) + (b"" if sizes is None else _field(2, sizes))
    return _text(1, name) + _field(2, _field(1, content))


def model(
    name: str,
    nodes: Iterable[bytes],
    tensors: Iterable[Sequence[bytes]],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    *,
    opsets: Mapping[str, int],
    ir_version: int,
) -> bytes:
    """Return a whole ``ModelProto``.

    Args:
        name: Of the graph.
        nodes: Each a `node`, in an order in which they can run.
        tensors: Each a `tensor`.
        inputs: Each a `value_info`.
        outputs: Each a `value_info`.
        opsets: Version of each operator domain.
        ir_version: Version of the format.
    """
    graph = [*(_field(1, each) for each in nodes), _text(2, name)]
    for pieces in tensors:
        graph += [_key(5, _BYTES) + _varint(sum(map(len, pieces))), *pieces]
    graph += [*(_field(11, each) for each in inputs), *(_field(12, each) for each in outputs)]
    head = _integer(1, ir_version) + _text(2, "semantic-ranker")
    sets = (_field(8, (_text(1, domain) if domain else b"") + _integer(2, of)) for domain, of in opsets.items())
    return b"".join([head, _key(7, _BYTES) + _varint(sum(map(len, graph))), *graph, *sets])


def _attribute(name: str, value: int | float) -> bytes:
    if isinstance(value, float):
        return _text(1, name) + _key(2, _FIXED32) + struct.pack("<f", value) + _integer(20, _ATTRIBUTE_FLOAT)
    return _text(1, name) + _integer(3, value) + _integer(20, _ATTRIBUTE_INT)


def _dimension(size: str | int) -> bytes:
    return _integer(1, size) if isinstance(size, int) else _text(2, size)


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written in ten bytes
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
