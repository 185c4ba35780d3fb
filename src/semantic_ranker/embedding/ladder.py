"""Ways to run one model, best first: what fails is left alone for a while, and tried again."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from semantic_ranker.errors import EmbeddingError, InvalidInputError, SemanticRankerError, SpaceMismatchError

if TYPE_CHECKING:
    from semantic_ranker.embedding.backend import OpenedBackend
    from semantic_ranker.embedding.canary import Canary
    from semantic_ranker.spaces import EmbeddingSpace

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_RECOVERY = 0.25
_MOST_WAITS = 6


@dataclass(slots=True)
class Rung:
    """One way to run the model, with how it has fared.

    Attributes:
        name: Such as ``onnx int8``.
        open: Opens it.
        opened: What it opened, once it did.
        strain: Grows by 1 a failure and shrinks by a quarter a success, so that failing every other time shows too.
        waits: How often it has been left alone in a row.
        retry_at: Clock before which it is left alone; infinity where it must never be used.
        cause: Its last failure.
        verified: Whether it gives the same vectors as the first one that opened.
    """

    name: str
    open: Callable[[], OpenedBackend]
    opened: OpenedBackend | None = None
    strain: float = 0.0
    waits: int = 0
    retry_at: float = -math.inf
    cause: BaseException | None = None
    verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPolicy:
    """When a rung is left alone.

    Attributes:
        fail_max: Strain from which it is.
        reset_s: Seconds until it is tried again; doubles each time that it fails at once again, up to 64 times this.
        floor: Least cosine of the probe texts between the first rung that ran and another.
        clock: Monotonic seconds.
    """

    fail_max: float = 2.0
    reset_s: float = 30.0
    floor: float = 0.98
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)


class Ladder:
    """Runs work on the best rung that can; threads may share it.

    Args:
        rungs: Best first, all of one model.
        policy: When a rung is left alone.
        probe: Embeds the probe texts with an opened backend.
    """

    def __init__(self, rungs: Sequence[Rung], policy: LadderPolicy, probe: Callable[[OpenedBackend], Canary]) -> None:
        if not rungs:
            raise InvalidInputError("Expected at least one way to run the model, got none.")
        self.rungs = tuple(rungs)
        self._policy = policy
        self._probe = probe
        self._lock = threading.RLock()
        self._reference: tuple[str, EmbeddingSpace, Canary] | None = None

    def run(self, work: Callable[[OpenedBackend], _T]) -> tuple[_T, OpenedBackend, str | None]:
        """Return what the work gives on the best rung that can, that rung, and why it is not the first, if so.

        Raises:
            EmbeddingError: Every rung failed; the causes are in the message, and chained.
            InvalidInputError: The work refused its input, which another rung would not change.
        """
        for rung in self.rungs:
            if self._policy.clock() < rung.retry_at:
                continue
            try:
                opened = self._open(rung)
                result = work(opened)
                self._succeeded(rung)
            except InvalidInputError:
                raise
            except (SemanticRankerError, MemoryError, OSError, RuntimeError, ImportError) as error:
                self._failed(rung, error)
                continue
            return result, opened, self._reason(rung)
        raise self._all_failed()

    def current(self) -> OpenedBackend:
        """Return the best rung that opens, as `run` would use it.

        Raises:
            EmbeddingError: None does.
        """
        return self.run(lambda opened: opened)[0]

    @property
    def degraded(self) -> str | None:
        """Why the first rung is not the one in use; None while it is, or before any was tried."""
        first = self.rungs[0]
        if first.cause is None or (first.strain == 0.0 and first.opened is not None):
            return None
        return self._reason(next((rung for rung in self.rungs if rung.opened and rung is not first), first))

    def _open(self, rung: Rung) -> OpenedBackend:
        with self._lock:
            if rung.opened is None:
                rung.opened = rung.open()
            if not rung.verified:
                self._verify(rung, rung.opened)
                rung.verified = True
            return rung.opened

    def _verify(self, rung: Rung, opened: OpenedBackend) -> None:
        """Hold a rung against the first one that opened; that one only embeds the probe texts, if others may follow."""
        if len(self.rungs) == 1:
            return
        canary = self._probe(opened)
        if self._reference is None:
            self._reference = rung.name, opened.space, canary
            return
        name, space, expected = self._reference
        if space.family != opened.space.family:
            raise SpaceMismatchError(f"{rung.name} is not the model that {name} is.", fields=("weights",))
        expected.check(canary, floor=self._policy.floor, what=name)

    def _succeeded(self, rung: Rung) -> None:
        with self._lock:
            rung.strain = max(0.0, rung.strain - _RECOVERY)
            if not rung.strain:
                rung.waits, rung.cause = 0, None

    def _failed(self, rung: Rung, error: BaseException) -> None:
        with self._lock:
            rung.strain += 1.0
            rung.cause = error
            if isinstance(error, SpaceMismatchError):
                rung.retry_at = math.inf  # another model does not become this one by waiting
            elif rung.opened is None or rung.strain >= self._policy.fail_max:
                wait = self._policy.reset_s * 2 ** min(rung.waits, _MOST_WAITS)
                rung.retry_at = self._policy.clock() + wait
                rung.waits += 1
            logger.warning("embedding with %s failed (%s): trying the next way", rung.name, type(error).__name__)

    def _reason(self, rung: Rung) -> str | None:
        first = self.rungs[0]
        if rung is first:
            return None
        return f"{rung.name} instead of {first.name}: {_said(first.cause)}"

    def _all_failed(self) -> EmbeddingError:
        listed = "; ".join(f"{rung.name}: {_said(rung.cause)}" for rung in self.rungs)
        failure = EmbeddingError(f"No way is left to embed ({listed}).")
        causes = [rung.cause for rung in self.rungs if rung.cause is not None]
        for later, earlier in pairwise(causes):
            if later is not earlier and later.__cause__ is None:
                later.__cause__ = earlier
        failure.__cause__ = causes[0] if causes else None
        return failure


def _said(cause: BaseException | None) -> str:
    text = " ".join(str(cause).split()) if cause is not None else "left alone"
    return text or type(cause).__name__
