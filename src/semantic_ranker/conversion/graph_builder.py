"""ONNX graphs node by node: constants, products in float32 or int8, onnxruntime's fused operators.

int8 is one form that is right on every x86 CPU: unsigned activations and signed 7-bit weights with a scale a channel.
CPUs without VNNI add pairs of 8-bit products in 16 bits, which overflow with 8-bit weights; on CPUs with VNNI or AMX
the eighth bit would gain little, since activations cause nine tenths of the error (measured on all-MiniLM-L6-v2's
shape: relative error 0.22 from activations, 0.065 from 7-bit weights).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from semantic_ranker.conversion import onnx_file
from semantic_ranker.conversion.onnx_file import FLOAT, INT64
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

RowNorm = Literal["none", "ff", "all"]
Shape = tuple[str | int, ...] | None
OPSET = 18
IR_VERSION = 10
"""What onnxruntime 1.21 opens."""
MICROSOFT = "com.microsoft"
_WEIGHT_PEAK = 63
_TABLE_PEAK = 127
_LEAST = 1e-9


def four_bit_codes(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row of a table to multiples, -8 to 7, of a step of its own.

    Of nine steps, from 0.6 to 1 times the one that reaches the row's peak, the one with the least squared error is
    taken: large numbers are rare enough to be cut.

    Args:
        table: float32 (n, width), the width even.

    Returns:
        Codes int8 (n, width), and steps float32 (n, 1).

    Raises:
        InvalidInputError: The width is odd.
    """
    if table.shape[1] % 2:
        raise InvalidInputError(f"Expected a table of even width for 4 bits, got {table.shape[1]}: use 8 bits.")
    peak = np.maximum(np.abs(table).max(1, keepdims=True), _LEAST)
    best = np.full(peak.shape, np.inf, np.float32)
    codes, steps = np.zeros(table.shape, np.int8), np.zeros(peak.shape, np.float32)
    for share in np.linspace(0.6, 1.0, 9):
        step = (peak * share / 7).astype(np.float32)
        found = np.clip(np.rint(table / step), -8, 7)
        error = ((found * step - table) ** 2).sum(1, keepdims=True)
        better = error < best
        best, steps = np.where(better, error, best), np.where(better, step, steps)
        codes = np.where(better, found.astype(np.int8), codes)
    return codes, steps


class Rounding(Protocol):
    """What is known of the inputs of one product, to round its weights by."""

    def scale(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the divisors of the input's columns, float32 (in,), for a weight (in, out)."""

    def codes(
        self, weight: NDArray[np.float32], step: NDArray[np.float32], divisors: NDArray[np.float32], most: int
    ) -> NDArray[np.int8]:
        """Round a weight (in, out) to multiples of ``step`` (out,), at most ``most`` of them."""


@dataclass(slots=True)
class GraphBuilder:
    """Collects nodes and constants; every method that makes a node returns the name of its result.

    Attributes:
        int8: Whether `product` and `lookup` quantise.
        statistics: In int8, what goes into each product, in order; none rounds each weight by itself.
        products: Names of the inputs of the products so far.
        nodes: So far, in order.
        constants: So far.
    """

    int8: bool = False
    statistics: Sequence[Rounding] = ()
    products: list[str] = field(default_factory=list)
    nodes: list[bytes] = field(default_factory=list)
    constants: list[list[bytes]] = field(default_factory=list)

    def constant(self, value: NDArray[np.generic]) -> str:
        """Store an array."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(onnx_file.tensor(value, name))
        return name

    def integers(self, *values: int) -> str:
        """Store int64 (n,)."""
        return self.constant(np.asarray(values, np.int64))

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        domain: str = "",
        name: str = "",
        **attributes: int | float,
    ) -> str:
        """Append a node with one result.

        Args:
            kind: The operator.
            inputs: Names; an empty one leaves an optional input out.
            domain: ``MICROSOFT`` for onnxruntime's own operators.
            name: Of the result; empty makes one up.
            attributes: Of the operator.
        """
        output = name or f"value_{len(self.nodes)}"
        self.nodes.append(onnx_file.node(kind, inputs, [output], domain, attributes))
        return output

    def split(self, states: str, count: int, width: int) -> list[str]:
        """Cut the last axis into ``count`` parts of one width."""
        parts = [f"part_{len(self.nodes)}_{index}" for index in range(count)]
        sizes = self.integers(*[width] * count)
        self.nodes.append(onnx_file.node("Split", [states, sizes], parts, "", {"axis": -1}))
        return parts

    def first(self, states: str) -> str:
        """Keep the first token of each row: (batch, 1, hidden)."""
        return self.add("Slice", [states, self.integers(0), self.integers(1), self.integers(1)])

    def product(self, states: str, weight: NDArray[np.float32], *, row_norm: bool = False) -> str:
        """Multiply by a constant matrix.

        Args:
            states: float32 (..., in).
            weight: float32 (in, out).
            row_norm: In int8, divide each row by its largest magnitude before and multiply by it after, so that one
                int8 scale serves rows of any size.
        """
        self.products.append(states)
        if not self.int8:
            return self.add("MatMul", [states, self.constant(weight)])
        seen = self.statistics[len(self.products) - 1] if self.statistics else None
        if seen is not None:
            divisors = seen.scale(weight)
            states = self.add("Mul", [states, self.constant(1 / divisors)])
            weight = weight * divisors[:, None]
        scale = np.maximum(np.abs(weight).max(0), _LEAST) / _WEIGHT_PEAK
        if seen is None:
            codes = np.rint(weight / scale).astype(np.int8)
        else:
            codes = seen.codes(weight, scale, divisors, _WEIGHT_PEAK)
        constants = [codes, scale.astype(np.float32), np.zeros(len(scale), np.int8)]
        rest = [self.constant(value) for value in constants]
        if not row_norm:
            return self.add("DynamicQuantizeMatMul", [states, *rest], domain=MICROSOFT)
        magnitude = self.add("ReduceMax", [self.add("Abs", [states]), self.integers(-1)], keepdims=1)
        peak = self.add("Max", [magnitude, self.constant(np.asarray(_LEAST, np.float32))])
        rows = self.add("Div", [states, peak])
        product = self.add("DynamicQuantizeMatMul", [rows, *rest], domain=MICROSOFT)
        return self.add("Mul", [product, peak])

    def linear(
        self,
        states: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None = None,
        *,
        compact: bool = False,
    ) -> str:
        """Apply a small layer in float32, its weight given as (out, in) and kept in float16 where ``compact``."""
        kept = self.constant(weight.T.astype(np.float16) if compact else weight.T)
        product = self.add("MatMul", [states, self.add("Cast", [kept], to=FLOAT) if compact else kept])
        return product if bias is None else self.add("Add", [product, self.constant(bias)])

    def lookup(self, table: NDArray[np.float32], ids: str, *, bits: Literal[4, 8] = 8) -> str:
        """Look up rows of a table.

        Args:
            table: float32 (n, width).
            ids: int64 (rows, length).
            bits: In int8, of a number, with one scale a row: 8, whose error is below 0.4 % of the row's peak, or 4 (see
                `four_bit_codes`), half the size.
        """
        if not self.int8:
            return self.add("Gather", [self.constant(table), ids])
        if bits == 4:
            return self._lookup_four_bits(table, ids)
        return self._taken_of_eight_bits("Gather", table, [ids])

    def _taken_of_eight_bits(self, kind: str, table: NDArray[np.float32], where: Sequence[str]) -> str:
        """Take rows by an operator of the table and of ``where``, which are names."""
        scale = np.maximum(np.abs(table).max(1, keepdims=True), _LEAST) / _TABLE_PEAK
        codes = self.add(kind, [self.constant(np.rint(table / scale).astype(np.int8)), *where])
        scales = self.add(kind, [self.constant(scale.astype(np.float32)), *where])
        return self.add("Mul", [self.add("Cast", [codes], to=FLOAT), scales])

    def _lookup_four_bits(self, table: NDArray[np.float32], ids: str) -> str:
        codes, steps = four_bit_codes(table)
        unsigned = (codes + 8).astype(np.uint8)
        half = table.shape[1] // 2
        # Two numbers a byte: the first half of the row below, the second above.
        packed = self.add("Gather", [self.constant(unsigned[:, :half] | unsigned[:, half:] << 4), ids])
        low = self.add("BitwiseAnd", [packed, self.constant(np.asarray(15, np.uint8))])
        high = self.add("Div", [packed, self.constant(np.asarray(16, np.uint8))])
        row = self.add("Cast", [self.add("Concat", [low, high], axis=-1)], to=FLOAT)
        centred = self.add("Sub", [row, self.constant(np.asarray(8, np.float32))])
        return self.add("Mul", [centred, self.add("Gather", [self.constant(steps), ids])])

    def first_rows(self, table: NDArray[np.float32], count: str, *, compact: bool = False) -> str:
        """Take the first rows of a table.

        Args:
            table: float32 (n, width).
            count: int64 (1,), how many.
            compact: Whether it is kept in 8 bits with one scale a row.
        """
        span = [self.integers(0), count, self.integers(0)]
        if compact:
            return self._taken_of_eight_bits("Slice", table, span)
        return self.add("Slice", [self.constant(table), *span])

    def layer_norm(self, states: str, weight: NDArray[np.float32], bias: NDArray[np.float32], epsilon: float) -> str:
        """Normalise the last axis."""
        inputs = [states, self.constant(weight), self.constant(bias)]
        return self.add("LayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def skip_layer_norm(self, product: str, skip: str, norm: Sequence[NDArray[np.float32]], epsilon: float) -> str:
        """Add a residual and the product's bias, then normalise; ``norm`` is weight, bias, and the product's bias."""
        inputs = [product, skip, *(self.constant(value) for value in norm)]
        return self.add("SkipLayerNormalization", inputs, domain=MICROSOFT, epsilon=epsilon)

    def unit(self, states: str, *, name: str = "", least: float = 1e-12) -> str:
        """Give each last axis length 1; zeros stay zeros."""
        length = self.add("ReduceL2", [states, self.integers(-1)], keepdims=1)
        safe = self.add("Max", [length, self.constant(np.asarray(least, np.float32))])
        return self.add("Div", [states, safe], name=name)

    def model(self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> bytes:
        """Return the finished graph as a file: int64 inputs, float32 outputs, each with its shape; None leaves it open.

        A graph may be finished several times, with other outputs.
        """
        return onnx_file.model(
            name,
            self.nodes,
            self.constants,
            [onnx_file.value_info(of, INT64, shape) for of, shape in inputs.items()],
            [onnx_file.value_info(of, FLOAT, shape) for of, shape in outputs.items()],
            opsets={"": OPSET, MICROSOFT: 1},
            ir_version=IR_VERSION,
        )
