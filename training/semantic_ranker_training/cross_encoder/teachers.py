"""Scores of one teacher or several for every text of every group, kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data import Group, read_groups, write_groups
from semantic_ranker_training.hard_negatives.teacher import score_lists

logger = logging.getLogger(__name__)
_QUERIES_AT_ONCE = 32


def taught(groups: Sequence[Group], teachers: Sequence[Any], kept: Path) -> list[Group]:
    """Return the groups with the teachers' scores.

    One teacher gives its logits as they are. Of several, each one's scores are made z-scores over all texts first, so
    that none decides by its scale, and then averaged.

    Args:
        groups: What is scored.
        teachers: Paths that `semantic_ranker.CrossEncoder` opens, paths of scored groups (``.jsonl``), or objects with
            ``score_many`` or ``predict``.
        kept: JSON Lines file of the scored groups; if it is there it is read instead.

    Raises:
        InvalidInputError: A file of scores lacks one of the texts.
    """
    if kept.exists():
        return list(read_groups(kept))
    columns = [_scores(teacher, groups) for teacher in teachers]
    if len(columns) == 1:
        means = columns[0]
    else:
        flat = [np.concatenate(column) for column in columns]
        means = [
            np.mean(
                [(of[row] - all_.mean()) / (all_.std() or 1.0) for of, all_ in zip(columns, flat, strict=True)], axis=0
            )
            for row in range(len(groups))
        ]
    scored = [replace(group, scores=tuple(map(float, of))) for group, of in zip(groups, means, strict=True)]
    write_groups(kept, scored, form="labelled")
    return scored


def _scores(teacher: Any, groups: Sequence[Group]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    if isinstance(teacher, (str, Path)) and str(teacher).removesuffix(".gz").endswith((".jsonl", ".json")):
        return _of_file(Path(teacher), groups)
    found = []
    with ExitStack() as stack:
        model = stack.enter_context(CrossEncoder(str(teacher))) if isinstance(teacher, (str, Path)) else teacher
        for start in tqdm(range(0, len(groups), _QUERIES_AT_ONCE), desc="teacher", disable=None):
            part = groups[start : start + _QUERIES_AT_ONCE]
            scores = score_lists(model, [group.query for group in part], [list(group.texts) for group in part])
            found += [np.asarray(of, dtype=np.float64) for of in scores]
    return found


def _of_file(path: Path, groups: Sequence[Group]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    known = {
        (group.query, text): score
        for group in read_groups(path)
        for text, score in zip(group.texts, group.scores or (), strict=False)
    }
    found = []
    for index, group in enumerate(groups):
        missing = [text for text in group.texts if (group.query, text) not in known]
        if missing:
            raise InvalidInputError(
                f"Expected a teacher's score of every text in {path.name}, got none for {len(missing)} of "
                f"{len(group.texts)} texts of query {index}.",
                index,
            )
        found.append(np.array([known[group.query, text] for text in group.texts]))
    return found
