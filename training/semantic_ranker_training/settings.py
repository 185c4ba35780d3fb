"""What settings of trainings share: building by name, JSON, and checks of their values."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Self

from semantic_ranker.errors import InvalidInputError


class NamedSettings:
    """A dataclass of settings that can be built by name and written as JSON."""

    __slots__ = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from named values.

        Raises:
            InvalidInputError: A name is unknown (the nearest known one is named) or a value is out of range.
        """
        known = [entry.name for entry in fields(cls)]  # type: ignore[arg-type]  # subclasses are dataclasses
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}."
                raise InvalidInputError(f"Unknown setting {name!r} of the training{hint}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # type: ignore[call-overload]
        return content

    def check_choices(self, choices: Mapping[str, tuple[str, ...]]) -> None:
        """Refuse a setting that is none of its known values."""
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InvalidInputError(f"Expected {name} out of {', '.join(known)}, got {getattr(self, name)!r}.")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"Expected {name} to be a whole number of {least} or more, got {value!r}.")


def check_number(name: str, value: object, *, above: bool) -> None:
    """Refuse what is no finite number of 0 or more, or, with ``above``, above 0."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (above and value == 0):  # type: ignore[operator]  # `good` says that it is a number
        raise InvalidInputError(f"Expected {name} {'above 0' if above else 'of 0 or more'}, got {value!r}.")
