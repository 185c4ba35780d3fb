"""When something that fails is left alone, and when it is tried again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_RECOVERY = 0.25
_MOST_WAITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When something is left alone.

    Attributes:
        fail_max: Strain from which it is.
        reset_s: Seconds until it is tried again; doubles each time that it fails again, up to 64 times this.
        clock: Monotonic seconds.
    """

    fail_max: float = 2.0
    reset_s: float = 30.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)


class Breaker:
    """Counts failures of one thing; threads may share it.

    Strain grows by 1 a failure and shrinks by a quarter a success, so that what fails every other time is left alone
    too. (pybreaker counts failures in a row only, and would never open on it.)

    Args:
        policy: When it is left alone.

    Attributes:
        cause: The last failure; None once the strain is gone.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._strain, self._waits, self._retry_at = 0.0, 0, -math.inf
        self.cause: BaseException | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it may be tried now."""
        return self._policy.clock() >= self._retry_at

    @property
    def is_strained(self) -> bool:
        """Whether a failure is not yet made good."""
        return self._strain > 0

    def succeeded(self) -> None:
        """Note that it worked."""
        with self._lock:
            self._strain = max(0.0, self._strain - _RECOVERY)
            if not self._strain:
                self._waits, self.cause = 0, None

    def failed(self, cause: BaseException, *, at_once: bool = False) -> None:
        """Note that it failed.

        Args:
            cause: What it raised.
            at_once: Whether one failure is enough to leave it alone.
        """
        with self._lock:
            self._strain += 1.0
            self.cause = cause
            if at_once or self._strain >= self._policy.fail_max:
                self._retry_at = self._policy.clock() + self._policy.reset_s * 2 ** min(self._waits, _MOST_WAITS)
                self._waits += 1

    def give_up(self, cause: BaseException) -> None:
        """Never try it again."""
        with self._lock:
            self._strain, self.cause, self._retry_at = math.inf, cause, math.inf


def said(cause: BaseException | None) -> str:
    """Return a failure as one line."""
    text = " ".join(str(cause).split()) if cause is not None else "it is left alone after earlier failures"
    return text or type(cause).__name__
