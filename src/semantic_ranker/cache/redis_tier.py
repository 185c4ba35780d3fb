"""The tier in Redis: shared by processes, and never in the way when it is down, hung, slow, full or damaged."""

from __future__ import annotations

import inspect
import ipaddress
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from semantic_ranker._extras import requires_extra
from semantic_ranker.cache.codec import is_sound
from semantic_ranker.cache.keys import NAMESPACE
from semantic_ranker.cache.stats import Tally, TierStats
from semantic_ranker.embedding.breaker import Breaker, BreakerPolicy
from semantic_ranker.errors import CacheError

if TYPE_CHECKING:
    from redis import Redis

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
PART = 256
"""Names a round trip."""
_SCHEMES = ("redis", "rediss", "unix")
_JITTER = 0.1
_DAY_S = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """How Redis is used.

    Attributes:
        ttl_s: Seconds that a vector is kept, give or take a tenth, so that not all go at once.
        timeout_s: Seconds that connecting, or one answer, may take.
        fail_max: Failures in a row after which Redis is left alone; a refused connection is enough.
        reset_s: Seconds after which it is looked at again, by a thread of its own: no call waits for that.
        max_connections: Connections of this process.
        allow_unprotected: Allow a server of another machine without a password.
        clock: Monotonic seconds.

    Raises:
        CacheError: A number is not finite and positive.
    """

    ttl_s: float = 30.0 * _DAY_S
    timeout_s: float = 0.05
    fail_max: int = 3
    reset_s: float = 1.0
    max_connections: int = 8
    allow_unprotected: bool = False
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("ttl_s", "timeout_s", "fail_max", "reset_s", "max_connections"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise CacheError(f"Expected {name} to be a finite number above 0, got {value!r}.")


def connect(url: str, *, timeout_s: float, max_connections: int = 1) -> Redis:
    """Return a client that fails after one timeout and never tries twice; it connects at its first command.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        timeout_s: Seconds for connecting, and for each answer.
        max_connections: More callers than that wait for one timeout, then fail.

    Raises:
        CacheError: The URL cannot be read; the message never holds it, as it may hold a password.
        ModuleNotFoundError: The extra ``redis`` is not installed.
    """
    with requires_extra("redis"):
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            timeout=timeout_s,
            max_connections=max_connections,
            protocol=2,
            **_anonymous(redis.connection.AbstractConnection),
        )
    except (ValueError, TypeError, redis.RedisError):
        raise CacheError("Expected a URL of Redis, such as redis://:password@host:6379/0.") from None
    return redis.Redis(connection_pool=pool)


def check_url(url: str, *, allow_unprotected: bool = False) -> None:
    """Refuse a URL that is none of Redis, or of another machine's server that anybody may write to.

    Raises:
        CacheError: It is one of those.
    """
    try:
        parts = urlsplit(url)
        host, has_password = parts.hostname or "", bool(parts.password) or "password=" in parts.query
    except (ValueError, TypeError, AttributeError):
        host, parts, has_password = "", None, False
    if parts is None or parts.scheme not in _SCHEMES:
        raise CacheError(f"Expected a URL of Redis with one of the schemes {', '.join(_SCHEMES)}, got another.")
    if parts.scheme == "unix" or has_password or allow_unprotected or _is_loopback(host):
        return
    raise CacheError(
        f"Expected a password for the Redis on {host!r}, which is another machine: got none, and anybody there could "
        "plant vectors. Put it into the URL (rediss://:password@host), or use allow_unprotected=True if its network is "
        "yours alone."
    )


class RedisTier:
    """Reads and writes values in Redis without ever raising; a failure is a miss and a counter.

    Args:
        url: Of the server.
        options: How it is used.
    """

    def __init__(self, url: str, options: RedisOptions) -> None:
        check_url(url, allow_unprotected=options.allow_unprotected)
        self._options, self._url = options, url
        self._client = connect(url, timeout_s=options.timeout_s, max_connections=options.max_connections)
        self._tally = Tally()
        self._random = random.Random()
        self._policy = BreakerPolicy(fail_max=options.fail_max, reset_s=options.reset_s, clock=options.clock)
        self._breaker, self._full = Breaker(self._policy), Breaker(self._policy)
        self._open = self._refused = False
        self._probing = threading.Lock()
        self._said: set[str] = set()

    @property
    def is_available(self) -> bool:
        """Whether Redis is asked; where it is not, and it is time, a thread looks whether it is back."""
        if self._refused:
            return False
        if self._open and self._breaker.is_closed and self._probing.acquire(blocking=False):
            threading.Thread(target=self._probe, name="semantic-ranker-redis", daemon=True).start()
        return not self._open

    def get(self, keys: Sequence[str], dim: int) -> tuple[dict[str, bytes], bool]:
        """Return the sound values of these names, and whether Redis answered for all; damaged ones are deleted.

        Args:
            keys: Distinct names.
            dim: What their vectors must have.
        """
        found: dict[str, bytes] = {}
        answered = True
        for start in range(0, len(keys), PART):
            part = keys[start : start + PART]
            sound = self._ask(lambda part=part: self._sound(part, self._client.mget(part), dim))  # type: ignore[misc]
            if sound is None:
                answered = False
                break
            found |= sound
        self._tally.add(hits=len(found), misses=len(keys) - len(found))
        return found, answered

    def put(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Write values, each with a time to live."""
        for start in range(0, len(items), PART):
            part = items[start : start + PART]
            if not self._full.is_closed or self._ask(lambda part=part: self._write(part)) is None:  # type: ignore[misc]
                return

    def clear(self) -> int:
        """Delete all names of ours, and return how many went."""
        return self._ask(lambda: sum(clear_all(self._client))) or 0

    def stats(self) -> TierStats:
        """Return the figures of this moment, without asking Redis."""
        counts = self._tally.read()
        errors = {name.removeprefix("error_"): n for name, n in counts.items() if name.startswith("error_")}
        names = ("hits", "misses", "corrupt", "entries", "bytes")
        return TierStats(**{name: counts.get(name, 0) for name in names}, errors=errors)

    def close(self) -> None:
        """Let go of the connections; the next call connects again."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def _sound(self, keys: Sequence[str], values: Sequence[Any], dim: int) -> dict[str, bytes]:
        present = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        sound = {key: value for key, value in present.items() if is_sound(value, key, dim)}
        if bad := [key for key in present if key not in sound]:
            self._tally.add(corrupt=len(bad))
            self._once("corrupt", f"{len(bad)} values in Redis were damaged or foreign; they are deleted")
            self._client.delete(*bad)
        return sound

    def _write(self, items: Sequence[tuple[str, bytes]]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for key, value in items:
            spread = 1 + self._random.uniform(-_JITTER, _JITTER)
            pipeline.set(key, value, px=max(1, int(1000 * self._options.ttl_s * spread)))
        answers = pipeline.execute(raise_on_error=False)
        written = [value for (_, value), answer in zip(items, answers, strict=True) if answer is True]
        self._tally.add(entries=len(written), bytes=sum(map(len, written)))
        if failures := [answer for answer in answers if isinstance(answer, Exception)]:
            # Full or read-only: what is there can still be read.
            kind = _kind(failures[0])
            self._tally.add(**{f"error_{kind}": len(failures)})
            self._full.failed(failures[0], at_once=True)
            self._once(kind, f"Redis takes no new vectors ({kind}); reading goes on")
        return len(written)

    def _ask(self, command: Callable[[], _T]) -> _T | None:
        """Return what a command gives; None where Redis is left alone or fails, whatever the failure."""
        if not self.is_available:
            return None
        try:
            answer = command()
        except Exception as error:
            self._failed(error)
            return None
        self._breaker.succeeded()
        return answer

    def _failed(self, error: Exception) -> None:
        kind = _kind(error)
        self._tally.add(**{f"error_{kind}": 1})
        if kind == "pool":
            # All connections are in use: Redis is not to blame.
            return
        if kind == "auth":
            self._refused = True
            self._once(kind, f"Redis refuses the user or password ({type(error).__name__}); it is not used")
            return
        self._breaker.failed(error, at_once=kind == "refused")
        if not self._breaker.is_closed and not self._open:
            self._open = True
            logger.warning("Redis is left alone (%s): vectors are kept in this process until it answers", kind)

    def _probe(self) -> None:
        try:
            self._client.ping()
        except Exception as error:
            self._tally.add(**{f"error_{_kind(error)}": 1})
            self._breaker = Breaker(self._policy)
            self._breaker.failed(error, at_once=True)
        else:
            self._breaker = Breaker(self._policy)
            self._open = False
            logger.info("Redis answers again")
        finally:
            self._probing.release()

    def _once(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.warning("%s", message)


def clear_all(client: Redis, part_of_name: str = "*") -> Iterator[int]:
    """Delete names of ours that match a pattern, and yield how many went, part by part."""
    part: list[bytes] = []
    for key in client.scan_iter(match=f"{NAMESPACE}{part_of_name}", count=1000):
        part.append(key)
        if len(part) == PART:
            yield int(client.unlink(*part))
            part = []
    if part:
        yield int(client.unlink(*part))


def _anonymous(connection: type) -> dict[str, None]:
    """Return arguments by which a client does not name itself to the server, two round trips of every connection."""
    known = inspect.signature(connection).parameters
    return {"driver_info": None} if "driver_info" in known else {"lib_name": None, "lib_version": None}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")


def _kind(error: BaseException) -> str:
    """Return a short name of a failure, the same for all of its sort."""
    import redis
    from redis import exceptions

    text = str(error)
    if isinstance(error, exceptions.MaxConnectionsError) or "No connection available" in text:
        return "pool"
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)) or text.startswith(
        ("NOAUTH", "WRONGPASS", "NOPERM")
    ):
        return "auth"
    kinds: dict[str, tuple[type[BaseException], ...]] = {
        "oom": (exceptions.OutOfMemoryError,),
        "loading": (exceptions.BusyLoadingError,),
        "readonly": (exceptions.ReadOnlyError,),
        "cluster": (exceptions.ClusterError, exceptions.MovedError, exceptions.AskError, exceptions.ClusterDownError),
        "timeout": (redis.TimeoutError, TimeoutError),
    }
    for kind, types in kinds.items():
        if isinstance(error, types):
            return kind
    words = {"LOADING": "loading", "READONLY": "readonly", "MOVED": "cluster", "CLUSTERDOWN": "cluster", "OOM": "oom"}
    for word, kind in words.items():
        if text.startswith(word):
            return kind
    if isinstance(error, (redis.ConnectionError, OSError)):
        return "refused" if _is_refused(error) else "connection"
    return "response"


def _is_refused(error: BaseException) -> bool:
    import socket

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (ConnectionRefusedError, FileNotFoundError, socket.gaierror)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
