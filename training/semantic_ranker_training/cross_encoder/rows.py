"""From groups to the rows of a whole training run, in their order: sampling, fresh negatives, curriculum."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.cross_encoder.losses import LOSSES
from semantic_ranker_training.data import Group

_WORD = re.compile(r"\w{3,}")


def check_groups(groups: Sequence[Group], loss_function: str) -> None:
    """Refuse data that a loss cannot learn from.

    Raises:
        InvalidInputError: There are none, one lacks a positive, no text is irrelevant and none can be borrowed, or
            a teacher's score is missing; ``.index`` says where.
    """
    if not groups:
        raise InvalidInputError("Expected queries to learn from, got an empty data set.")
    for index, group in enumerate(groups):
        if not group.positives:
            raise InvalidInputError(f"Expected a relevant text for every query, got none for query {index}.", index)
        if LOSSES[loss_function].teacher and group.scores is None:
            raise InvalidInputError(
                f"Expected a teacher's scores for {loss_function!r}, got none for query {index}: give teacher=, or "
                "groups with scores.",
                index,
            )
        if loss_function == "bce" and max(group.labels) > 1:
            raise InvalidInputError(
                f"Expected labels from 0 to 1 for 'bce', got {max(group.labels)!r} in query {index}: divide them by "
                "the highest grade, or take a listwise loss.",
                index,
            )
    if not any(group.negatives for group in groups):
        raise InvalidInputError(
            "Expected relevant and irrelevant texts, got relevant ones only (one class): mine negatives first, or "
            "give more than one query."
        )


def with_borrowed(groups: Sequence[Group], size: int, seed: int) -> list[Group]:
    """Fill groups that have too few texts with random texts of other groups, labelled 0.

    Args:
        groups: The groups; those that a teacher already scored are left alone.
        size: Texts a group should have.
        seed: Of the choice.

    Returns:
        Groups in the same order. A text that any group of the same query calls relevant is never borrowed.
    """
    texts = list(dict.fromkeys(text for group in groups for text in group.texts))
    relevant: dict[str, set[str]] = {}
    for group in groups:
        relevant.setdefault(group.query, set()).update(group.positives)
    filled = []
    for place, group in enumerate(groups):
        missing = size - len(group.texts)
        if missing <= 0 or group.scores is not None:
            filled.append(group)
            continue
        own = {*group.texts, *relevant[group.query]}
        order = np.random.default_rng([seed, place]).permutation(len(texts))[: missing + len(own)]
        added = [texts[row] for row in order if texts[row] not in own][:missing]
        filled.append(
            replace(
                group,
                texts=group.texts + tuple(added),
                labels=group.labels + (0.0,) * len(added),
                provenance=None
                if group.provenance is None
                else group.provenance + ({"retriever": "random"},) * len(added),
            )
        )
    return filled


@dataclass(frozen=True, slots=True)
class Schedule:
    """All rows of a run, in the order in which they are trained on.

    Every epoch draws an order of the queries and the texts of each anew, from the seed, the epoch and the query
    alone: a resumed run, or another process, sees the same.

    Attributes:
        groups: What to learn from.
        config: The settings.
    """

    groups: Sequence[Group]
    config: TrainingConfig

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give the rows in the form of the loss."""
        form, count = LOSSES[self.config.loss_function].form, len(self.groups)
        for epoch in range(self.config.num_epochs):
            order = np.random.default_rng([self.config.seed, epoch]).permutation(count)
            drawn = (
                self._drawn(int(row), epoch, (epoch * count + place) / max(1, self.config.num_epochs * count - 1))
                for place, row in enumerate(order)
            )
            yield from self._pair_rows(list(drawn), epoch) if form == "pairs" else map(self._row, drawn)

    def pos_weight(self) -> float:
        """Return the negatives a positive in the rows."""
        picked = [self._drawn(row, 0, 1.0) for row in range(len(self.groups))]
        positives = sum(len(group.positives) for group in picked)
        return max(1.0, (sum(len(group.texts) for group in picked) - positives) / positives)

    def _drawn(self, row: int, epoch: int, progress: float) -> Group:
        """Return one group's texts for one epoch; ``progress`` is the share, 0 to 1, of the run that is done."""
        group, config = self.groups[row], self.config
        rng = np.random.default_rng([config.seed, epoch, row])
        positive = [place for place, label in enumerate(group.labels) if label > 0]
        negative = [place for place, label in enumerate(group.labels) if label <= 0]
        most = max(1, config.group_size // 2) if LOSSES[config.loss_function].many_positives else 1
        wanted = config.group_size - min(most, len(positive))
        if config.curriculum:
            negative = _easiest(group, negative, progress, wanted)
        kept = [*rng.permutation(positive)[:most], *rng.permutation(negative)[:wanted]]
        return _part(group, [int(place) for place in kept])

    def _pair_rows(self, groups: Sequence[Group], epoch: int) -> Iterator[dict[str, Any]]:
        scored = self.config.loss_function == "mse" and all(group.scores is not None for group in groups)
        pairs = [
            (group.query, text, value)
            for group in groups
            for text, value in zip(group.texts, (group.scores if scored else None) or group.labels, strict=True)
        ]
        # A query's pairs apart: a batch of one query's pairs would be one correlated sample.
        for place in np.random.default_rng([self.config.seed, epoch, 1]).permutation(len(pairs)):
            query, text, value = pairs[place]
            yield {"query": query, "document": text, "label": value}

    def _row(self, group: Group) -> dict[str, Any]:
        spec = LOSSES[self.config.loss_function]
        targets = group.scores if spec.teacher else group.labels
        if spec.form == "columns":
            row: dict[str, Any] = {"query": group.query, "positive": group.texts[0]}
            row |= {f"negative_{place}": text for place, text in enumerate(group.texts[1:])}
            return row | ({"score": list(targets or ())} if spec.teacher else {})
        scale = 1 / self.config.teacher_temperature if spec.teacher else 1.0
        return {
            "query": group.query,
            "documents": list(group.texts),
            "labels": [scale * value for value in targets or ()],
        }


def even_groups(groups: Sequence[Group], config: TrainingConfig) -> list[Group]:
    """Return the groups that have enough negatives for losses that want the same number in every row.

    Raises:
        InvalidInputError: None has any.
    """
    if LOSSES[config.loss_function].form != "columns":
        return list(groups)
    kept = [group for group in groups if len(group.negatives) >= config.group_size - 1]
    if not kept:
        most = max(len(group.negatives) for group in groups)
        raise InvalidInputError(
            f"Expected {config.group_size - 1} negatives a query for {config.loss_function!r} with group_size "
            f"{config.group_size}, got {most} at most: lower group_size or mine more negatives."
        )
    return kept


def _easiest(group: Group, negative: list[int], progress: float, wanted: int) -> list[int]:
    """Return the easiest negatives: the more, the further the run is, at least as many as are wanted."""
    words = set(_WORD.findall(group.query.lower()))

    def difficulty(place: int) -> float:
        if group.scores is not None:
            return group.scores[place]
        return len(words & set(_WORD.findall(group.texts[place].lower()))) / max(1, len(words))

    allowed = max(wanted, math.ceil(progress * len(negative)))
    return sorted(negative, key=lambda place: (difficulty(place), place))[:allowed]


def _part(group: Group, places: Sequence[int]) -> Group:
    return Group(
        group.query,
        tuple(group.texts[place] for place in places),
        tuple(group.labels[place] for place in places),
        None if group.scores is None else tuple(group.scores[place] for place in places),
        group.source,
    )
