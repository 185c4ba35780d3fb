"""The states of an index's passages, written before anyone asks: checked, counted, in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.segments.engine import SegmentEngine
from semantic_ranker.segments.store import PassageStore

if TYPE_CHECKING:
    import os

    from semantic_ranker._arguments import Options
    from semantic_ranker._engine import Scorer


def write_states(
    engine: Scorer, texts: Iterable[str], path: str | os.PathLike[str], options: Options, *, prune: bool, progress: bool
) -> int:
    """Write the states of texts, and return how many the folder has; see `CrossEncoder.precompute`."""
    if not isinstance(engine, SegmentEngine):
        raise InvalidInputError(
            f"Expected a model that encodes texts alone, got {engine.settings.name}: it reads query and text together."
        )
    for _ in engine.precompute(_counted(_checked(texts), shown=progress), path, options, prune=prune):
        pass
    return len(PassageStore.open(path, engine.fingerprint))


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"Expected a str at index {index}, got {type(text).__name__}.", index)
        yield text


def _counted(texts: Iterable[str], *, shown: bool) -> Iterable[str]:
    """Return the same texts, counted by a bar where tqdm is installed and a terminal watches."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return texts
    bar: Iterable[str] = tqdm(texts, desc="precompute", unit=" texts", disable=None if shown else True)
    return bar
