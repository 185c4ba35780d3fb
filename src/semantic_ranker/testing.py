"""For the tests of applications: a `CrossEncoder` without weights, whose scores the test decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from semantic_ranker._engine import Scored
from semantic_ranker._settings import ModelSettings
from semantic_ranker.cross_encoder import CrossEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker._arguments import Options


def shared_words(query: str, text: str) -> float:
    """Return how many different words of the query stand in the text, whatever their case."""
    return float(len(set(query.lower().split()) & set(text.lower().split())))


@dataclass(frozen=True, slots=True)
class FakeBackend:
    """A backend that gives every row the same logit: for tests of what stands between tokens and scores."""

    logit: float = 0.0
    name: str = "fake"
    precision: str = "fp32"

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the logit for each row, float32 (batch,), from three int64 (batch, length) arrays."""
        return np.full(len(input_ids), self.logit, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _FakeScorer:
    function: Callable[[str, str], float]
    settings: ModelSettings = field(default_factory=lambda: ModelSettings(name="fake"))
    backend: FakeBackend = field(default_factory=FakeBackend)
    fingerprint: str = hashlib.sha256(b"fake").hexdigest()
    max_length: int = 512
    calls: list[tuple[str, list[str]]] = field(default_factory=list)

    def score(self, queries: Sequence[str], texts: Sequence[Sequence[str]], options: Options) -> list[list[Scored]]:
        self.calls.extend((query, list(group)) for query, group in zip(queries, texts, strict=True))
        return [
            [Scored(float(self.function(query, text)), False, (0, len(text))) for text in group]
            for query, group in zip(queries, texts, strict=True)
        ]


class FakeCrossEncoder(CrossEncoder):
    """A `CrossEncoder` that opens nothing; it checks arguments, orders and reports like the real one.

    Args:
        score: Logit of a query and a text. Return NaN to see what your code does with a broken model.
        activation: As in `CrossEncoder`.
        on_error: As in `CrossEncoder`.

    Example:
        >>> encoder = FakeCrossEncoder(lambda query, text: -len(text))
        >>> [ranked.text for ranked in encoder.rank("?", ["long text", "short"])]
        ['short', 'long text']
        >>> encoder.calls
        [('?', ['long text', 'short'])]
    """

    def __init__(
        self,
        score: Callable[[str, str], float] = shared_words,
        *,
        activation: Literal["identity", "sigmoid"] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(activation=activation, on_error=on_error)
        self._scorer = _FakeScorer(score)

    @property
    def calls(self) -> list[tuple[str, list[str]]]:
        """Every query that was scored, with its texts, in the order of the calls."""
        return self._scorer.calls

    def _open(self) -> _FakeScorer:
        return self._scorer

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_scorer": self._scorer}

    def __repr__(self) -> str:
        return f"FakeCrossEncoder({getattr(self._scorer.function, '__name__', 'score')})"
