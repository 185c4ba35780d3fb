"""Looks at, and empties, our part of a Redis; unlike `TieredCache`, it says when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from semantic_ranker.cache.keys import NAMESPACE
from semantic_ranker.cache.redis_tier import check_url, clear_all, connect
from semantic_ranker.config import without_password
from semantic_ranker.errors import CacheError

if TYPE_CHECKING:
    from redis import Redis

_TIMEOUT_S = 5.0
_SAMPLE = 256
_LFU = ("allkeys-lfu", "volatile-lfu")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSurvey:
    """What a Redis holds of ours.

    Attributes:
        url: Of the server, without its password.
        version: Of the server.
        entries: Vectors kept.
        spaces: Vectors by embedding space (the first 12 characters of its fingerprint).
        roles: Vectors by role, ``q`` and ``d``.
        bytes_an_entry: Mean of ``MEMORY USAGE`` over a sample, with the server's overhead; None where there are none.
        bytes: That times the entries.
        used_memory: Bytes of the whole server.
        maxmemory: Bytes that the server may use; 0 is no limit.
        policy: What the server evicts when it is full.
        evicted: Keys that the server evicted since it started, of whatever program.
        advice: What should be set otherwise.
    """

    url: str
    version: str
    entries: int
    spaces: dict[str, int]
    roles: dict[str, int]
    bytes_an_entry: float | None
    bytes: int
    used_memory: int
    maxmemory: int
    policy: str
    evicted: int
    advice: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        return asdict(self)


def survey(url: str, *, allow_unprotected: bool = False) -> RedisSurvey:
    """Look at a Redis without changing anything; all names are read, part by part.

    Raises:
        CacheError: The URL is none of Redis, or the server does not answer.
        ModuleNotFoundError: The extra ``redis`` is not installed.
    """
    with _opened(url, allow_unprotected) as client:
        spaces: dict[str, int] = {}
        roles: dict[str, int] = {}
        sample: list[bytes] = []
        for key in client.scan_iter(match=f"{NAMESPACE}*", count=1000):
            _, space, role = (key.decode(errors="replace").removeprefix(NAMESPACE).split(":") + ["?"] * 3)[:3]
            spaces[space] = spaces.get(space, 0) + 1
            roles[role] = roles.get(role, 0) + 1
            if len(sample) < _SAMPLE:
                sample.append(key)
        sizes = [size for size in map(client.memory_usage, sample) if size]
        info = client.info()
        entries = sum(spaces.values())
        mean = sum(sizes) / len(sizes) if sizes else None
        limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", ""))
        return RedisSurvey(
            url=str(without_password(url)),
            version=str(info.get("redis_version", "")),
            entries=entries,
            spaces=dict(sorted(spaces.items())),
            roles=dict(sorted(roles.items())),
            bytes_an_entry=mean,
            bytes=round((mean or 0) * entries),
            used_memory=int(info.get("used_memory", 0)),
            maxmemory=limit,
            policy=policy,
            evicted=int(info.get("evicted_keys", 0)),
            advice=_advice(limit, policy),
        )


def clear(url: str, *, space: str | None = None, allow_unprotected: bool = False) -> int:
    """Delete our vectors from a Redis, nothing else, and return how many went.

    Args:
        url: Of the server.
        space: First 12 characters of the fingerprint of the only space to delete; None deletes all.
        allow_unprotected: Allow a server of another machine without a password.

    Raises:
        CacheError: As `survey`.
        ModuleNotFoundError: The extra ``redis`` is not installed.
    """
    if space is not None and (len(space) != 12 or set(space) - set("0123456789abcdef")):
        raise CacheError(f"Expected a space as 12 hex characters, as `cache stats` shows it, got {space!r}.")
    with _opened(url, allow_unprotected) as client:
        return sum(clear_all(client, f"*:{space}:*" if space else "*"))


@contextmanager
def _opened(url: str, allow_unprotected: bool) -> Iterator[Redis]:
    check_url(url, allow_unprotected=allow_unprotected)
    client = connect(url, timeout_s=_TIMEOUT_S)
    import redis

    try:
        yield client
    except (redis.RedisError, OSError) as error:
        raise CacheError(f"Redis at {without_password(url)} does not answer: {error}") from None
    finally:
        client.close()
        client.connection_pool.disconnect()


def _advice(limit: int, policy: str) -> tuple[str, ...]:
    wrong = []
    if not limit:
        wrong.append("set maxmemory: without it the server grows until the machine's memory is used up")
    if policy not in _LFU:
        wrong.append(f"set maxmemory-policy allkeys-lfu instead of {policy or 'none'}: it keeps what is asked for most")
    return tuple(wrong)
