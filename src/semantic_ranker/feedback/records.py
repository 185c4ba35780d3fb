"""The records of a feedback log, checked when they are made and when they are read. Touches no file."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from semantic_ranker.errors import InvalidInputError

SCHEMA = 1
"""Version of the records that this package writes and reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """A document that was shown to the user or to the language model.

    Attributes:
        id: Of the document.
        score: What it was ranked by.
    """

    id: str
    score: float

    def __post_init__(self) -> None:
        _string("retrieved id", self.id)
        object.__setattr__(self, "score", _number("retrieved score", self.score))


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a user or a reviewer said of an interaction; None is not said.

    Attributes:
        resolved: Whether the answer settled the matter without a person's help.
        relevant: Ids of documents that help.
        irrelevant: Ids of documents that do not.
        out_of_context: Whether the answer says what the documents do not.
    """

    resolved: bool | None = None
    relevant: tuple[str, ...] = ()
    irrelevant: tuple[str, ...] = ()
    out_of_context: bool | None = None

    def __post_init__(self) -> None:
        for name in ("resolved", "out_of_context"):
            if (value := getattr(self, name)) is not None and not isinstance(value, bool):
                raise InvalidInputError(f"Expected review.{name} to be a bool or None, got {value!r}.")
        for name in ("relevant", "irrelevant"):
            object.__setattr__(self, name, _ids(f"review.{name}", getattr(self, name)))
        if both := set(self.relevant) & set(self.irrelevant):
            raise InvalidInputError(
                f"Expected each document as relevant or irrelevant, got both for {sorted(both)[0]!r}."
            )

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return self == Review()

    def to_dict(self) -> dict[str, Any]:
        """Return the review as JSON values."""
        return {
            "resolved": self.resolved,
            "relevant": list(self.relevant),
            "irrelevant": list(self.irrelevant),
            "out_of_context": self.out_of_context,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One question and what was made of it.

    Attributes:
        query: What the user asked.
        id: Of the interaction.
        time: When, with a time zone; kept in UTC, to the millisecond.
        retrieved: The documents, best first.
        answer: What the user was told, empty for a search without an answer.
        intent: What the user wanted, by the assistant's own names; None is unknown.
        review: What was said of it.
        latency_ms: Milliseconds by stage; ``total`` is the whole, else the stages are taken to follow each other.
        cache_hits: Embeddings that a cache had.
        cache_misses: Embeddings that had to be computed.
        degraded: Whether a stage failed and its input was passed on.
        model: Name and version of the model that ranked.

    Raises:
        InvalidInputError: A value is of another kind, NaN, negative where it cannot be, or a time without zone.
    """

    query: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    retrieved: tuple[Retrieved, ...] = ()
    answer: str = ""
    intent: str | None = None
    review: Review = field(default_factory=Review)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    cache_hits: int = 0
    cache_misses: int = 0
    degraded: bool = False
    model: str = ""

    def __post_init__(self) -> None:
        for name in ("query", "answer", "model"):
            _string(name, getattr(self, name), may_be_empty=True)
        _string("id", self.id)
        if self.intent is not None:
            _string("intent", self.intent)
        if not isinstance(self.time, datetime) or self.time.tzinfo is None:
            raise InvalidInputError(f"Expected a time with a time zone, got {self.time!r}.")
        if not all(isinstance(item, Retrieved) for item in self.retrieved) or not isinstance(self.review, Review):
            raise InvalidInputError("Expected Retrieved objects in retrieved and a Review as review, got others.")
        for name in ("cache_hits", "cache_misses"):
            _count(name, getattr(self, name))
        if not isinstance(self.degraded, bool):
            raise InvalidInputError(f"Expected degraded to be a bool, got {self.degraded!r}.")
        utc = self.time.astimezone(UTC)
        object.__setattr__(self, "time", utc.replace(microsecond=utc.microsecond // 1000 * 1000))
        object.__setattr__(self, "retrieved", tuple(self.retrieved))
        object.__setattr__(self, "latency_ms", _latencies(self.latency_ms))

    @property
    def total_ms(self) -> float | None:
        """Milliseconds that the user waited, None when nothing was timed."""
        if not self.latency_ms:
            return None
        return self.latency_ms.get("total", math.fsum(self.latency_ms.values()))

    def to_json(self) -> str:
        """Return the record as one line of JSON, in ASCII."""
        record = {
            "schema": SCHEMA,
            "id": self.id,
            "time": stamp(self.time),
            "query": self.query,
            "retrieved": [{"id": item.id, "score": item.score} for item in self.retrieved],
            "answer": self.answer,
            "intent": self.intent,
            "review": self.review.to_dict(),
            "latency_ms": dict(self.latency_ms),
            "cache": {"hits": self.cache_hits, "misses": self.cache_misses},
            "degraded": self.degraded,
            "model": self.model,
        }
        return json.dumps(record, separators=(",", ":"), allow_nan=False)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; keys of later versions are left out.

        Raises:
            InvalidInputError: A key is missing, or a value is of another kind.
        """
        check_schema(record)
        cache = _part(record, "cache", dict, {})
        return cls(
            id=_part(record, "id", str),
            time=time_of(_part(record, "time", str)),
            query=_part(record, "query", str),
            retrieved=tuple(_retrieved(item) for item in _part(record, "retrieved", list, [])),
            answer=_part(record, "answer", str, ""),
            intent=record.get("intent"),
            review=review_of(_part(record, "review", dict, {})),
            latency_ms=_part(record, "latency_ms", dict, {}),
            cache_hits=cache.get("hits", 0),
            cache_misses=cache.get("misses", 0),
            degraded=record.get("degraded", False),
            model=_part(record, "model", str, ""),
        )


def review_of(record: Mapping[str, Any]) -> Review:
    """Read a review from JSON values.

    Raises:
        InvalidInputError: A value is of another kind.
    """
    return Review(
        resolved=record.get("resolved"),
        relevant=record.get("relevant", ()),
        irrelevant=record.get("irrelevant", ()),
        out_of_context=record.get("out_of_context"),
    )


def check_schema(record: Mapping[str, Any]) -> None:
    """Refuse a record of another version.

    Raises:
        InvalidInputError: ``schema`` is not the one that this package reads.
    """
    if record.get("schema") != SCHEMA:
        raise InvalidInputError(
            f"Expected schema {SCHEMA}, got {record.get('schema')!r}: the record is none of ours, or of a later "
            "version of semantic-ranker."
        )


def stamp(time: datetime) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(text: str) -> datetime:
    """Read an ISO 8601 time; a day alone is its beginning, and a time without zone is UTC.

    Raises:
        InvalidInputError: It is no such time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"Expected a time such as 2026-01-31T12:00:00Z, got {text!r}.") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _retrieved(item: Any) -> Retrieved:
    if not isinstance(item, dict) or "id" not in item or "score" not in item:
        raise InvalidInputError("Expected retrieved items with an id and a score, got another value.")
    return Retrieved(id=item["id"], score=item["score"])


def _part(record: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = record.get(key, default)
    if not isinstance(value, kind):
        raise InvalidInputError(f"Expected {key!r} to be a {kind.__name__}, got {type(value).__name__}.")
    return value


def _string(name: str, value: object, *, may_be_empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or may_be_empty):
        shown = "an empty one" if value == "" else type(value).__name__
        raise InvalidInputError(f"Expected {name} to be a str, got {shown}.")


def _number(name: str, value: object, *, least: float = -math.inf) -> float:
    # numpy's scalars are numbers too.
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise InvalidInputError(f"Expected {name} to be a number, got {type(value).__name__}.")
    number = float(value)
    if not math.isfinite(number) or number < least:
        raise InvalidInputError(f"Expected {name} to be finite{'' if least < 0 else ', 0 or more'}, got {number!r}.")
    return number


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInputError(f"Expected {name} to be a whole number of 0 or more, got {value!r}.")


def _latencies(values: object) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"Expected latency_ms to be milliseconds by stage, got {type(values).__name__}.")
    for stage in values:
        _string("a stage of latency_ms", stage)
    return {stage: _number(f"latency_ms[{stage!r}]", value, least=0.0) for stage, value in values.items()}


def _ids(name: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidInputError(f"Expected {name} to be a list of document ids, got {type(values).__name__}.")
    for value in values:
        _string(f"an id in {name}", value)
    return tuple(dict.fromkeys(values))
