"""Splits by query and document together, and says what is shared between parts."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.duplicates import near_duplicate_clusters, normalized
from semantic_ranker_training.data.records import Group

NAMES = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """What parts of a split share.

    Attributes:
        sizes: Groups of each part.
        queries: Queries in more than one part, by the pair of parts; case and marks do not count.
        positives: Positives in more than one part.
        texts: Texts, relevant or not, in more than one part.
        near_duplicates: Positives of the later part that nearly repeat one of the earlier part.
        components: Groups that share a query or a positive with each other, as sizes, largest first, ten at most.
        dropped_negatives: Negatives taken out because another part holds their text.
    """

    sizes: tuple[int, ...]
    queries: dict[str, int] = field(default_factory=dict)
    positives: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)
    near_duplicates: dict[str, int] = field(default_factory=dict)
    components: tuple[int, ...] = ()
    dropped_negatives: int = 0

    @property
    def clean(self) -> bool:
        """Whether the parts share nothing."""
        return not any(sum(of.values()) for of in (self.queries, self.positives, self.texts, self.near_duplicates))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "sizes": list(self.sizes),
            "clean": self.clean,
            "shared_queries": self.queries,
            "shared_positives": self.positives,
            "shared_texts": self.texts,
            "near_duplicate_positives": self.near_duplicates,
            "largest_components": list(self.components),
            "dropped_negatives": self.dropped_negatives,
        }

    def __str__(self) -> str:
        shared = ", ".join(
            f"{sum(of.values())} {name}"
            for name, of in (
                ("queries", self.queries),
                ("positives", self.positives),
                ("texts", self.texts),
                ("near duplicates", self.near_duplicates),
            )
        )
        return f"{' + '.join(map(str, self.sizes))} groups; shared between parts: {shared}"


@dataclass(frozen=True, slots=True)
class Split:
    """Parts that share no query and no text, and the proof.

    Attributes:
        parts: The groups of each part, in input order.
        report: What they share.
    """

    parts: tuple[list[Group], ...]
    report: LeakageReport


def split_groups(
    groups: Sequence[Group],
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    seed: int = 13,
    near_duplicate: float | None = 0.8,
    together: Callable[[Group], Hashable] | None = None,
) -> Split:
    """Split groups so that no query, no positive and no near duplicate of one is in two parts.

    Groups that share a query or a positive stay together. A negative that is a positive of another part is taken out,
    and so is one that a later part holds too. The same input and seed give the same split.

    Args:
        groups: What is split.
        ratios: Share of each part; they are scaled to sum to 1.
        seed: Of the choice.
        near_duplicate: Overlap from which two positives count as one document; None compares words only.
        together: Gives a key, such as the document a passage comes from: groups with one key stay together.

    Raises:
        InvalidInputError: A ratio is not above 0, or there are too few independent groups for the parts.
    """
    if not ratios or any(not ratio > 0 or not math.isfinite(ratio) for ratio in ratios):
        raise InvalidInputError(f"Expected ratios above 0, such as 0.8 0.1 0.1, got {list(ratios)}.")
    components = _components(groups, near_duplicate, together)
    if len(components) < len(ratios):
        raise InvalidInputError(
            f"Expected at least {len(ratios)} groups without a common query or text to split, got {len(components)} "
            f"(the largest has {max(map(len, components), default=0)} of {len(groups)} groups)."
        )
    rows = _assign(components, [ratio / sum(ratios) for ratio in ratios], seed)
    parts, dropped = _without_shared_negatives([[groups[row] for row in of] for of in rows])
    report = leakage(parts, near_duplicate=near_duplicate)
    largest = tuple(sorted(map(len, components), reverse=True)[:10])
    return Split(tuple(parts), replace(report, components=largest, dropped_negatives=dropped))


def leakage(
    parts: Sequence[Sequence[Group]], *, names: Sequence[str] = NAMES, near_duplicate: float | None = 0.8
) -> LeakageReport:
    """Count what the parts of any split share, also one that was made elsewhere.

    Args:
        parts: The groups of each part.
        names: Names of the parts in the report.
        near_duplicate: Overlap that counts as a near duplicate; None leaves them uncounted.
    """
    names = [*names, *map(str, range(len(names), len(parts)))][: len(parts)]
    queries = [{normalized(group.query) for group in part} for part in parts]
    positives = [{normalized(text) for group in part for text in group.positives} for part in parts]
    texts = [{normalized(text) for group in part for text in group.texts} for part in parts]
    return LeakageReport(
        sizes=tuple(map(len, parts)),
        queries=_shared(queries, names),
        positives=_shared(positives, names),
        texts=_shared(texts, names),
        near_duplicates=_near(parts, names, near_duplicate) if near_duplicate is not None else {},
    )


def _components(
    groups: Sequence[Group], near_duplicate: float | None, together: Callable[[Group], Hashable] | None
) -> list[list[int]]:
    parents = list(range(len(groups)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    first: dict[Hashable, int] = {}
    for row, keys in enumerate(_keys(groups, near_duplicate)):
        for key in [*keys, *([("together", together(groups[row]))] if together else [])]:
            other = first.setdefault(key, row)
            low, high = sorted((root(other), root(row)))
            parents[high] = low
    found: dict[int, list[int]] = {}
    for row in range(len(groups)):
        found.setdefault(root(row), []).append(row)
    return list(found.values())


def _keys(groups: Sequence[Group], near_duplicate: float | None) -> Iterable[list[Hashable]]:
    positives = list(dict.fromkeys(text for group in groups for text in group.positives))
    cluster: dict[str, int] = {}
    if near_duplicate is not None:
        cluster = dict(zip(positives, near_duplicate_clusters(positives, near_duplicate).tolist(), strict=True))
    for group in groups:
        keys: list[Hashable] = [("query", normalized(group.query))]
        for text in group.positives:
            keys.append(("text", normalized(text)))
            if cluster:
                keys.append(("cluster", cluster[text]))
        yield keys


def _assign(components: list[list[int]], shares: list[float], seed: int) -> list[list[int]]:
    """Give each component, largest first, to the part that lacks most; every part gets one."""
    order = list(components)
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    total = sum(map(len, order))
    rows: list[list[int]] = [[] for _ in shares]
    for place, component in enumerate(order):
        empty = [part for part, of in enumerate(rows) if not of]
        # The last components go to parts that would stay empty.
        choice = empty if len(order) - place <= len(empty) else range(len(shares))
        best = max(choice, key=lambda part: shares[part] * total - len(rows[part]))
        rows[best] += component
    return [sorted(of) for of in rows]


def _without_shared_negatives(parts: list[list[Group]]) -> tuple[list[list[Group]], int]:
    positives = [{normalized(text) for group in part for text in group.positives} for part in parts]
    dropped = 0
    later: set[str] = set()
    cleaned: list[list[Group]] = []
    for number in reversed(range(len(parts))):
        banned = later.union(*(of for other, of in enumerate(positives) if other != number))
        kept = []
        for group in parts[number]:
            places = [
                place
                for place, text in enumerate(group.texts)
                if group.labels[place] > 0 or not banned or normalized(text) not in banned
            ]
            dropped += len(group.texts) - len(places)
            kept.append(group if len(places) == len(group.texts) else _only(group, places))
        later |= {normalized(text) for group in kept for text in group.texts}
        cleaned.insert(0, kept)
    return cleaned, dropped


def _only(group: Group, places: list[int]) -> Group:
    return replace(
        group,
        texts=tuple(group.texts[place] for place in places),
        labels=tuple(group.labels[place] for place in places),
        scores=None if group.scores is None else tuple(group.scores[place] for place in places),
        provenance=None if group.provenance is None else tuple(group.provenance[place] for place in places),
    )


def _shared(sets: Sequence[set[str]], names: Sequence[str]) -> dict[str, int]:
    pairs = itertools.combinations(zip(names, sets, strict=True), 2)
    return {f"{first}/{second}": len(a & b) for (first, a), (second, b) in pairs}


def _near(parts: Sequence[Sequence[Group]], names: Sequence[str], threshold: float) -> dict[str, int]:
    of_part = [list(dict.fromkeys(text for group in part for text in group.positives)) for part in parts]
    clusters = near_duplicate_clusters([text for texts in of_part for text in texts], threshold).tolist()
    given = iter(clusters)
    sets = [{str(next(given)) for _ in texts} for texts in of_part]
    return _shared(sets, names)
