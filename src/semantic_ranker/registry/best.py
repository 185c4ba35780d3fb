"""Which of several models is the best, by the figures of their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.registry.entries import ModelEntry

_MACRO = "macro"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One model with its figure in a ranking of models.

    Attributes:
        entry: The model.
        value: Mean of the metric over the collections compared.
        low: Lower end of its 95 % interval where one collection was compared and it is known, or None.
        high: Upper end, or None.
    """

    entry: ModelEntry
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Which model is the best by what was measured.

    Attributes:
        metric: Canonical name.
        collections: What the models were compared on; all of them were measured on all of these.
        ranking: The models, best first.
        unmeasured: References of usable models without such a figure; nobody knows how good they are.
    """

    metric: str
    collections: tuple[str, ...]
    ranking: tuple[Ranked, ...]
    unmeasured: tuple[str, ...]

    @property
    def entry(self) -> ModelEntry:
        """The best."""
        return self.ranking[0].entry

    @property
    def is_clear(self) -> bool | None:
        """Whether the second's figure lies below the best's interval; None when there is no second or no interval."""
        if len(self.ranking) < 2 or self.ranking[0].low is None:
            return None
        return self.ranking[1].value < self.ranking[0].low

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        rows = [
            {
                "reference": of.entry.reference,
                "path": str(of.entry.path),
                "value": of.value,
                "low": of.low,
                "high": of.high,
            }
            for of in self.ranking
        ]
        return {
            "metric": self.metric,
            "collections": list(self.collections),
            "ranking": rows,
            "unmeasured": list(self.unmeasured),
            "is_clear": self.is_clear,
        }


def best_of(entries: Sequence[ModelEntry], metric: str, collection: str | None, kind: str) -> Best:
    """Return what `ModelRegistry.best` promises, of all models of a kind."""
    from semantic_ranker.evaluation.names import canonical_metric

    name = canonical_metric(metric)
    usable = [entry for entry in entries if not entry.problem]
    measured = {entry.path: _values(entry, name) for entry in usable}
    have = [entry for entry in usable if (collection in measured[entry.path] if collection else measured[entry.path])]
    if not have:
        wanted = f"{name} on {collection!r}" if collection else name
        raise InvalidInputError(f"Expected a {kind} with {wanted} in its manifest, found none{_known(usable)}")
    shared = [collection] if collection else _shared([measured[entry.path] for entry in have], have, name)
    return Best(
        metric=name,
        collections=tuple(shared),
        ranking=tuple(sorted((_ranked(entry, name, shared) for entry in have), key=lambda row: -row.value)),
        unmeasured=tuple(entry.reference for entry in usable if entry not in have),
    )


def _values(entry: ModelEntry, metric: str) -> dict[str, float]:
    return {figure.collection: figure.value for figure in entry.figures if figure.metric == metric}


def _shared(values: list[dict[str, float]], entries: list[ModelEntry], metric: str) -> list[str]:
    # A macro mean is over each model's own collections: never a common ground.
    shared = [name for name in values[0] if name != _MACRO and all(name in of for of in values)]
    if not shared:
        each = "; ".join(f"{entry.reference}: {', '.join(of)}" for entry, of in zip(entries, values, strict=True))
        raise InvalidInputError(
            f"Expected {metric} of all models on one collection at least, found none that they share ({each}): "
            "measure them on the same data, or compare two with data."
        )
    return shared


def _ranked(entry: ModelEntry, metric: str, collections: list[str]) -> Ranked:
    figures = [figure for name in collections if (figure := entry.figure(name, metric)) is not None]
    alone = figures[0] if len(figures) == 1 else None
    return Ranked(
        entry=entry,
        value=fmean(figure.value for figure in figures),
        low=alone.low if alone else None,
        high=alone.high if alone else None,
    )


def _known(entries: list[ModelEntry]) -> str:
    known = sorted({f"{figure.metric} on {figure.collection}" for entry in entries for figure in entry.figures})
    return f"; there are: {', '.join(known)}." if known else "; no manifest holds a figure."
