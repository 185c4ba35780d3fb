"""`TieredCache`: vectors are computed once, kept here and in Redis, and never given to another space or text."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker.cache import codec as codecs
from semantic_ranker.cache.codec import Codec
from semantic_ranker.cache.contract import checked_vectors
from semantic_ranker.cache.flights import Flight, Flights, wait_for
from semantic_ranker.cache.keys import Role, keys_of
from semantic_ranker.cache.memory import MemoryTier, Policy
from semantic_ranker.cache.redis_tier import RedisOptions, RedisTier
from semantic_ranker.cache.stats import CacheStats, Tally
from semantic_ranker.config import without_password
from semantic_ranker.errors import CacheError, InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.spaces import EmbeddingSpace

logger = logging.getLogger(__name__)
Compute = Callable[[list[str]], Any]
"""Texts in, one vector a text out: an array, a list of lists or a tensor."""
_MEBIBYTE = 1024 * 1024
_WARM_PART = 1024


class TieredCache:
    """Keeps vectors in this process and, where a URL is given, in Redis for other processes.

    A vector is found by the space that it lies in, the role and the text, so that a cache may be shared by any number
    of models. What comes back went through the codec, also right after it was computed: a text has the same vector
    whether it was kept or not. Where a model does not always give the same vector, the first one stays.

    A Redis that is down, hung, full or damaged never raises. It costs a call at most one timeout when it does not
    answer, and one more when it stops between reading and writing; after three of them it is left alone and costs
    nothing. Looking up its host's name comes on top.

    Objects are safe to share between threads and tasks. They pickle as settings, the URL with its password among
    them; after a fork a child begins with an empty memory and connections of its own.

    Args:
        url: Of Redis, such as ``redis://:password@host:6379/0``; None keeps to this process.
        codec: How vectors are stored: ``fp16`` (half), ``int8`` (a quarter) or ``fp32``.
        memory_bytes: What the tier in this process may take, with overhead; 0 keeps nothing there.
        policy: What goes first when it is full: ``tinylfu`` (extra ``cache``) is better for texts of lasting
            popularity, scans and loops, ``lru`` where the popular texts change fast; ``auto`` is ``tinylfu`` where that
            is installed.
        on_non_finite: What a vector with NaN or infinity does: ``raise``, or ``skip``, which leaves a row of NaN. It
            is never kept.
        redis: How Redis is used.

    Raises:
        CacheError: An argument is not one of these, or the URL is of another machine and has no password.
        ModuleNotFoundError: A URL is given, and the extra ``redis`` is not installed.

    Example:
        >>> from semantic_ranker import Embedder
        >>> from semantic_ranker.cache import TieredCache
        >>> cache = TieredCache()
        >>> embedder = Embedder(cache=cache)
        >>> first, again = embedder.embed_queries(["reset my password"]), embedder.embed_queries(["reset my password"])
        >>> bool((first == again).all()), cache.stats().hits
        (True, 1)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        codec: Codec = "fp16",
        memory_bytes: int = 64 * _MEBIBYTE,
        policy: Policy = "auto",
        on_non_finite: Literal["raise", "skip"] = "raise",
        redis: RedisOptions | None = None,
    ) -> None:
        if codec not in ("fp16", "fp32", "int8"):
            raise CacheError(f"Expected codec to be 'fp16', 'fp32' or 'int8', got {codec!r}.")
        if on_non_finite not in ("raise", "skip"):
            raise CacheError(f"Expected on_non_finite to be 'raise' or 'skip', got {on_non_finite!r}.")
        self._settings = {
            "url": url,
            "codec": codec,
            "memory_bytes": memory_bytes,
            "policy": policy,
            "on_non_finite": on_non_finite,
            "redis": redis or RedisOptions(),
        }
        self._codec: Codec = codec
        self._skips = on_non_finite == "skip"
        self._start()
        _live.add(self)

    def _start(self) -> None:
        """Begin with an empty memory and no connection."""
        url, settings = self._settings["url"], self._settings
        self._memory = MemoryTier(settings["policy"], settings["memory_bytes"])  # type: ignore[arg-type]
        self._redis = RedisTier(url, settings["redis"]) if url else None  # type: ignore[arg-type]
        self._flights, self._tally = Flights(), Tally()

    @property
    def codec(self) -> Codec:
        """How vectors are stored."""
        return self._codec

    def get_or_compute(
        self, space: EmbeddingSpace, role: Role, texts: Sequence[str], compute: Compute
    ) -> NDArray[np.float32]:
        """Return the vectors of texts, computing those that are nowhere kept.

        A text is computed by one call at a time; others that ask for it meanwhile wait, and get the result or the
        error of that call.

        Args:
            space: Where the vectors of ``compute`` lie.
            role: ``q`` for queries, ``d`` for documents.
            texts: Exactly what the tokenizer reads, with prompts.
            compute: Called with the distinct texts that are missing, in order; once, unless a call that this one
                waited for was broken off.

        Returns:
            float32 (n, dim), the caller's own.

        Raises:
            InvalidInputError: The role is unknown or a text is not a string; ``.index`` says which.
            EmbedderContractError: ``compute`` gave too many or few vectors, of another dimension, or not finite.
                Nothing of them is kept.
        """
        if isinstance(texts, (str, bytes)):
            raise InvalidInputError(f"Expected a list of str, got {type(texts).__name__}: put a single text in a list.")
        return self._answer(space, role, texts, compute)[0]

    async def aget_or_compute(
        self, space: EmbeddingSpace, role: Role, texts: Sequence[str], compute: Compute
    ) -> NDArray[np.float32]:
        """Do what `get_or_compute` does on our own threads, so that the event loop stays free."""
        return await run_in_scoring_thread(self.get_or_compute, space, role, texts, compute)

    def warm(self, space: EmbeddingSpace, role: Role, texts: Sequence[str], compute: Compute) -> int:
        """Make sure that texts are kept, part by part, and return how many had to be computed.

        Args:
            space: As in `get_or_compute`.
            role: As in `get_or_compute`.
            texts: As in `get_or_compute`; any number.
            compute: As in `get_or_compute`; called once a part of 1,024 texts.
        """
        parts = [texts[start : start + _WARM_PART] for start in range(0, len(texts), _WARM_PART)]
        return sum(self._answer(space, role, part, compute)[1] for part in parts)

    def stats(self) -> CacheStats:
        """Return the figures of this moment; Redis is not asked."""
        counts = self._tally.read()
        misses, lookups = counts.get("misses", 0), counts.get("lookups", 0)
        return CacheStats(
            lookups=lookups,
            hits=counts.get("hits", 0),
            misses=misses,
            joined=counts.get("joined", 0),
            zeros=counts.get("zeros", 0),
            memory=self._memory.stats(),
            redis=self._redis.stats() if self._redis is not None else None,
            redis_available=self._redis.is_available if self._redis is not None else None,
        )

    def clear(self) -> int:
        """Drop all vectors here, and in Redis those of this project (names beginning with ``sr:e:``).

        Returns:
            How many entries went in Redis; 0 where there is none or it does not answer.
        """
        self._memory.clear()
        return self._redis.clear() if self._redis is not None else 0

    def close(self) -> None:
        """Let go of the connections to Redis; the next call connects again."""
        if self._redis is not None:
            self._redis.close()

    def _answer(
        self, space: EmbeddingSpace, role: Role, texts: Sequence[str], compute: Compute
    ) -> tuple[NDArray[np.float32], int]:
        """Return the vectors, and how many were computed."""
        keys = keys_of(space, role, texts)
        if not keys:
            return np.empty((0, space.dim), np.float32), 0
        # Later duplicates overwrite the text of a name with the same text.
        call = self._run(space, dict(zip(keys, texts, strict=True)), compute)
        vectors, computed = call.vectors(), len(call.wanted) - call.hits
        if len(call.wanted) < len(keys):
            place = {key: row for row, key in enumerate(call.wanted)}
            vectors = vectors[[place[key] for key in keys]]
        return vectors, computed

    def _run(self, space: EmbeddingSpace, wanted: dict[str, str], compute: Compute) -> _Call:
        call = _Call(space, wanted, compute)
        try:
            call.found(self._memory.get(list(wanted)))
            while missing := call.missing():
                landed = wait_for(self._lead(call, missing))
                call.found(landed)
                call.joined += len(landed)
        finally:
            misses = len(wanted) - call.hits
            self._tally.add(lookups=len(wanted), hits=call.hits, misses=misses, joined=call.joined)
        return call

    def _lead(self, call: _Call, missing: list[str]) -> dict[str, Flight]:
        """Get what nobody else is getting, and return the flights of the rest."""
        own: list[str] = []
        values: dict[str, bytes] = {}
        failure: BaseException | None = None
        try:
            others = self._flights.claim(missing, own)
            # Between the first look and the claim, another call may have landed.
            values |= self._memory.get(own, counted=False)
            values |= self._from_redis(call, [key for key in own if key not in values])
            call.found(values)
            absent = [key for key in own if key not in values]
            values |= self._computed(call, absent)
            return others
        except BaseException as error:
            failure = error
            raise
        finally:
            self._flights.land(own, values, failure)

    def _from_redis(self, call: _Call, keys: list[str]) -> dict[str, bytes]:
        if self._redis is None or not keys:
            return {}
        found, call.redis_answers = self._redis.get(keys, call.space.dim)
        self._memory.put(found.items())
        return found

    def _computed(self, call: _Call, keys: list[str]) -> dict[str, bytes]:
        if not keys:
            return {}
        given = call.compute([call.wanted[key] for key in keys])
        vectors, finite = checked_vectors(given, len(keys), call.space.dim, allow_non_finite=self._skips)
        good = [key for key, is_finite in zip(keys, finite, strict=True) if is_finite]
        call.skipped |= set(keys) - set(good)
        vectors = vectors[finite]
        if zeros := int((~vectors.any(axis=1)).sum()):
            self._tally.add(zeros=zeros)
            logger.warning("%d of %d vectors have length 0: they are similar to nothing", zeros, len(keys))
        items = list(zip(good, codecs.encode(vectors, good, self._codec), strict=True))
        self._memory.put(items)
        if self._redis is not None and call.redis_answers:
            self._redis.put(items)
        call.values |= items
        return dict(items)

    def _after_fork(self) -> None:
        # Locks may be held by threads that this process does not have, and sockets belong to the parent.
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self._settings,)

    def __repr__(self) -> str:
        shown = {**self._settings, "url": without_password(str(self._settings["url"] or "")) or None}
        return f"TieredCache({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class _Call:
    """One call of `TieredCache.get_or_compute`, on its way."""

    __slots__ = ("compute", "hits", "joined", "redis_answers", "skipped", "space", "values", "wanted")

    def __init__(self, space: EmbeddingSpace, wanted: dict[str, str], compute: Compute) -> None:
        self.space, self.wanted, self.compute = space, wanted, compute
        self.values: dict[str, bytes] = {}
        self.skipped: set[str] = set()
        self.hits = self.joined = 0
        self.redis_answers = False

    def found(self, values: dict[str, bytes]) -> None:
        self.values |= values
        self.hits += len(values)

    def missing(self) -> list[str]:
        return [key for key in self.wanted if key not in self.values and key not in self.skipped]

    def vectors(self) -> NDArray[np.float32]:
        """Return one row a distinct text, NaN where it was skipped."""
        if not self.skipped:
            return codecs.decode([self.values[key] for key in self.wanted], self.space.dim)
        vectors = np.full((len(self.wanted), self.space.dim), np.nan, np.float32)
        kept = [row for row, key in enumerate(self.wanted) if key in self.values]
        vectors[kept] = codecs.decode([self.values[key] for key in self.wanted if key in self.values], self.space.dim)
        return vectors


def _rebuilt(settings: dict[str, Any]) -> TieredCache:
    return TieredCache(**settings)


def _restart_all() -> None:
    for cache in list(_live):
        cache._after_fork()


_live: weakref.WeakSet[TieredCache] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all)
