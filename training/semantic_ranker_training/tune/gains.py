"""What each thing that the user gave was worth: learnt once more without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semantic_ranker_training.data.records import Group
from semantic_ranker_training.tune import finish, measure
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.data import Data
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.first_stage import FirstStage
from semantic_ranker_training.tune.fit import METRIC, FitReport
from semantic_ranker_training.tune.options import GIVEN, TuneOptions
from semantic_ranker_training.tune.work import WorkFolder

TEACHER = "teacher"


def ingredients(groups: Sequence[Group], options: TuneOptions) -> list[str]:
    """Return what was given and is learnt from."""
    used = [kind for kind in GIVEN if any(group.source == kind for group in groups)]
    return [*used, TEACHER] if options.teacher else used


def without(groups: Sequence[Group], kind: str) -> list[Group]:
    """Return the groups as they would be without one ingredient."""
    if kind == TEACHER:
        return [replace(group, scores=None) for group in groups]
    return [group for group in groups if group.source != kind]


def gain_of(
    kind: str, work: WorkFolder, base: Base, data: Data, embedder: KeptEmbedder, one: FitReport, other: FitReport
) -> dict[str, Any]:
    """Return the difference on the held-out questions, as JSON values.

    Args:
        kind: The ingredient.
        work: Where the figures are kept.
        base: What was tuned.
        data: The documents.
        embedder: Of the dense search.
        one: Learnt with it.
        other: Learnt without it.
    """
    task = data.task("held-out", data.tested, {key: of.text for key, of in data.corpus.passages.items()})

    def compare(_: Path) -> Any:
        search = FirstStage(task.corpus, embedder, data.language.stemmer).runs(task.queries, measure.SLOW_DEPTH)
        runs = {}
        for name, of in (("with", one), ("without", other)):
            with finish.scorer_of(of.folder, base.becomes) as scorer:
                runs[name] = measure.rerank(scorer, task, search["RRF"])
        found = measure.find(task, runs, "with").comparisons["without"][METRIC]
        return {
            "measured": True,
            "without": found.mean_a,
            "with": found.mean_b,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "p": found.p_value,
        }

    keys = [work.key("fit"), work.key(f"without-{kind}"), dict(task.queries)]
    return dict(work.stage(f"gain-{kind}", keys, compare))
