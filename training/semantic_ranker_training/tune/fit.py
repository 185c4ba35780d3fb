"""The one step that learns: groups in, trained weights out. Knows nothing of folders of documents or of reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.evaluation import RerankTask
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.options import GIVEN

Progress = Callable[[str], None]
"""Is told in words what happens; a line of its own each time."""

METRIC = "nDCG@10"
# On three folders with 80 to 150 steps a pass a second and a third pass gained nothing that can be told.
_MOST_PASSES, _ENOUGH_STEPS = 3.0, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How the step learns.

    Attributes:
        epochs: Passes over the groups, at most; the budget may allow fewer. None for one, see `passes`.
        batch: Queries a step. For models that encode each side alone every text of a step is ranked for every query.
        hard: Mined negatives a query in a step, where they are encoded for it.
        own_negatives: Sources of groups whose negatives are encoded for them, as are those that a teacher scored. For
            all others the answers beside theirs do, among which one is a mined negative where that can be had.
        passage_tokens: Tokens of a passage.
        learning_rate: Of the encoder and the projection.
        head_learning_rate: Of the rest of the head.
        general: Share of a step's queries that are general pairs.
        keep: Weight of the divergence from the base's ranking of the general pairs.
        teach: Weight of the divergence from the teacher's scores, where groups have them.
        evaluations: How often an epoch the validation queries are ranked.
        patience: Evaluations without a better one after which it ends.
        mixes: Shares of the new weights that are tried at the end, the rest being the base's; the smallest is taken
            that no greater one is surely better than on the validation queries. Of a base that does not rank none are.
        encoder: Whether the encoder learns, or the head alone.
        language: Snowball stemmer, of which words the head takes as one.
        seed: Of all random choices.
    """

    epochs: float | None = None
    batch: int = 32
    hard: int = 1
    own_negatives: tuple[str, ...] = GIVEN
    passage_tokens: int = 160
    learning_rate: float = 5e-5
    head_learning_rate: float = 1e-3
    general: float = 0.25
    keep: float = 1.0
    teach: float = 1.0
    evaluations: int = 1
    patience: int = 2
    mixes: tuple[float, ...] = (0.5, 0.75, 1.0)
    encoder: bool = True
    language: str = "english"
    seed: int = 13

    def passes(self, groups: int, ranks: bool) -> float:
        """Return how many passes to make: one, more where they are short, three from a base that does not rank.

        Args:
            groups: To learn from.
            ranks: Whether the base is a reranker already.
        """
        if self.epochs is not None:
            return self.epochs
        steps = groups / (self.batch * (1 - self.general))
        return min(_MOST_PASSES, max(1.0, _ENOUGH_STEPS / steps)) if ranks else _MOST_PASSES

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What was learnt.

    Attributes:
        folder: Model folder with weights and tokenizer, to be exported.
        before: nDCG@10 of the validation queries before anything is learnt; None where the base reads pairs and is no
            reranker yet.
        after: The same of what is in the folder.
        steps: Optimiser steps done.
        taken: Step of which the weights were taken; 0 where that is not known.
        planned: Steps that were planned.
        seconds: Of learning, killed runs included.
        stopped: Why it ended: ``done``, ``budget`` or ``no better``.
        mix: Share of the new weights in the result; 0 where nothing that was learnt did better than ``before``.
        history: One entry a validation: step, loss, nDCG@10.
        groups: Groups learnt from.
    """

    folder: Path
    before: float | None
    after: float
    steps: int
    planned: int
    seconds: float
    stopped: str
    mix: float = 1.0
    history: tuple[dict[str, float], ...] = field(default=())
    groups: int = 0
    taken: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types, without the folder."""
        content = asdict(self)
        del content["folder"]
        found: dict[str, Any] = json.loads(json.dumps(content))
        return found


def fit(
    base: Base,
    groups: Sequence[Group],
    validation: RerankTask,
    general: Sequence[Group],
    out: Path,
    *,
    settings: FitSettings,
    budget_s: float,
    progress: Progress,
) -> FitReport:
    """Train a reranker on groups; called again with the same arguments it continues a killed run.

    Args:
        base: What to start from.
        groups: Queries with a relevant text and mined negatives, hardest first; perhaps a teacher's scores.
        validation: Queries that are watched while learning, with their candidates.
        general: Groups of other things, without negatives, so that nothing is unlearnt.
        out: Folder of the step: checkpoints, and ``model`` in the end.
        settings: How.
        budget_s: Seconds that this call may take; what is learnt by then counts.
        progress: Is told how it goes.

    Raises:
        InvalidInputError: There are too few groups to learn from.
        NonFiniteScoreError: The loss became NaN or infinite.
        StorageError: The disk is full.
    """
    if len(groups) < 2:
        raise InvalidInputError(f"Expected two or more queries to learn from, got {len(groups)}.")
    if base.becomes == "interaction":
        from semantic_ranker_training.tune.fit_interaction import fit_interaction

        return fit_interaction(base, groups, validation, general, out, settings, budget_s, progress)
    from semantic_ranker_training.tune.fit_pairs import fit_pairs

    return fit_pairs(base, groups, validation, general, out, settings, budget_s, progress)
