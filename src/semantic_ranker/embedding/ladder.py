"""Ways to run one model, best first: what fails is left alone for a while, and tried again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from semantic_ranker.embedding.breaker import Breaker, BreakerPolicy, said
from semantic_ranker.errors import EmbeddingError, InvalidInputError, SemanticRankerError, SpaceMismatchError

if TYPE_CHECKING:
    from semantic_ranker.embedding.backend import OpenedBackend
    from semantic_ranker.embedding.canary import Canary
    from semantic_ranker.spaces import EmbeddingSpace

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
FAILURES = (SemanticRankerError, MemoryError, OSError, RuntimeError, ImportError)
"""What another way of running a model may survive."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to run the model.

    Attributes:
        name: Such as ``onnx int8``.
        open: Opens it.
    """

    name: str
    open: Callable[[], OpenedBackend]


@dataclass(slots=True)
class _Step:
    rung: Rung
    breaker: Breaker
    opened: OpenedBackend | None = None
    verified: bool = False


class Ladder:
    """Runs work on the best rung that can; threads may share it.

    Args:
        rungs: Best first, all of one model.
        probe: Embeds the probe texts with an opened backend.
        floor: Least cosine of the probe texts between the first rung that opened and another.
        policy: When a rung is left alone.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        probe: Callable[[OpenedBackend], Canary],
        *,
        floor: float = 0.98,
        policy: BreakerPolicy | None = None,
    ) -> None:
        if not rungs:
            raise InvalidInputError("Expected at least one way to run the model, got none.")
        self._steps = [_Step(rung, Breaker(policy or BreakerPolicy())) for rung in rungs]
        self._probe = probe
        self._floor = floor
        self._lock = threading.RLock()
        self._reference: tuple[str, EmbeddingSpace, Canary] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rungs, best first."""
        return tuple(step.rung.name for step in self._steps)

    @property
    def opened(self) -> tuple[OpenedBackend, ...]:
        """What is open now."""
        return tuple(step.opened for step in self._steps if step.opened is not None)

    @property
    def degraded(self) -> str | None:
        """Why the first rung is not in use; None while it is, or before any was tried."""
        first = self._steps[0]
        if not first.breaker.is_strained or (first.breaker.is_closed and first.verified):
            return None
        return self._reason(next((step for step in self._steps[1:] if step.verified), self._steps[-1]))

    def run(self, work: Callable[[OpenedBackend], _T]) -> tuple[_T, OpenedBackend, str | None]:
        """Return what the work gives on the best rung that can, that rung, and why it is not the first, if so.

        Raises:
            EmbeddingError: Every rung failed; the causes are in the message, and chained.
            InvalidInputError: The work refused its input, which another rung would not change.
        """
        for step in self._steps:
            if not step.breaker.is_closed:
                continue
            try:
                opened = self._open(step)
                result = work(opened)
            except InvalidInputError:
                raise
            except SpaceMismatchError as error:
                step.breaker.give_up(error)  # another model does not become this one by waiting
                logger.error("%s is never used: %s", step.rung.name, error)
            except FAILURES as error:
                # What cannot even be opened is not tried at every call: opening is slow.
                step.breaker.failed(error, at_once=step.opened is None)
                logger.warning(
                    "embedding with %s failed (%s): trying the next way", step.rung.name, type(error).__name__
                )
            else:
                step.breaker.succeeded()
                return result, opened, self._reason(step)
        raise self._failure()

    def current(self) -> OpenedBackend:
        """Return the best rung that opens, as `run` would use it.

        Raises:
            EmbeddingError: None does.
        """
        return self.run(lambda opened: opened)[0]

    def _open(self, step: _Step) -> OpenedBackend:
        with self._lock:
            opened = step.opened or step.rung.open()
            if not step.verified:
                self._verify(step.rung.name, opened)
            step.opened, step.verified = opened, True
            return opened

    def _verify(self, name: str, opened: OpenedBackend) -> None:
        """Hold a rung against the first one that opened; that one only embeds the probe texts, if others may follow."""
        if len(self._steps) == 1:
            return
        canary = self._probe(opened)
        if self._reference is None:
            self._reference = name, opened.space, canary
            return
        first, space, expected = self._reference
        if space.family != opened.space.family:
            raise SpaceMismatchError(
                f"Expected {name} to be the model that {first} is, got {opened.space.describe()}.",
                fields=tuple(space.differences(opened.space)),
            )
        expected.check(canary, floor=self._floor, what=first)

    def _reason(self, step: _Step) -> str | None:
        first = self._steps[0]
        return None if step is first else f"{step.rung.name} instead of {first.rung.name}: {said(first.breaker.cause)}"

    def _failure(self) -> EmbeddingError:
        causes = [step.breaker.cause for step in self._steps]
        listed = "; ".join(f"{step.rung.name}: {said(cause)}" for step, cause in zip(self._steps, causes, strict=True))
        known = [cause for cause in causes if cause is not None]
        if len(self._steps) == 1 and isinstance(known[0], (SemanticRankerError, ImportError)):
            raise known[0]
        for later, earlier in pairwise(known):
            if later is not earlier and later.__cause__ is None and earlier.__cause__ is None:
                later.__cause__ = earlier
        failure = EmbeddingError(f"No way is left to embed ({listed}).")
        failure.__cause__ = known[0]
        return failure
