"""int8 products fitted to what really goes through them: even columns, and weights rounded together.

Columns of a layer's input are evened out as in SmoothQuant (Xiao et al. 2023, equation 4); weights are rounded one row
after the other, each making up for the error of those before, as in GPTQ (Frantar et al. 2023). Both need some dozens
of texts to look at, no labels. Time and size of the graph stay the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.conversion.graph_builder import GraphBuilder, Shape

ALPHA = 0.8
"""Share of the difficulty that goes into the weights; the best of 0.3 to 1.0 on all-MiniLM-L6-v2, whose weights are
quantised column by column and bear more than inputs do."""
_DAMPING, _SCARCE = 0.01, 0.5
"""Of the gram's mean diagonal: at least, and times the square of columns to rows, since few rows say little of most
directions. Measured on all-MiniLM-L6-v2 with 2,143 rows for 1,536 columns: the least cosine of 340 other texts is 0.991
with 0.01, 0.997 with 0.3."""
_LEAST = 1e-5
_BLOCK, _ROWS = 64, 1024


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """What went into one product.

    Attributes:
        peak: float32 (in,), the largest magnitude of each column, rows divided by their own peak.
        gram: float64 (in, in), the sum of the outer products of the rows; None where weights are rounded one by one.
        rows: How many there were.
    """

    peak: NDArray[np.float32]
    gram: NDArray[np.float64] | None
    rows: int

    def scale(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the divisors of the columns, float32 (in,), for a weight (in, out)."""
        weights = np.maximum(np.abs(weight).max(1), _LEAST)
        found = np.maximum(self.peak, _LEAST) ** ALPHA / weights ** (1 - ALPHA)
        divisors: NDArray[np.float32] = np.maximum(found / found.mean(), _LEAST).astype(np.float32)
        return divisors

    def codes(
        self, weight: NDArray[np.float32], step: NDArray[np.float32], divisors: NDArray[np.float32], most: int
    ) -> NDArray[np.int8]:
        """Round a weight (in, out) to multiples of ``step`` (out,), at most ``most`` of them, inputs being divided."""
        if self.gram is None:
            alone: NDArray[np.int8] = np.clip(np.rint(weight / step), -most, most).astype(np.int8)
            return alone
        size = len(weight)
        gram = self.gram / np.outer(divisors, divisors)
        damping = max(_DAMPING, _SCARCE * (size / max(1, self.rows)) ** 2)
        gram[np.diag_indices(size)] += damping * gram.trace() / size + np.finfo(np.float64).tiny
        # Upper, with inverse(gram) = upper.T @ upper: row i says how later rows make up for an error in row i.
        upper = np.linalg.cholesky(np.linalg.inv(gram)).T
        left, codes = weight.astype(np.float64), np.zeros(weight.shape, np.int8)
        for start in range(0, size, _BLOCK):
            end = min(start + _BLOCK, size)
            errors = np.zeros((end - start, weight.shape[1]))
            for row in range(start, end):
                codes[row] = np.clip(np.rint(left[row] / step), -most, most)
                error = (left[row] - codes[row] * step) / upper[row, row]
                left[row + 1 : end] -= np.outer(upper[row, row + 1 : end], error)
                errors[row - start] = error
            # What the block's errors mean for all later rows, in one product.
            left[end:] -= upper[start:end, end:].T @ errors
        return codes


def input_statistics(
    graph: GraphBuilder,
    shapes: Mapping[str, Shape],
    inputs: Iterable[Mapping[str, NDArray[np.int64]]],
    *,
    threads: int = 1,
    together: bool = True,
) -> list[InputStatistics]:
    """Run a float32 graph and return what went into its products, in their order.

    Args:
        graph: With all its nodes.
        shapes: Of the graph's inputs.
        inputs: The graph's inputs, text by text.
        threads: Of onnxruntime.
        together: Whether weights are rounded together, which takes time with the cube of a layer's width.
    """
    names = list(dict.fromkeys(graph.products))
    content = graph.model("seen", shapes, dict.fromkeys(names))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = {name: _Seen(together) for name in names}
    for text in inputs:
        for name, states in zip(names, session.run(names, dict(text)), strict=True):
            found[name].add(states.reshape(-1, states.shape[-1]))
    done = {name: of.statistics() for name, of in found.items()}
    return [done[name] for name in graph.products]


@dataclass(slots=True)
class _Seen:
    """Statistics in the making; rows wait until a product of many of them is worth its overhead."""

    together: bool
    rows: int = 0
    peak: NDArray[np.float32] | None = None
    gram: NDArray[np.float64] | None = None
    waiting: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, rows: NDArray[np.float32]) -> None:
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) >= _ROWS:
            self._take()

    def statistics(self) -> InputStatistics:
        if self.waiting:
            self._take()
        if self.peak is None:
            raise ValueError("expected at least one text to look at, got none")
        return InputStatistics(self.peak, self.gram, self.rows)

    def _take(self) -> None:
        rows = np.concatenate(self.waiting)
        self.waiting.clear()
        self.rows += len(rows)
        if self.together:
            gram = rows.T @ rows  # float32 sums a thousand rows well enough
            self.gram = gram.astype(np.float64) if self.gram is None else self.gram + gram
        rows /= np.maximum(np.abs(rows).max(1, keepdims=True), _LEAST)
        peak = np.abs(rows).max(0)
        self.peak = peak if self.peak is None else np.maximum(self.peak, peak)
