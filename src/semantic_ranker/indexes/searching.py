"""What a search of an index checks, times and puts together. Knows no store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.fusion import fuse_rrf, fuse_weighted
from semantic_ranker.indexes.filters import Where, check_where
from semantic_ranker.indexes.passage import Passage
from semantic_ranker.indexes.store import Scored

Mode: TypeAlias = Literal["hybrid", "dense", "lexical"]
Fusion: TypeAlias = Literal["rrf"] | float
"""How the two lists become one: reciprocal ranks, or the weight of the vectors' scores, 0 to 1."""

_MODES = ("hybrid", "dense", "lexical")
_T = TypeVar("_T")


def checked_search(queries: Any, k: Any, mode: Any, fusion: Any, where: Where | None) -> Where | None:
    """Refuse arguments of a search that are none; return the filter, None for one without a condition.

    Raises:
        InvalidInputError: One is of another kind or out of range.
    """
    if isinstance(queries, (str, bytes)) or not all(isinstance(query, str) for query in queries):
        raise InvalidInputError("Expected a list of str as queries, got something else.")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InvalidInputError(f"Expected k to be an int of 1 or more, got {k!r}.")
    if mode not in _MODES:
        raise InvalidInputError(f"Expected mode to be one of {', '.join(_MODES)}, got {mode!r}.")
    number = isinstance(fusion, (int, float)) and not isinstance(fusion, bool)
    if fusion != "rrf" and not (number and 0 <= fusion <= 1):
        raise InvalidInputError(f"Expected fusion to be 'rrf' or a weight from 0 to 1, got {fusion!r}.")
    return check_where(where)


def fused(mode: Mode, fusion: Fusion, dense: list[Scored], words: list[Scored]) -> list[Scored]:
    """Return one list a query of what vectors and words found."""
    if mode != "hybrid":
        return dense if mode == "dense" else words
    runs = [{str(place): dict(scored) for place, scored in enumerate(of)} for of in (dense, words)]
    found = fuse_rrf(runs) if fusion == "rrf" else fuse_weighted(runs, [fusion, 1 - fusion])
    return [list(found[str(place)].items()) for place in range(len(dense))]


def timed(latency: dict[str, float], name: str, work: Callable[[], _T]) -> _T:
    """Do something and note its milliseconds, even where it fails."""
    start = time.perf_counter()
    try:
        return work()
    finally:
        latency[name] = 1000 * (time.perf_counter() - start)


def parts(passages: Iterable[Passage], size: int) -> Iterable[list[Passage]]:
    """Give passages in lists of up to ``size``.

    Raises:
        InvalidInputError: It is no list of passages.
    """
    if isinstance(passages, (str, bytes, Mapping)) or not isinstance(passages, Iterable):
        raise InvalidInputError(f"Expected a list of Passage, got {type(passages).__name__}.")
    part: list[Passage] = []
    for passage in passages:
        part.append(passage)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
