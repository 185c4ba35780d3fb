"""Values that a message gives for an intent's parameters: whole numbers, dates, choices, patterns. Asks no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, Self, TypeAlias, get_args

from semantic_ranker.errors import InvalidInputError

Kind: TypeAlias = Literal["integer", "number", "date", "email", "choice", "pattern"]
Value: TypeAlias = str | int | float
_MOST_CHARACTERS = 2000  # of a message that an owner's pattern is held against

_INTEGER = re.compile(r"(?<![\w.,])[-+]?\d{1,15}(?![\w])(?![.,]\d)")
_NUMBER = re.compile(r"(?<![\w.,])[-+]?\d{1,15}(?:[.,]\d{1,9})?(?!\w)")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_DATE = re.compile(r"(?<!\d)(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})[/.](\d{1,2})[/.](\d{4}))(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What an intent wants to know.

    Attributes:
        name: Its name.
        kind: What is looked for; ``date`` is ``2026-01-31`` or ``31/1/2026``, ``pattern`` a regular expression.
        values: For ``choice``: words that mean each value.
        pattern: For ``pattern``: its first group, or all of it, is the value.
        ask: What to ask the user where it is missing; None does not ask.
    """

    name: str
    kind: Kind
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None
    ask: str | None = None

    @classmethod
    def of_record(cls, name: str, record: Any) -> Self:
        """Read one of ``intents.json``.

        Raises:
            InvalidInputError: A key is of another kind.
        """
        if not isinstance(record, dict) or record.get("type") not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise InvalidInputError(f"Expected parameter {name!r} to be an object with a type of {kinds}.")
        ask = record.get("ask")
        if ask is not None and not isinstance(ask, str):
            raise InvalidInputError(f"Expected ask of parameter {name!r} to be a string.")
        return cls(
            name=name,
            kind=record["type"],
            values=_values(name, record) if record["type"] == "choice" else {},
            pattern=_pattern(name, record) if record["type"] == "pattern" else None,
            ask=ask,
        )

    def find(self, message: str) -> Value | None:
        """Return the first value in a message, None where there is none."""
        if self.kind == "choice":
            return self._choice(message.casefold())
        if self.pattern is not None:
            found = self.pattern.search(message[:_MOST_CHARACTERS])
            return (found[1] if self.pattern.groups else found[0]) if found else None
        return _FINDERS[self.kind](message)

    def _choice(self, message: str) -> str | None:
        places = [
            (found.start(), -len(word), value)
            for value, words in self.values.items()
            for word in words
            if (found := re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message))
        ]
        return min(places)[2] if places else None


def _integer(message: str) -> int | None:
    found = _INTEGER.search(message)
    return int(found[0]) if found else None


def _number(message: str) -> float | None:
    found = _NUMBER.search(message)
    return float(found[0].replace(",", ".")) if found else None


def _email(message: str) -> str | None:
    found = _EMAIL.search(message)
    return found[0] if found else None


def _date(message: str) -> str | None:
    for found in _DATE.finditer(message):
        year, month, day = (found[1], found[2], found[3]) if found[1] else (found[6], found[5], found[4])
        try:
            return date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            continue
    return None


_FINDERS: dict[str, Callable[[str], Value | None]] = {
    "integer": _integer,
    "number": _number,
    "email": _email,
    "date": _date,
}


def _values(name: str, record: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    given = record.get("values")
    if isinstance(given, list):
        given = {value: [] for value in given if isinstance(value, str)}
    if not isinstance(given, dict) or not given:
        raise InvalidInputError(f"Expected values of parameter {name!r}: a list, or words by value.")
    result = {}
    for value, words in given.items():
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise InvalidInputError(f"Expected words of value {value!r} of parameter {name!r} to be a list of strings.")
        result[value] = tuple(dict.fromkeys(word.casefold() for word in (value, *words)))
    return result


def _pattern(name: str, record: Mapping[str, Any]) -> re.Pattern[str]:
    try:
        return re.compile(record.get("pattern") or "(", re.IGNORECASE)
    except (re.error, TypeError, RecursionError) as error:
        raise InvalidInputError(
            f"Expected pattern of parameter {name!r} to be a regular expression ({error})."
        ) from error
