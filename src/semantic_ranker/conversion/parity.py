"""The gate of an export: torch, ONNX fp32 and ONNX int8 must score real pairs alike, or nothing is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.errors import ExportParityError, InvalidInputError
from semantic_ranker.tokenization import EncodedPair, PairTokenizer, pad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.backends import Backend

_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityThresholds:
    """How far an export may be from its source.

    Attributes:
        max_difference: Of a logit, fp32 ONNX against torch, however pairs are batched and padded. Rounding alone
            gives some 1e-5; a wrong mask, a lost input or a wrong position gives 0.1 and more.
        tau: Least Kendall tau of int8 against fp32, mean over queries. Measured on top-20 candidates of four
            collections: 0.95 to 0.97 for the bundled model; per-tensor weights gave 0.8 and less.
        relative_rmse: Most error of int8, as a share of the deviation of the logits of one query: what the error is
            to be compared with, since only differences inside a query decide an order. Measured as above: 0.05 to 0.07;
            an ordinary [CLS] head is expected to give up to 0.15.
        fp16_relative: Largest difference of a logit of fp16, as a share of the same deviation.
    """

    max_difference: float = 1e-3
    tau: float = 0.85
    relative_rmse: float = 0.2
    fp16_relative: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """What was measured.

    Attributes:
        pairs: Pairs scored.
        queries: Queries among them.
        deviation: Mean over queries of the standard deviation of their logits (torch).
        fp32_max_difference: Of a logit, ONNX against torch, one unpadded pair a run.
        batch_max_difference: Of a logit, ONNX in padded batches of 8 against one pair a run.
        token_type_effect: Largest change of a torch logit when all token types are set to 0; None without that input.
        token_type_max_difference: Of a logit, ONNX against torch, all token types 0; None without that input.
        int8_tau: Kendall tau-b of int8 against fp32 ONNX, mean over queries; None without int8.
        int8_relative_rmse: Root mean squared error of int8, divided by ``deviation``; None without int8.
        int8_max_difference: Of a logit; None without int8.
        fp16_max_difference: Of a logit, fp16 against fp32 ONNX; None without fp16.
        fp16_relative_difference: The same, divided by ``deviation``.
        fp32_tau: Kendall tau-b of fp32 ONNX against torch, mean over queries.
        fp16_tau: The same of fp16 against fp32; None without fp16.
    """

    pairs: int
    queries: int
    deviation: float
    fp32_max_difference: float
    batch_max_difference: float
    token_type_effect: float | None = None
    token_type_max_difference: float | None = None
    int8_tau: float | None = None
    int8_relative_rmse: float | None = None
    int8_max_difference: float | None = None
    fp16_max_difference: float | None = None
    fp16_relative_difference: float | None = None
    fp32_tau: float | None = None
    fp16_tau: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def failures(self, thresholds: ParityThresholds) -> list[str]:
        """Return one sentence for each figure outside its threshold; a figure that is NaN is outside."""
        most = thresholds.max_difference
        limits: list[tuple[str, float | None, float]] = [
            ("fp32 ONNX against torch, largest difference of a logit", self.fp32_max_difference, most),
            ("fp32 ONNX, padded batches against single pairs", self.batch_max_difference, most),
            ("fp32 ONNX against torch with all token types 0", self.token_type_max_difference, most),
            ("int8 error / deviation within a query", self.int8_relative_rmse, thresholds.relative_rmse),
            ("fp16 difference / deviation within a query", self.fp16_relative_difference, thresholds.fp16_relative),
        ]
        found = [
            f"{name}: expected at most {limit:g}, got {value:.4g}"
            for name, value, limit in limits
            if value is not None and not value <= limit
        ]
        if self.int8_tau is not None and not self.int8_tau >= thresholds.tau:
            found.append(
                f"int8 against fp32, Kendall tau a query: expected at least {thresholds.tau:g}, got {self.int8_tau:.4g}"
            )
        return found

    def check(self, thresholds: ParityThresholds | None = None) -> Self:
        """Return the report itself where every figure is within its threshold.

        Raises:
            ExportParityError: One is not; the message has the figures.
        """
        failures = self.failures(thresholds or ParityThresholds())
        if failures:
            raise ExportParityError(
                f"The export does not score like its source on {self.pairs} pairs of {self.queries} queries: "
                f"{'; '.join(failures)}. Nothing was written. Export fp32 only, or report it with the model's "
                "config.json."
            )
        return self


def measure_parity(
    pairs: Sequence[tuple[str, str]],
    tokenizer: PairTokenizer,
    torch: Backend,
    fp32: Backend,
    int8: Backend | None = None,
    fp16: Backend | None = None,
) -> ParityReport:
    """Score pairs with each backend and compare.

    Args:
        pairs: Queries and texts; some query needs two or more texts of unlike fit.
        tokenizer: The folder's.
        torch: The source.
        fp32: Its ONNX export.
        int8: Its int8 ONNX export, if there is one.
        fp16: Its fp16 ONNX export, if there is one.

    Raises:
        InvalidInputError: No query has two texts.
    """
    rows = _rows_by_query(pairs)
    queries = tokenizer.queries([query for query, _ in pairs])
    encoded = [found[0] for found in tokenizer.pairs(queries, [text for _, text in pairs], windows=False)]
    expected, actual = _one_by_one(torch, encoded), _one_by_one(fp32, encoded)
    deviation = float(np.mean([expected[group].std() for group in rows]))
    figures: dict[str, float] = {
        "deviation": deviation,
        "fp32_max_difference": _largest(actual, expected),
        "batch_max_difference": _largest(_in_batches(fp32, encoded), actual),
        "fp32_tau": _mean_tau(actual, expected, rows),
    }
    if getattr(torch, "uses_token_types", True):
        plain = [EncodedPair(pair.input_ids, np.zeros_like(pair.input_ids), None, False) for pair in encoded]
        without = _one_by_one(torch, plain)
        figures["token_type_effect"] = _largest(without, expected)
        figures["token_type_max_difference"] = _largest(_one_by_one(fp32, plain), without)
    if int8 is not None:
        coarse = _one_by_one(int8, encoded)
        figures["int8_tau"] = _mean_tau(coarse, actual, rows)
        figures["int8_relative_rmse"] = float(np.sqrt(np.mean((coarse - actual) ** 2))) / max(deviation, 1e-12)
        figures["int8_max_difference"] = _largest(coarse, actual)
    if fp16 is not None:
        half = _one_by_one(fp16, encoded)
        figures["fp16_tau"] = _mean_tau(half, actual, rows)
        figures["fp16_max_difference"] = _largest(half, actual)
        figures["fp16_relative_difference"] = figures["fp16_max_difference"] / max(deviation, 1e-12)
    return ParityReport(pairs=len(pairs), queries=len({query for query, _ in pairs}), **figures)


def kendall_tau(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Return Kendall's tau-b of two float (n,) arrays; 1 where one of them is constant and so is the other, else 0."""
    first, second = np.triu_indices(len(left), 1)
    a, b = np.sign(left[first] - left[second]), np.sign(right[first] - right[second])
    norm = float(np.sqrt(np.abs(a).sum() * np.abs(b).sum()))
    if norm == 0.0:
        return float(np.array_equal(a, b))
    return float((a * b).sum()) / norm


def _mean_tau(left: NDArray[np.float32], right: NDArray[np.float32], rows: Sequence[list[int]]) -> float:
    return float(np.mean([kendall_tau(left[group], right[group]) for group in rows]))


def _rows_by_query(pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, (query, _) in enumerate(pairs):
        rows.setdefault(query, []).append(row)
    groups = [group for group in rows.values() if len(group) > 1]
    if not groups:
        raise InvalidInputError(
            f"Expected parity pairs with two or more texts for a query, got {len(pairs)} pairs of {len(rows)} queries."
        )
    return groups


def _one_by_one(backend: Backend, pairs: Sequence[EncodedPair]) -> NDArray[np.float32]:
    return np.concatenate([backend.run(*pad([pair])) for pair in pairs])


def _in_batches(backend: Backend, pairs: Sequence[EncodedPair]) -> NDArray[np.float32]:
    return np.concatenate([backend.run(*pad(pairs[at : at + _BATCH])) for at in range(0, len(pairs), _BATCH)])


def _largest(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    return float(np.abs(left - right).max())
