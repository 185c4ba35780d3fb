"""`TwoStageRetriever`: a first stage finds candidates, a cross-encoder orders them, within a deadline if one is set.

Where the reranker fails or is late, the first stage's order comes back and says ``degraded``: never nothing, never
silently. Knows no store and no framework.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from semantic_ranker._arguments import check_source_weight
from semantic_ranker.errors import InvalidInputError, ModelLoadError, ScoreCountError
from semantic_ranker.fusion import fuse_rrf, fuse_weighted
from semantic_ranker.indexes.filters import Where
from semantic_ranker.indexes.passage import Candidates, Hit, Passage
from semantic_ranker.ranking import check_finite
from semantic_ranker.sources import drawn_to_sources

if TYPE_CHECKING:
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.evaluation.results import PipelineResult
    from semantic_ranker.feedback import Interaction

logger = logging.getLogger(__name__)

Fusion: TypeAlias = Literal["none", "rrf"] | float
"""What becomes of the first stage's order: nothing, reciprocal ranks, or the reranker's weight (0 to 1) in z-scores."""

_MOST_LATE = 4  # calls that a deadline gave up on and that still run; further ones are not begun
_T = TypeVar("_T")


class FirstStage(Protocol):
    """What finds candidates; `PassageIndex` is one, the adapters of LangChain and LlamaIndex make others."""

    def search_many(self, queries: Sequence[str], k: int, *, where: Where | None = None) -> list[Candidates]:
        """Return up to ``k`` candidates a query, best first."""


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A passage in its final place.

    Attributes:
        passage: The passage.
        score: What decided the place: the calibrated relevance in [0, 1] where the reranker alone did, the fused score
            where it was fused, the first stage's score where the reranker was not heard.
        first_score: The first stage's score.
        first_rank: Its place there, from 1.
    """

    passage: Passage
    score: float
    first_score: float
    first_rank: int

    @property
    def id(self) -> str:
        """The passage's id."""
        return self.passage.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval(Sequence[RankedPassage]):
    """What one query gave, best first; a sequence of its results.

    Attributes:
        query: The question.
        results: The passages that are kept.
        candidates: What the first stage found.
        degraded: Why it is second best, such as a reranker that was late; None where it is not.
        latency_ms: Milliseconds by stage: ``first_stage``, ``rerank``, ``total``, and the first stage's own steps as
            ``first_stage.STEP``. Of a batch, the query's share.
    """

    query: str
    results: tuple[RankedPassage, ...]
    candidates: tuple[Hit, ...] = field(repr=False)
    degraded: str | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, place: Any) -> Any:
        return self.results[place]

    def __iter__(self) -> Iterator[RankedPassage]:
        return iter(self.results)

    def to_dict(self) -> dict[str, Any]:
        """Return the query, its results with their passages, times and ``degraded``, as JSON values."""
        results = [
            {"rank": place, "score": item.score, "first_rank": item.first_rank, **item.passage.to_dict()}
            for place, item in enumerate(self, start=1)
        ]
        times = {name: round(value, 3) for name, value in self.latency_ms.items()}
        return {"query": self.query, "degraded": self.degraded, "latency_ms": times, "results": results}

    def to_pipeline_result(self) -> PipelineResult:
        """Return what `PipelineEvaluator` measures stage by stage."""
        from semantic_ranker.evaluation.results import PipelineResult

        stages = {"first_stage": [hit.passage.id for hit in self.candidates], "final": [item.id for item in self]}
        shown = {name: value for name, value in self.latency_ms.items() if name in ("first_stage", "rerank")}
        return PipelineResult(stages=stages, latency_ms=shown, degraded=self.degraded is not None)

    def to_interaction(self, answer: str = "", *, intent: str | None = None, model: str = "") -> Interaction:
        """Return what a `FeedbackLog` keeps of it.

        Args:
            answer: What the user was told.
            intent: What the user wanted, by the assistant's own names.
            model: Name and version of the model that ranked.
        """
        from semantic_ranker.feedback import Interaction, Retrieved

        return Interaction(
            query=self.query,
            retrieved=tuple(Retrieved(id=item.id, score=item.score) for item in self),
            answer=answer,
            intent=intent,
            latency_ms={name: self.latency_ms[name] for name in ("total", "first_stage", "rerank")},
            degraded=self.degraded is not None,
            model=model,
        )


class TwoStageRetriever:
    """Finds with a first stage and orders with a cross-encoder.

    Args:
        first_stage: What finds candidates.
        reranker: What orders them; None keeps the first stage's order.
        k: Candidates of a query.
        top_n: Results of a query.
        fusion: ``none`` trusts the reranker alone; ``rrf``, or a fitted weight of the reranker, keeps something of the
            first stage, see `fit_fusion_weight`.
        deadline_s: Seconds from the question to the answer, after which the reranker is not waited for; None waits.
            The first stage is always waited for.
        source_weight: Share of the best passage of the same ``source`` in a passage's score, 0 to 1; None is the
            reranker's own.

    Raises:
        InvalidInputError: An argument is not one of these.

    Example:
        >>> from semantic_ranker.indexes import Passage, PassageIndex
        >>> from semantic_ranker.retrieval import TwoStageRetriever
        >>> from semantic_ranker import CrossEncoder
        >>> index = PassageIndex()
        >>> index.add([Passage(id="a", text="Cats sleep."), Passage(id="b", text="Change your password in Settings.")])
        2
        >>> TwoStageRetriever(index, CrossEncoder(), top_n=1).retrieve("how do I reset my password")[0].id
        'b'
    """

    def __init__(
        self,
        first_stage: FirstStage,
        reranker: CrossEncoder | None = None,
        *,
        k: int = 50,
        top_n: int = 5,
        fusion: Fusion = "none",
        deadline_s: float | None = None,
        source_weight: float | None = None,
    ) -> None:
        self.first_stage = first_stage
        self.reranker = reranker
        self.k = _count("k", k)
        self.top_n = _count("top_n", top_n)
        self.fusion = _checked_fusion(fusion)
        self.deadline_s = _checked_deadline(deadline_s)
        self.source_weight = check_source_weight(source_weight)
        self._late = threading.BoundedSemaphore(_MOST_LATE)

    def retrieve(
        self,
        query: str,
        *,
        top_n: int | None = None,
        k: int | None = None,
        where: Where | None = None,
        deadline_s: float | None = None,
    ) -> Retrieval:
        """Return the best passages for a query, see `retrieve_many`."""
        return self.retrieve_many([query], top_n=top_n, k=k, where=where, deadline_s=deadline_s)[0]

    def retrieve_many(
        self,
        queries: Sequence[str],
        *,
        top_n: int | None = None,
        k: int | None = None,
        where: Where | None = None,
        deadline_s: float | None = None,
    ) -> list[Retrieval]:
        """Return the best passages for each query: embedded together, searched together, scored together.

        Args:
            queries: The questions.
            top_n: Results of each; None is the retriever's.
            k: Candidates of each, at least ``top_n``; None is the retriever's.
            where: Which passages count, see `indexes.filters`.
            deadline_s: Seconds for all of them; None is the retriever's.

        Raises:
            InvalidInputError: An argument is not one of these.
            ModelLoadError: The reranker's model is absent or refused: that is no slip, but a wrong setting.
        """
        if isinstance(queries, (str, bytes)) or not all(isinstance(query, str) for query in queries):
            raise InvalidInputError("Expected a list of str as queries, got something else.")
        limit = self.deadline_s if deadline_s is None else _checked_deadline(deadline_s)
        kept = self.top_n if top_n is None else _count("top_n", top_n)
        if not queries:
            return []
        begun = time.monotonic()
        found = self.first_stage.search_many(
            list(queries), max(kept, self.k if k is None else _count("k", k)), where=where
        )
        between = time.monotonic()
        left = None if limit is None else limit - (between - begun)
        scored, reasons = self._reranked(queries, found, left)
        results = [
            self._retrieval(query, candidates, scores, reason, kept)
            for query, candidates, scores, reason in zip(queries, found, scored, reasons, strict=True)
        ]
        ended = time.monotonic()
        times = {"first_stage": between - begun, "rerank": ended - between, "total": ended - begun}
        shares = {name: 1000 * seconds / len(queries) for name, seconds in times.items()}
        return [replace(item, latency_ms={**shares, **item.latency_ms}) for item in results]

    def _reranked(
        self, queries: Sequence[str], found: Sequence[Candidates], left: float | None
    ) -> tuple[list[list[float] | None], list[str | None]]:
        """Return logits a query, None where the reranker was not heard, and why."""
        nothing: list[list[float] | None] = [None] * len(queries)
        reranker = self.reranker
        if reranker is None or not any(found):
            return nothing, [None] * len(queries)
        texts = [[hit.passage.titled_text for hit in hits] for hits in found]
        try:
            done = self._within(left, lambda: _scores(reranker, queries, texts))
        except (InvalidInputError, ModelLoadError, ModuleNotFoundError):
            raise
        except Exception as error:  # whatever a model does, the first stage's order is an answer
            logger.warning("the reranker failed: %s", type(error).__name__)
            return nothing, [f"the reranker failed: {type(error).__name__}: {error}"] * len(queries)
        if done is None:
            logger.warning("the reranker was late")
            return nothing, ["the reranker was late"] * len(queries)
        return [scores for scores, _ in done], [reason for _, reason in done]

    def _within(self, seconds: float | None, work: Callable[[], _T]) -> _T | None:
        """Return what the work gives, None where that takes longer. What is late runs on, unheard, a few at most."""
        if seconds is None:
            return work()
        if seconds <= 0 or not self._late.acquire(blocking=False):
            return None
        done: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put((work(), None))
            except BaseException as error:  # raised again where it is waited for
                done.put((None, error))
            finally:
                self._late.release()

        threading.Thread(target=run, name="semantic-ranker-rerank", daemon=True).start()
        try:
            result, error = done.get(timeout=seconds)
        except queue.Empty:
            return None
        if error is not None:
            raise error
        return result

    def _retrieval(
        self, query: str, found: Candidates, scores: list[float] | None, reason: str | None, top_n: int
    ) -> Retrieval:
        final = keys = [hit.score for hit in found.hits]
        order = list(range(len(final)))
        if scores is not None:
            final, keys = self._final(found.hits, scores)
            order.sort(key=lambda place: -keys[place])  # stable: ties keep the first stage's order
        reasons = [text for text in (found.degraded, reason) if text]
        return Retrieval(
            query=query,
            results=tuple(
                RankedPassage(found.hits[place].passage, final[place], found.hits[place].score, place + 1)
                for place in order[:top_n]
            ),
            candidates=found.hits,
            degraded="; ".join(reasons) or None,
            latency_ms={f"first_stage.{name}": value for name, value in found.latency_ms.items()},
        )

    def _final(self, hits: Sequence[Hit], logits: list[float]) -> tuple[list[float], list[float]]:
        """Return the scores to show and those to sort by: far out, logits that differ share one relevance."""
        assert self.reranker is not None
        weight = self.reranker.source_weight if self.source_weight is None else self.source_weight
        if weight:
            sources = [hit.passage.source or None for hit in hits]
            logits = drawn_to_sources(np.asarray(logits, dtype=np.float32), sources, weight).tolist()
        if self.fusion == "none":
            return self.reranker.relevance(np.asarray(logits)).tolist(), logits
        # Names that sort by place: equal scores keep the first stage's order.
        names = [f"{place:08d}" for place in range(len(hits))]
        first = {name: hit.score for name, hit in zip(names, hits, strict=True)}
        runs = [{"q": dict(zip(names, logits, strict=True))}, {"q": first}]
        fused = fuse_rrf(runs) if self.fusion == "rrf" else fuse_weighted(runs, [self.fusion, 1.0 - self.fusion])
        scores = [fused["q"][name] for name in names]
        return scores, scores


def _scores(
    reranker: CrossEncoder, queries: Sequence[str], texts: Sequence[list[str]]
) -> list[tuple[list[float] | None, str | None]]:
    """Return logits of each query's texts, or None and why; a foreign language keeps the order."""
    results: list[tuple[list[float] | None, str | None]] = [(None, None)] * len(queries)
    known: list[int] = []
    for place, (query, group) in enumerate(zip(queries, texts, strict=True)):
        if group and (reason := reranker._foreign(query, group)) is not None:
            results[place] = None, f"the reranker is not made for this language ({reason})"
        elif group:
            known.append(place)
    logits = reranker.score_many([queries[place] for place in known], [texts[place] for place in known])
    for place, found in zip(known, logits, strict=True):
        if len(found) != len(texts[place]):
            raise ScoreCountError(f"Expected {len(texts[place])} scores of the reranker, got {len(found)}.")
        check_finite(found)
        results[place] = found.tolist(), None
    return results


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"Expected {name} to be an int of 1 or more, got {value!r}.")
    return value


def _checked_fusion(fusion: Any) -> Fusion:
    if fusion in ("none", "rrf"):
        return fusion  # type: ignore[no-any-return]
    if isinstance(fusion, bool) or not isinstance(fusion, (int, float)) or not 0 <= fusion <= 1:
        raise InvalidInputError(f"Expected fusion to be 'none', 'rrf' or a weight from 0 to 1, got {fusion!r}.")
    return float(fusion)


def _checked_deadline(seconds: Any) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise InvalidInputError(f"Expected deadline_s to be a number of seconds above 0, got {seconds!r}.")
    return float(seconds)
