"""Filters on metadata, in the notation that Chroma and Pinecone share; checked here, and decided here too.

``{"source": "a.md"}``, ``{"year": {"$gte": 2020}}``, ``{"$or": [{...}, {...}]}``. A field that a passage lacks passes
no comparison, not even ``$ne``: stores disagree about that, so what they return is held against this once more.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.indexes.passage import Value

Where = Mapping[str, Any]
"""A filter."""

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_LISTS = ("$in", "$nin")
_OPERATORS = ("$eq", "$ne", *_ORDERED, *_LISTS)
_DEEPEST = 16


def check_where(where: Where | None, *, depth: int = 0) -> Where | None:
    """Refuse a filter that is none; an empty one is None.

    Raises:
        InvalidInputError: It is no filter; the message says where.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping) or depth > _DEEPEST:
        raise InvalidInputError(f"Expected a filter such as {{'source': 'a.md'}}, got {type(where).__name__}.")
    for key, wanted in where.items():
        if key in ("$and", "$or"):
            if not isinstance(wanted, (list, tuple)) or not wanted:
                raise InvalidInputError(f"Expected a list of filters for {key}, got {wanted!r:.60}.")
            for inner in wanted:
                if not check_where(inner, depth=depth + 1):
                    raise InvalidInputError(f"Expected filters in {key}, got an empty one.")
        elif not isinstance(key, str) or key.startswith("$"):
            raise InvalidInputError(f"Expected a field, '$and' or '$or' in a filter, got {key!r:.60}.")
        else:
            _check_comparisons(key, wanted)
    return where or None


def matches(where: Where | None, fields: Mapping[str, Value]) -> bool:
    """Whether a passage passes a filter that `check_where` passed."""
    if where is None:
        return True
    for key, wanted in where.items():
        if key == "$and":
            passes = all(matches(inner, fields) for inner in wanted)
        elif key == "$or":
            passes = any(matches(inner, fields) for inner in wanted)
        else:
            comparisons = wanted if isinstance(wanted, Mapping) else {"$eq": wanted}
            passes = key in fields and all(_holds(name, fields[key], value) for name, value in comparisons.items())
        if not passes:
            return False
    return True


def canonical(where: Where) -> dict[str, Any]:
    """Return a filter with one condition a level and ``$and`` round several, which every store accepts."""
    conditions: list[dict[str, Any]] = []
    for key, wanted in where.items():
        if key in ("$and", "$or"):
            inner = [canonical(item) for item in wanted]
            conditions.append(inner[0] if len(inner) == 1 else {key: inner})
        elif isinstance(wanted, Mapping):
            conditions += [{key: {name: _plain(value)}} for name, value in wanted.items()]
        else:
            conditions.append({key: {"$eq": wanted}})
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_comparisons(key: str, wanted: Any) -> None:
    comparisons = wanted if isinstance(wanted, Mapping) else {"$eq": wanted}
    if not comparisons:
        raise InvalidInputError(f"Expected a comparison for {key!r} in a filter, got an empty one.")
    for name, value in comparisons.items():
        if name not in _OPERATORS:
            raise InvalidInputError(f"Expected one of {', '.join(_OPERATORS)} for {key!r}, got {name!r:.60}.")
        if name in _LISTS:
            if not isinstance(value, (list, tuple)) or not value or not all(map(_is_scalar, value)):
                raise InvalidInputError(f"Expected a list of values for {name} of {key!r}, got {value!r:.60}.")
        elif not (_is_number(value) if name in _ORDERED else _is_scalar(value)):
            raise InvalidInputError(f"Expected a value that {name} of {key!r} can compare, got {value!r:.60}.")


def _holds(name: str, found: Value, wanted: Any) -> bool:
    if name in _ORDERED:
        return _is_number(found) and _ORDERED[name](found, wanted)
    if name in _LISTS:
        return any(_same(found, value) for value in wanted) == (name == "$in")
    return _same(found, wanted) == (name == "$eq")


def _same(found: Value, wanted: Any) -> bool:
    """Whether a value is the wanted one; a list is every one of its strings."""
    if isinstance(found, tuple):
        return wanted in found
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, bool)) or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
