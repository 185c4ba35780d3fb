"""Runs the checklist: eight lines, each ok, failed, or not to be told, with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semantic_ranker.errors import InvalidInputError, SemanticRankerError

if TYPE_CHECKING:
    from semantic_ranker.collections import Collection
    from semantic_ranker.registry import ModelEntry, ModelRegistry

State = Literal["ok", "failed", "cannot tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the checklist.

    Attributes:
        name: What is checked.
        state: ``ok``, ``failed`` or ``cannot tell``.
        found: What was found, with its figures.
        advice: What to do, empty when ok.
    """

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a model must reach.

    Attributes:
        pairs: Training pairs.
        latency_ms: The 95th percentile of reranking ``candidates`` texts.
        candidates: Texts a query, for latency and speed.
        depth: Candidates a query that BM25 gives for the quality.

    Raises:
        InvalidInputError: A value is not above 0.
    """

    pairs: int = 1_000
    latency_ms: float = 200.0
    candidates: int = 20
    depth: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InvalidInputError(f"Expected {name} to be a number above 0, got {value!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """What `check_production` found.

    Attributes:
        model: Reference of the model.
        path: Its folder.
        lines: One entry a line.
    """

    model: str
    path: str
    lines: tuple[Line, ...]

    def __getitem__(self, name: str) -> Line:
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(name)

    @property
    def state(self) -> State:
        """``failed`` if a line failed, else ``cannot tell`` if one could not be told, else ``ok``."""
        states = {line.state for line in self.lines}
        return "failed" if "failed" in states else "cannot tell" if "cannot tell" in states else "ok"

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {"state": self.state, **asdict(self)}


def check_production(
    model: str,
    *,
    registry: ModelRegistry | None = None,
    judged: Collection | None = None,
    feedback: Path | None = None,
    previous: str | None = None,
    needs: Needs | None = None,
    progress: Callable[[str], None] | None = None,
) -> Checklist:
    """Verify by running that a reranker is ready for users.

    Args:
        model: A folder, or a name of the registry.
        registry: Where names and earlier versions are looked up; None takes the default one.
        judged: Judged queries of the documents that it is to rank.
        feedback: The feedback log that it will write.
        previous: The version to go back to: folder or name; None takes the highest earlier version of the registry.
        needs: What it must reach.
        progress: Told the name of each line before it is checked; lines take seconds.

    Raises:
        InvalidInputError: There is no such model, it is damaged, or it is no reranker.
    """
    from semantic_ranker.production import lines
    from semantic_ranker.registry import ModelRegistry

    registry = registry or ModelRegistry()
    entry = registry.get(model)
    if entry.kind != "reranker":
        raise InvalidInputError(
            f"Expected a reranker, got {entry.reference!r}, which is a model of kind {entry.kind!r}."
        )
    needs = needs or Needs()
    checks: dict[str, Callable[[], Line]] = {
        lines.TRAINING: lambda: lines.training_size(entry, needs),
        lines.QUALITY: lambda: lines.quality(entry, judged, needs),
        lines.EXPORT: lambda: lines.optimised_export(entry, judged, needs),
        lines.LATENCY: lambda: lines.latency(entry, judged, needs),
        lines.FALLBACK: lambda: lines.fallback(entry),
        lines.MONITORING: lambda: lines.monitoring(feedback),
        lines.DOCUMENTATION: lambda: lines.documentation(entry),
        lines.ROLLBACK: lambda: lines.rollback(entry, _earlier(registry, entry, previous)),
    }
    found = []
    for name, check in checks.items():
        if progress is not None:
            progress(name)
        found.append(_guarded(name, check))
    return Checklist(model=entry.reference, path=str(entry.path), lines=tuple(found))


def _guarded(name: str, check: Callable[[], Line]) -> Line:
    try:
        return check()
    except SemanticRankerError as error:
        return Line(name=name, state="failed", found=str(error), advice="Correct this, then run the checklist again.")
    except Exception as error:  # one line that breaks must not hide the others
        found = f"{type(error).__name__}: {error}"
        return Line(name=name, state="failed", found=found, advice="Correct this, then run the checklist again.")


def _earlier(registry: ModelRegistry, entry: ModelEntry, previous: str | None) -> ModelEntry | None:
    from semantic_ranker.registry.entries import version_key

    if previous is not None:
        return registry.get(previous)
    same = [other for other in registry.entries(kind=entry.kind) if other.name == entry.name and not other.problem]
    earlier = [other for other in same if version_key(other.version) < version_key(entry.version)]
    return earlier[-1] if earlier else None
