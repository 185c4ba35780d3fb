"""The tier in this process: bytes by name, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from semantic_ranker._extras import requires_extra
from semantic_ranker.cache.stats import TierStats
from semantic_ranker.errors import CacheError

if TYPE_CHECKING:
    from theine_core import TlfuCore

Policy = Literal["auto", "tinylfu", "lru"]
"""Which entry goes first: ``tinylfu`` (extra ``cache``) weighs frequency and age, ``lru`` age only."""
ENTRY_BYTES = 260
"""What an entry costs beside its value's components and header: name, objects and tables (measured)."""
_HASH_MASK = (1 << 64) - 1


class Store(Protocol):
    """Entries under one policy; a `MemoryTier` guards it."""

    @property
    def entries(self) -> MutableMapping[str, bytes]:
        """Values by key."""

    held_bytes: int
    evictions: int

    def touch(self, keys: Sequence[str]) -> None:
        """Note that these entries were used."""

    def put(self, key: str, value: bytes) -> None:
        """Keep an entry, if the policy lets it in."""

    def clear(self) -> None:
        """Drop all entries."""


class LruStore:
    """Gives up what was not used for longest.

    Args:
        capacity: Bytes, with overhead.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.entries: OrderedDict[str, bytes] = OrderedDict()
        self.held_bytes = self.evictions = 0

    def touch(self, keys: Sequence[str]) -> None:
        """Note that these entries were used."""
        for key in keys:
            self.entries.move_to_end(key)

    def put(self, key: str, value: bytes) -> None:
        """Keep an entry; one that is larger than the whole budget is not kept."""
        if (old := self.entries.pop(key, None)) is not None:
            self.held_bytes -= cost(old)
        if cost(value) > self._capacity:
            return
        while self.held_bytes + cost(value) > self._capacity:
            _, dropped = self.entries.popitem(last=False)
            self.held_bytes -= cost(dropped)
            self.evictions += 1
        self.entries[key] = value
        self.held_bytes += cost(value)

    def clear(self) -> None:
        """Drop all entries."""
        self.entries.clear()
        self.held_bytes = 0


class TinyLfuStore:
    """W-TinyLFU by theine: newcomers stay only if they are asked for more often than what they would displace.

    Theine counts entries, so the budget is shared out by the largest entry seen: where dimensions are mixed, less than
    the budget is used, never more.

    Args:
        capacity: Bytes, with overhead.
    """

    def __init__(self, capacity: int) -> None:
        with requires_extra("cache"):
            from theine_core import TlfuCore
        self._new_core: Callable[[int], TlfuCore] = TlfuCore
        self._capacity = capacity
        self.entries: dict[str, bytes] = {}
        self.evictions = 0
        self.clear()

    def touch(self, keys: Sequence[str]) -> None:
        """Note that these entries were used."""
        if self._core is not None:
            self._core.access([_number(key) for key in keys])

    def put(self, key: str, value: bytes) -> None:
        """Keep an entry if the policy lets it in; one that is larger than the whole budget is never kept."""
        if cost(value) > self._capacity:
            self._drop(key)
            return
        if cost(value) > self._largest:
            self._resize(cost(value))
        number = _number(key)
        if (other := self._names.get(number)) is not None:
            self.held_bytes -= cost(self.entries.pop(other))
        self._names[number], self.entries[key] = key, value
        self.held_bytes += cost(value)
        self._admit(number)

    def clear(self) -> None:
        """Drop all entries, and what is known of the largest."""
        self.entries.clear()
        self._names: dict[int, str] = {}
        self._core: TlfuCore | None = None
        self._largest = self.held_bytes = 0

    def _resize(self, largest: int) -> None:
        self._largest = largest
        self._core = self._new_core(max(1, self._capacity // largest))
        for number in list(self._names):
            self._admit(number)

    def _admit(self, number: int) -> None:
        assert self._core is not None
        for victim in self._core.set([(number, 0)]):
            self.held_bytes -= cost(self.entries.pop(self._names.pop(victim)))
            self.evictions += 1

    def _drop(self, key: str) -> None:
        if (old := self.entries.pop(key, None)) is not None and self._core is not None:
            self.held_bytes -= cost(old)
            del self._names[_number(key)]
            self._core.remove(_number(key))


def cost(value: bytes) -> int:
    """Return what an entry takes of the budget, in bytes."""
    return len(value) + ENTRY_BYTES


def open_store(policy: Policy, capacity: int) -> Store:
    """Return an empty store.

    Args:
        policy: ``auto`` is ``tinylfu`` where the extra ``cache`` is installed.
        capacity: Bytes, with overhead.

    Raises:
        CacheError: The policy is unknown, or the capacity is no number of bytes.
        ModuleNotFoundError: ``tinylfu`` without the extra ``cache``.
    """
    if policy not in ("auto", "tinylfu", "lru"):
        raise CacheError(f"Expected policy to be 'auto', 'tinylfu' or 'lru', got {policy!r}.")
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 0:
        raise CacheError(f"Expected memory_bytes to be a whole number of 0 or more, got {capacity!r}.")
    if policy == "lru":
        return LruStore(capacity)
    try:
        return TinyLfuStore(capacity)
    except ModuleNotFoundError:
        if policy == "tinylfu":
            raise
        return LruStore(capacity)


class MemoryTier:
    """A store that threads share, with its counters.

    Args:
        policy: Which entry goes first.
        capacity: Bytes, with overhead; 0 keeps nothing.
    """

    def __init__(self, policy: Policy, capacity: int) -> None:
        self._store = open_store(policy, capacity)
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def get(self, keys: Sequence[str], *, counted: bool = True) -> dict[str, bytes]:
        """Return what is held of these names.

        Args:
            keys: Distinct names.
            counted: Whether this is a lookup of its own, not a second look.
        """
        with self._lock:
            entries = self._store.entries
            found = {key: value for key in keys if (value := entries.get(key)) is not None}
            self._store.touch(list(found))
            if counted:
                self._hits += len(found)
                self._misses += len(keys) - len(found)
        return found

    def put(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Keep entries."""
        with self._lock:
            for key, value in items:
                self._store.put(key, value)

    def clear(self) -> None:
        """Drop all entries; the counters go on."""
        with self._lock:
            self._store.clear()

    def stats(self) -> TierStats:
        """Return the figures of this moment."""
        with self._lock:
            store = self._store
            return TierStats(
                hits=self._hits,
                misses=self._misses,
                evictions=store.evictions,
                entries=len(store.entries),
                bytes=store.held_bytes,
            )


def _number(key: str) -> int:
    return hash(key) & _HASH_MASK
