"""Search that stays honest when a model fails: another *complete* index, or words, with the reason on the result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from semantic_ranker.embedding.breaker import Breaker, BreakerPolicy, said
from semantic_ranker.embedding.ladder import FAILURES
from semantic_ranker.embedding.quantize import Codec
from semantic_ranker.embedding.table import VectorTable
from semantic_ranker.errors import EmbeddingError, InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker.bm25 import BM25Index
    from semantic_ranker.embedder import Embedded, Embedder
    from semantic_ranker.spaces import EmbeddingSpace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hit:
    """One text found.

    Attributes:
        index: Its position among the texts that were added.
        score: Of its own leg; scores of two legs cannot be compared.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackResult:
    """What was found, and how.

    Attributes:
        hits: Best first.
        leg: Name of what found them.
        space: Where its vectors lie; None for lexical search.
        degraded: Why it was not the first choice, or None.
    """

    hits: tuple[Hit, ...]
    leg: str
    space: EmbeddingSpace | None = None
    degraded: str | None = None


class Leg(Protocol):
    """One complete way to search the same texts."""

    @property
    def name(self) -> str:
        """For results and logs."""

    def search(self, query: str, k: int) -> FallbackResult:
        """Return the best ``k``."""


@dataclass(slots=True)
class DenseLeg:
    """An embedder with its own complete index.

    Attributes:
        name: For results and logs.
        embedder: What embeds texts and queries.
        codec: How the index stores vectors.
        table: The index.
    """

    name: str
    embedder: Embedder
    codec: Codec = "fp16"
    table: VectorTable = field(init=False)

    def __post_init__(self) -> None:
        self.table = VectorTable(self.codec)

    def add(self, texts: Sequence[str]) -> range:
        """Embed texts with this leg's own model and append them; return their positions.

        Raises:
            SpaceMismatchError: The model runs in another space than the index was begun with.
        """
        embedded: Embedded = self.embedder.embed(texts, role="d")
        return self.table.add(embedded.vectors, embedded.space)

    def search(self, query: str, k: int) -> FallbackResult:
        """Return the best ``k``.

        Raises:
            SpaceMismatchError: The model runs in another space than the index.
        """
        embedded = self.embedder.embed([query], role="q")
        rows, scores = self.table.search(embedded.vectors, embedded.space, k)
        hits = tuple(Hit(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True))
        return FallbackResult(hits=hits, leg=self.name, space=embedded.space, degraded=embedded.degraded)


@dataclass(frozen=True, slots=True)
class LexicalLeg:
    """Words instead of vectors.

    Attributes:
        index: Over the same texts, in the same order.
        name: For results and logs.
    """

    index: BM25Index
    name: str = "bm25"

    def search(self, query: str, k: int) -> FallbackResult:
        """Return the best ``k``."""
        found = self.index.search(query, k)
        return FallbackResult(hits=tuple(Hit(int(index), float(score)) for index, score in found), leg=self.name)


class FallbackRetriever:
    """Searches with the first leg that can, and says so when it is not the first.

    A leg that fails is left alone for a while and tried again. No leg ever searches with the vectors of another.

    Args:
        legs: Best first, each complete.
        policy: When a leg is left alone.
    """

    def __init__(self, legs: Sequence[Leg], *, policy: BreakerPolicy | None = None) -> None:
        if not legs or len({leg.name for leg in legs}) != len(legs):
            raise InvalidInputError("Expected one or more legs, each with a name of its own.")
        self._legs = [(leg, Breaker(policy or BreakerPolicy())) for leg in legs]

    def search(self, query: str, k: int = 10) -> FallbackResult:
        """Return the best ``k`` of the first leg that can.

        Raises:
            InvalidInputError: The query is no string, or ``k`` no int of 1 or more.
            EmbeddingError: Every leg failed; the causes are in the message.
        """
        if not isinstance(query, str):
            raise InvalidInputError(f"Expected the query to be a str, got {type(query).__name__}.")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InvalidInputError(f"Expected k to be an int of 1 or more, got {k!r}.")
        failures: list[str] = []
        for leg, breaker in self._legs:
            if not breaker.is_closed:
                failures.append(f"{leg.name}: {said(breaker.cause)}")
                continue
            try:
                result = leg.search(query, k)
            except FAILURES as error:
                breaker.failed(error)
                failures.append(f"{leg.name}: {said(error)}")
                logger.warning("search with %s failed (%s): trying the next leg", leg.name, type(error).__name__)
                continue
            breaker.succeeded()
            return _marked(result, failures)
        raise EmbeddingError(f"Every way to search failed ({'; '.join(failures)}).")


class EmbeddingFallback:
    """Two or more models, each with its own complete index: texts go into all, a query into the first that is alive.

    Args:
        legs: Best first, all empty.
        lexical: What searches when no model is alive, or None.
        policy: When a leg is left alone.
    """

    def __init__(
        self, legs: Sequence[DenseLeg], *, lexical: LexicalLeg | None = None, policy: BreakerPolicy | None = None
    ) -> None:
        self._legs = tuple(legs)
        self._count = 0
        complete = [_Complete(leg, self) for leg in legs]
        self._retriever = FallbackRetriever([*complete, *([lexical] if lexical else [])], policy=policy)

    def add(self, texts: Sequence[str]) -> dict[str, str]:
        """Embed texts with every model, each into its own index.

        A leg that fails is incomplete from then on, and is not searched; nobody else's vectors take the place.

        Returns:
            The legs that failed, with why.

        Raises:
            EmbeddingError: Every leg failed; nothing was added.
        """
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidInputError(f"Expected a str at index {index}, got {type(text).__name__}.", index)
        failed: dict[str, str] = {}
        for leg in self._legs:
            if len(leg.table) != self._count:
                failed[leg.name] = f"incomplete: {len(leg.table)} of {self._count} texts"
                continue
            try:
                leg.add(texts)
            except InvalidInputError:
                raise
            except FAILURES as error:
                failed[leg.name] = said(error)
                logger.warning("adding to %s failed (%s): it is incomplete now", leg.name, type(error).__name__)
        if len(failed) == len(self._legs):
            listed = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise EmbeddingError(f"No model could embed the texts; nothing was added ({listed}).")
        self._count += len(texts)
        return failed

    def search(self, query: str, k: int = 10) -> FallbackResult:
        """As `FallbackRetriever.search`, over the complete legs."""
        return self._retriever.search(query, k)

    @property
    def count(self) -> int:
        """Texts that were added."""
        return self._count


@dataclass(frozen=True, slots=True)
class _Complete:
    """A leg that refuses to search while texts are missing from its index."""

    leg: DenseLeg
    fallback: EmbeddingFallback

    @property
    def name(self) -> str:
        return self.leg.name

    def search(self, query: str, k: int) -> FallbackResult:
        if len(self.leg.table) != self.fallback.count:
            raise EmbeddingError(f"{self.name} has {len(self.leg.table)} of {self.fallback.count} texts")
        return self.leg.search(query, k)


def _marked(result: FallbackResult, failures: Sequence[str]) -> FallbackResult:
    reasons = [*failures, *([result.degraded] if result.degraded else [])]
    if not reasons:
        return result
    return FallbackResult(hits=result.hits, leg=result.leg, space=result.space, degraded="; ".join(reasons))
