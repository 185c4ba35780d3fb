"""The order in which pairs are learnt: whole batches without a text twice, the same in every run of a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data import Group


@dataclass(frozen=True, slots=True)
class Row:
    """A query with a relevant passage, and one that is not where every row has one."""

    query: str
    positive: str
    negative: str | None = None


def rows_of(groups: Sequence[Group]) -> list[Row]:
    """Return a row for each relevant text of each query; negatives only where every query has one.

    Raises:
        InvalidInputError: There are fewer than 2 pairs.
    """
    negatives = [group.negatives for group in groups]
    everywhere = all(negatives)
    rows = [
        Row(group.query, text, others[place % len(others)] if everywhere else None)
        for group, others in zip(groups, negatives, strict=True)
        for place, text in enumerate(group.positives)
    ]
    if len(rows) < 2:
        raise InvalidInputError(f"Expected 2 pairs of query and positive or more, got {len(rows)}.")
    return rows


def epochs(rows: Sequence[Row], *, count: int, batch_size: int, seed: int) -> tuple[list[Row], int]:
    """Return the rows of all epochs, one after the other, in whole batches, and the size of a batch.

    No text stands twice in a batch: a passage that is a negative of its own query would teach nonsense. What fills no
    batch at the end of an epoch is left out of it; the next epoch has another order.

    Args:
        rows: The pairs.
        count: Epochs.
        batch_size: Rows of a batch; fewer where there are not so many that differ.
        seed: Of the order.
    """
    distinct = len(_first_batch(list(rows), len(rows))[0])
    size = min(batch_size, distinct)
    if size < 2:
        raise InvalidInputError(f"Expected pairs of two queries and two passages or more, got {distinct} that differ.")
    found: list[Row] = []
    for epoch in range(count):
        waiting = list(rows)
        random.Random(f"{seed}/{epoch}").shuffle(waiting)
        while len(waiting) >= size:
            batch, waiting = _first_batch(waiting, size)
            if len(batch) < size:
                break
            found += batch
    return found, size


def _first_batch(waiting: list[Row], size: int) -> tuple[list[Row], list[Row]]:
    """Return the first rows that share no text, up to ``size``, and the others."""
    batch: list[Row] = []
    rest: list[Row] = []
    seen: set[str] = set()
    for place, row in enumerate(waiting):
        if len(batch) == size:
            return batch, rest + waiting[place:]
        texts = {row.query, row.positive, *([row.negative] if row.negative else [])}
        if seen & texts:
            rest.append(row)
        else:
            batch.append(row)
            seen |= texts
    return batch, rest
