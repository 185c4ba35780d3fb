"""For the tests of applications: a `CrossEncoder` and an embedder without weights, whose results the test decides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from semantic_ranker._engine import Scored
from semantic_ranker._settings import ModelSettings
from semantic_ranker.cross_encoder import CrossEncoder
from semantic_ranker.embedding.canary import Canary
from semantic_ranker.spaces import EmbeddingSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker._arguments import Options
    from semantic_ranker.cascade.selection import CascadeSettings


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
    cascade: CascadeSettings | None = None
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
        source_weight: As in `CrossEncoder`.

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
        source_weight: float | None = None,
    ) -> None:
        super().__init__(activation=activation, on_error=on_error, source_weight=source_weight)
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


class FakeEmbedder:
    """An embedder without weights: bags of hashed words, so that texts are similar where they share words.

    Args:
        dim: Length of a vector.
        model: Name of the model; another name is another embedding space with other vectors.

    Attributes:
        space: Where the vectors lie.
        calls: Role (``q`` or ``d``) and number of texts of each call so far.
        error: Raised by every call while it is set.
    """

    def __init__(self, dim: int = 64, model: str = "fake") -> None:
        self.space = EmbeddingSpace(model=model, weights=f"{model} 1", tokenizer="words", dim=dim)
        self.calls: list[tuple[str, int]] = []
        self.error: Exception | None = None

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of length 1, float32 (n, dim); zero for a text without a word."""
        return self._embed(texts, "d")

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the same for queries."""
        return self._embed(texts, "q")

    def canary(self) -> Canary:
        """Return the probe texts' vectors."""
        return Canary.record(self._vectors, self._vectors)

    def _embed(self, texts: Sequence[str], role: str) -> NDArray[np.float32]:
        self.calls.append((role, len(texts)))
        if self.error is not None:
            raise self.error
        return self._vectors(texts)

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.space.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                digest = hashlib.blake2b(f"{self.space.model} {word}".encode(), digest_size=8).digest()
                row[int.from_bytes(digest[:4], "little") % len(row)] += 1 if digest[4] % 2 else -1
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
        return rows
