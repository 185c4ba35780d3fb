"""Embeds texts with any model of the catalogue, a folder or the hub, and says in which space the vectors lie."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

from semantic_ranker._arguments import path_of
from semantic_ranker.embedding import opening, sources
from semantic_ranker.embedding.canary import Canary
from semantic_ranker.embedding.ladder import Ladder
from semantic_ranker.embedding.options import BackendName, EmbedderOptions, Role
from semantic_ranker.embedding.pooling import normalized
from semantic_ranker.embedding.throttle import Throttle
from semantic_ranker.errors import EmbedderContractError, EmbeddingError, InvalidInputError
from semantic_ranker.tokenization import _valid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.embedding.backend import OpenedBackend
    from semantic_ranker.embedding.decision import PrecisionDecision
    from semantic_ranker.model_folder import Precision
    from semantic_ranker.spaces import EmbeddingSpace

logger = logging.getLogger(__name__)
_CHUNK_TEXTS = 1024
_THROTTLED_TEXTS = 16
_Compute = Callable[[list[str]], "NDArray[np.float32]"]


class EmbeddingCache(Protocol):
    """What an `Embedder` needs of a cache; `semantic_ranker.cache.TieredCache` is one."""

    def get_or_compute(
        self, space: EmbeddingSpace, role: Role, texts: Sequence[str], compute: _Compute
    ) -> NDArray[np.float32]:
        """Return vectors of texts, float32 (n, dim), computing those that are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedded:
    """Vectors with what became of the texts.

    Attributes:
        vectors: float32 (n, dim); under ``on_error="skip"`` a row of NaN stands for a text that was left out.
        space: Where they lie.
        degraded: Why another precision or backend of the model was used than the first choice, or None.
        skipped: Positions of the texts that were left out.
    """

    vectors: NDArray[np.float32] = field(repr=False)
    space: EmbeddingSpace
    degraded: str | None = None
    skipped: tuple[int, ...] = ()


class Embedder:
    """Turns texts into vectors of one embedding space.

    The model is opened at the first use. Objects are thread-safe, and pickle as settings, without weights.

    Args:
        model: A name of the catalogue, a sentence-transformers folder, a hub id (extra ``hub``), or None for the
            bundled static English model.
        precision: Weights to run; ``auto`` chooses by the machine, see `decision`.
        backend: ``auto`` is ONNX where there is an ONNX file or one can be exported, else torch.
        cache: Keeps vectors between calls, such as a `semantic_ranker.cache.TieredCache`.
        truncate_dim: Keep that many components and scale to length 1 again; for models that were trained so.
        allow_lossy_truncation: Allow ``truncate_dim`` for other models too (measured: 256 of 384 keep 80 % of the
            nearest ten).
        max_length: Tokens read of a text, specials included; None is the model's own choice.
        threads: Texts embedded side by side; None is one a core, at most 8.
        cpu_share: Part of the time that may be spent computing, above 0 and up to 1: with T threads on C cores the
            process then takes about ``cpu_share * T / C`` of the processor. Calls take turns. None does not hold back.
        token_budget: None runs one unpadded text at a time; a number makes padded batches of up to that many tokens.
        device: ``cuda`` for torch on a GPU; ``auto`` looks for one where torch is asked for.
        query_prompt: Put in front of queries; None is the model's own.
        document_prompt: Put in front of documents; None is the model's own.
        on_error: What a text that is not a string does: ``raise``, or ``skip`` it, leaving a row of NaN.
        fallback: Whether another precision or backend of the same model takes over when the first fails.
        floor: Least cosine of probe texts between the first choice and what takes over.
        decision: A choice of precision made before, such as that of an index's manifest; None chooses now.

    Raises:
        InvalidInputError: An option is not one of these.

    Example:
        >>> from semantic_ranker.embedder import Embedder
        >>> embedder = Embedder()
        >>> texts = ["Cats sleep all day.", "Reset your password in Settings."]
        >>> similarity = embedder.embed_queries(["I forgot my password"]) @ embedder.embed_documents(texts).T
        >>> int(similarity.argmax())
        1
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        precision: Precision = "auto",
        backend: BackendName = "auto",
        cache: EmbeddingCache | None = None,
        truncate_dim: int | None = None,
        allow_lossy_truncation: bool = False,
        max_length: int | None = None,
        threads: int | None = None,
        cpu_share: float | None = None,
        token_budget: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        fallback: bool = True,
        floor: float = 0.98,
        decision: PrecisionDecision | None = None,
    ) -> None:
        self._options = EmbedderOptions(
            model=path_of(model),
            precision=precision,
            backend=backend,
            device=device,
            truncate_dim=truncate_dim,
            allow_lossy_truncation=allow_lossy_truncation,
            max_length=max_length,
            threads=threads,
            cpu_share=cpu_share,
            token_budget=token_budget,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            on_error=on_error,
            fallback=fallback,
            floor=floor,
            decision=decision,
        )
        self._cache = cache
        self._throttle = Throttle(cpu_share) if cpu_share is not None else None
        self._lock = threading.Lock()
        self._ladder: Ladder | None = None
        self._decision: PrecisionDecision | None = None
        self._own_truncated = 0

    def embed_queries(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return one vector a query, with the model's prompt for queries.

        Args:
            texts: The queries; none at all is fine.

        Returns:
            float32 (n, dim), of length 1 unless the model says otherwise.

        Raises:
            InvalidInputError: A text is not a string; ``.index`` says which.
            EmbeddingError: Every way to run the model failed.
            ModelLoadError: The model is absent, damaged or refused.
        """
        return self.embed(texts, role="q").vectors

    def embed_documents(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return one vector a document; arguments, result and errors as `embed_queries`."""
        return self.embed(texts, role="d").vectors

    def embed(self, texts: Iterable[str], *, role: Role = "d") -> Embedded:
        """Return vectors and what became of the texts.

        Args:
            texts: Texts; a generator is read in parts, so that its texts need not fit into memory at once.
            role: ``q`` for queries, ``d`` for documents.
        """
        parts = list(self.iter_embed(_checked_iterable(texts), role=role))
        if not parts:
            return Embedded(vectors=np.empty((0, self.dim), np.float32), space=self.space)
        starts = np.cumsum([0, *(len(part.vectors) for part in parts)])
        skipped = [int(start) + index for part, start in zip(parts, starts, strict=False) for index in part.skipped]
        worst = next((part for part in parts if part.degraded), parts[0])
        return Embedded(
            vectors=parts[0].vectors if len(parts) == 1 else np.concatenate([part.vectors for part in parts]),
            space=worst.space,
            degraded=worst.degraded,
            skipped=tuple(skipped),
        )

    def iter_embed(self, texts: Iterable[str], *, role: Role = "d", chunk: int = _CHUNK_TEXTS) -> Iterator[Embedded]:
        """Yield the vectors of parts of the texts, in order, holding one part at a time.

        Args:
            texts: Texts, of any number.
            role: ``q`` for queries, ``d`` for documents.
            chunk: Texts of a part.
        """
        if role not in ("q", "d"):
            raise InvalidInputError(f"Expected role 'q' (query) or 'd' (document), got {role!r}.")
        waiting, start = iter(_checked_iterable(texts)), 0
        while part := list(islice(waiting, chunk)):
            yield self._embed_part(part, role, start)
            start += len(part)

    def _embed_part(self, texts: Sequence[object], role: Role, start: int) -> Embedded:
        skipped = self._skipped(texts, start)
        good = [text for text in texts if isinstance(text, str)]
        # Each text once: duplicates are common, and the order of first appearance keeps results repeatable.
        unique = {text: row for row, text in enumerate(dict.fromkeys(good))}
        if not unique:
            return Embedded(
                vectors=np.full((len(texts), self.dim), np.nan, np.float32), space=self.space, skipped=skipped
            )
        found, opened, degraded = self._run(list(unique), role)
        rows = [unique[text] for text in good]
        vectors = found if rows == list(range(len(found))) else found[rows]
        if skipped:
            everything = np.full((len(texts), opened.space.dim), np.nan, np.float32)
            everything[[index for index in range(len(texts)) if index not in set(skipped)]] = vectors
            vectors = everything
        return Embedded(vectors=vectors, space=opened.space, degraded=degraded, skipped=skipped)

    def _run(self, texts: list[str], role: Role) -> tuple[NDArray[np.float32], OpenedBackend, str | None]:
        def work(opened: OpenedBackend) -> NDArray[np.float32]:
            prompted = [_prompted(opened.space, role, text) for text in texts]
            if self._cache is None:
                return self._computed(opened, prompted)
            return self._cache.get_or_compute(
                opened.space, role, prompted, lambda missing: self._computed(opened, missing)
            )

        try:
            return self._open().run(work)
        except EmbeddingError as error:
            if (kept := self._kept(texts, role, error)) is not None:
                return kept
            raise

    def _computed(self, opened: OpenedBackend, texts: list[str]) -> NDArray[np.float32]:
        throttle = self._throttle
        if throttle is None:
            return _compute(opened, texts)
        parts = [texts[start : start + _THROTTLED_TEXTS] for start in range(0, len(texts), _THROTTLED_TEXTS)]
        return np.concatenate([throttle.run(functools.partial(_compute, opened, part)) for part in parts])

    def _kept(
        self, texts: list[str], role: Role, error: EmbeddingError
    ) -> tuple[NDArray[np.float32], OpenedBackend, str] | None:
        """Return vectors that the cache holds for every text, in one of the model's spaces, or None."""

        def refuse(_: list[str]) -> NDArray[np.float32]:
            raise error

        for opened in self._open().opened if self._cache is not None else ():
            prompted = [_prompted(opened.space, role, text) for text in texts]
            with contextlib.suppress(EmbeddingError):
                vectors = self._cache.get_or_compute(opened.space, role, prompted, refuse)  # type: ignore[union-attr]
                return vectors, opened, f"from the cache only: {error}"
        return None

    def _skipped(self, texts: Sequence[object], start: int) -> tuple[int, ...]:
        bad = [index for index, text in enumerate(texts) if not isinstance(text, str)]
        if bad and self._options.on_error == "raise":
            raise InvalidInputError(
                f"Expected a str at index {start + bad[0]}, got {type(texts[bad[0]]).__name__}: pass the text itself, "
                "or use on_error='skip'.",
                start + bad[0],
            )
        if bad:
            first = ", ".join(str(start + index) for index in bad[:20])
            logger.warning("Left out %d of %d texts that are not strings, at %s", len(bad), len(texts), first)
        return tuple(bad)

    def _open(self) -> Ladder:
        if (ladder := self._ladder) is not None:
            return ladder
        with self._lock:
            if self._ladder is None:
                source = sources.locate(self._options)
                found = opening.ways(source, self._options)
                self._decision = found.decision
                self._ladder = Ladder(found.rungs, self._probe, floor=self._options.floor)
            return self._ladder

    @property
    def space(self) -> EmbeddingSpace:
        """Where the vectors of the model, as it is open now, lie."""
        return self._open().current().space

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.space.dim

    @property
    def decision(self) -> PrecisionDecision:
        """Which precision was chosen, and why."""
        self._open()
        assert self._decision is not None
        return self._decision

    @property
    def degraded(self) -> str | None:
        """Why another precision or backend than the first choice is in use; None while it is the first choice."""
        return self._open().degraded

    @property
    def truncated(self) -> int:
        """Texts so far of which something was left out, because they are longer than the model reads."""
        ladder = self._ladder
        return sum(_truncated(opened) for opened in ladder.opened) - self._own_truncated if ladder else 0

    def canary(self) -> Canary:
        """Return the vectors of the probe texts, to store beside an index or to hold against a stored one."""
        return self._open().run(self._probe)[0]

    def _probe(self, opened: OpenedBackend) -> Canary:
        before = _truncated(opened)
        canary = _canary(opened)
        # One of the probe texts is longer than most models read: that is not the caller's.
        self._own_truncated += _truncated(opened) - before
        return canary

    def close(self) -> None:
        """Let go of the weights. The next call opens them again."""
        with self._lock:
            self._ladder, self._own_truncated = None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_options": self._options, "_cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        share = state["_options"].cpu_share
        self.__dict__.update(state, _ladder=None, _decision=None, _own_truncated=0, _lock=threading.Lock())
        self._throttle = Throttle(share) if share is not None else None

    def __repr__(self) -> str:
        return f"Embedder({', '.join(f'{name}={value!r}' for name, value in self._options.changed().items())})"


def _checked_iterable(texts: Any) -> Iterable[Any]:
    if isinstance(texts, (str, bytes, dict, set, frozenset)) or not isinstance(texts, Iterable):
        raise InvalidInputError(f"Expected a list of str, got {type(texts).__name__}: put a single text in a list.")
    return texts


def _prompted(space: EmbeddingSpace, role: Role, text: str) -> str:
    return (space.query_prompt if role == "q" else space.document_prompt) + _valid(text)


def _compute(opened: OpenedBackend, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return finished vectors of texts that carry their prompts, float32 (n, dim)."""
    space = opened.space
    vectors = _run_halving(opened, texts)
    if space.truncate_dim is not None:
        vectors = vectors[:, : space.truncate_dim]
        vectors = normalized(vectors) if space.normalize else np.ascontiguousarray(vectors)
    if vectors.shape != (len(texts), space.dim):
        raise EmbedderContractError(f"Expected vectors of shape {(len(texts), space.dim)}, got {vectors.shape}.")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite).tolist()
        raise EmbedderContractError(f"The model gave NaN or infinity for {len(bad)} of {len(texts)} texts.", bad)
    if zeros := int((~vectors.any(axis=1)).sum()):
        logger.warning("the model gave zero vectors, similar to nothing, for %d of %d texts", zeros, len(texts))
    return vectors


def _truncated(opened: OpenedBackend) -> int:
    return int(getattr(opened.backend, "truncated", 0))


def _run_halving(opened: OpenedBackend, texts: Sequence[str]) -> NDArray[np.float32]:
    try:
        return opened.backend.run(texts)
    except MemoryError as error:
        if len(texts) < 2:
            raise EmbeddingError(f"Not enough memory for one text ({error}).") from error
        logger.warning("out of memory with %d texts: trying half of them at a time", len(texts))
    middle = len(texts) // 2
    return np.concatenate([_run_halving(opened, part) for part in (texts[:middle], texts[middle:])])


def _canary(opened: OpenedBackend) -> Canary:
    def embed(role: Role) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        return lambda texts: _compute(opened, [_prompted(opened.space, role, text) for text in texts])

    return Canary.record(embed("d"), embed("q"))
