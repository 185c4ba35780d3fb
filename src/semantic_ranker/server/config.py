"""How a server listens and what it refuses, checked when it is made."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

from semantic_ranker.errors import InvalidInputError

_LOOPBACK_NAMES = ("localhost",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Limits and address of a server.

    Attributes:
        host: Address to listen on. Beyond loopback an ``api_key`` is needed.
        port: Port; 0 takes a free one.
        workers: Requests that are computed at once; each is spread over the cores already.
        queue: Requests that may wait beside them; further ones are refused with 429.
        max_body_bytes: Largest request.
        max_texts: Most texts of a request.
        timeout_s: Seconds from a request's arrival to its answer, after which it is given up with 504.
        body_timeout_s: Seconds for a request's body to come in.
        shutdown_s: Seconds that running requests have after SIGTERM.
        api_key: What clients send as ``Authorization: Bearer KEY``; None lets everybody on this machine in.

    Raises:
        InvalidInputError: A value is out of range, or the address is not loopback and there is no key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    queue: int = 32
    max_body_bytes: int = 8_000_000
    max_texts: int = 1000
    timeout_s: float = 60.0
    body_timeout_s: float = 10.0
    shutdown_s: float = 30.0
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("port", 0, 65_535),
            ("workers", 1, 64),
            ("queue", 0, 100_000),
            ("max_body_bytes", 1, 2**31),
            ("max_texts", 1, 10**6),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InvalidInputError(f"Expected {name} to be an int from {least} to {most}, got {value!r}.")
        for name in ("timeout_s", "body_timeout_s", "shutdown_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InvalidInputError(f"Expected {name} to be a number of seconds above 0, got {value!r}.")
        if self.api_key is not None and (not self.api_key.strip() or not self.api_key.isascii()):
            raise InvalidInputError("Expected an api_key of ASCII characters, got an empty or another one.")
        if not self.is_loopback and self.api_key is None:
            raise InvalidInputError(
                f"Expected an API key to listen on {self.host!r}, which other machines reach, got none: set "
                "SEMANTIC_RANKER_API_KEY, or listen on 127.0.0.1."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host in _LOOPBACK_NAMES
