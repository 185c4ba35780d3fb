"""One computation a name at a time, however many threads and tasks ask for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class Flight:
    """A computation under way.

    Attributes:
        done: Set when it ended, in whatever way.
        value: What it gave; None where it failed or was broken off.
        error: What it raised; None where it was broken off from outside, and those who wait try themselves.
        thread: Who computes.
    """

    __slots__ = ("done", "error", "thread", "value")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: bytes | None = None
        self.error: Exception | None = None
        self.thread = threading.get_ident()


class Flights:
    """The computations under way in this process.

    Nobody waits while holding a flight, so no two calls can wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def claim(self, keys: Sequence[str], own: list[str]) -> dict[str, Flight]:
        """Return the flights of others that the caller can wait for.

        A computation that asks for its own name again gets it to compute, lest it wait for itself.

        Args:
            keys: Distinct names.
            own: The names that the caller has to compute and to land are added here, one by one, so that an interrupt
                in between loses none.
        """
        others = {}
        with self._lock:
            for key in keys:
                flight = self._flights.get(key)
                if flight is None or flight.thread == threading.get_ident():
                    own.append(key)
                    self._flights[key] = flight or Flight()
                else:
                    others[key] = flight
        return others

    def land(self, keys: Sequence[str], values: dict[str, bytes], error: BaseException | None = None) -> None:
        """End the caller's flights with what they gave, an error, or neither where it was broken off."""
        with self._lock:
            flights = {key: self._flights.pop(key) for key in keys if key in self._flights}
        for key, flight in flights.items():
            flight.value = values.get(key)
            # An interrupt concerns the thread that it hit, not those who wait for it.
            flight.error = error if isinstance(error, Exception) else None
            flight.done.set()


def wait_for(flights: dict[str, Flight]) -> dict[str, bytes]:
    """Wait until all have ended, and return what they gave; those that were broken off are left out.

    Raises:
        Exception: What one of them raised.
    """
    landed = {}
    for key, flight in flights.items():
        flight.done.wait()
        if flight.value is not None:
            landed[key] = flight.value
        elif flight.error is not None:
            raise flight.error
    return landed
