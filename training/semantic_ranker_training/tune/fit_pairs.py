"""Trains a [CLS] cross-encoder, or an encoder that becomes one, with `CrossEncoderTrainer`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from semantic_ranker.evaluation import RankerEvaluator, RerankTask
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.cross_encoder.base import base_of
from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.cross_encoder.evaluator import TrainedScorer
from semantic_ranker_training.cross_encoder.model import open_base
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.fit import METRIC, FitReport, FitSettings, Progress

_NEGATIVES = 3
_MOST_LENGTH = 256
_FOR_LEARNING = 0.6  # of the budget; the rest is for ranking the validation queries
_LEAST_QUERIES = 16


def fit_pairs(
    base: Base,
    groups: Sequence[Group],
    validation: RerankTask,
    general: Sequence[Group],
    out: Path,
    settings: FitSettings,
    budget_s: float,
    progress: Progress,
) -> FitReport:
    """Train; see `fit`."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    config = TrainingConfig(
        loss_function="listnet",
        num_epochs=1,
        batch_size=8,
        group_size=1 + _NEGATIVES,
        learning_rate=settings.learning_rate,
        max_length=min(_MOST_LENGTH, settings.passage_tokens + 64),
        early_stopping_patience=settings.patience,
        seed=settings.seed,
    )
    rows = [*groups, *_with_negatives(general, round(len(groups) * settings.general))]
    before, seconds = _before(base, rows, validation, config)
    room = max(_LEAST_QUERIES, int(_FOR_LEARNING * budget_s / seconds))
    kept = rows[:room] if len(rows) > room else rows
    wanted = max(1, int(settings.passes(len(groups), base.ranks)))
    epochs = max(1, min(wanted, room // max(1, len(kept))))
    progress(f"{epochs} passes over {len(kept)} of {len(rows)} queries, {seconds:.2f} s each")
    trainer = CrossEncoderTrainer(str(base.folder), config=config, num_epochs=epochs)
    result = trainer.train(kept, validation, output_dir=out / f"run-{len(kept)}-{epochs}")
    target = out / "model"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(result.model, target)
    scores = result.history.get(METRIC, [])
    return FitReport(
        folder=target,
        before=before if base.ranks else None,
        after=max(scores, default=0.0),
        steps=len(kept) * epochs // config.batch_size,
        planned=len(rows) * wanted // config.batch_size,
        seconds=time.monotonic() - started,
        stopped="done" if len(kept) == len(rows) and epochs == wanted else "budget",
        history=tuple({"step": float(place), METRIC: value} for place, value in enumerate(scores)),
        groups=len(groups),
    )


def _before(base: Base, rows: Sequence[Group], task: RerankTask, config: TrainingConfig) -> tuple[float, float]:
    """Return nDCG@10 of the base, and the seconds that a query costs in training."""
    model = open_base(base_of(str(base.folder)), config)
    report = RankerEvaluator(TrainedScorer(model)).evaluate(task, METRIC, resamples=100)
    sample = rows[: 2 * config.batch_size]
    pairs = [(group.query, text) for group in sample for text in group.texts[: config.group_size]]
    started = time.monotonic()
    with torch.inference_mode():
        model.predict(pairs, batch_size=16, show_progress_bar=False)
    # Backward costs twice what forward does.
    return report[METRIC].reranked, max(1e-3, 3.0 * (time.monotonic() - started) / len(sample))


def _with_negatives(general: Sequence[Group], count: int) -> list[Group]:
    found = []
    for place, group in enumerate(general[:count]):
        others = [general[(place + shift) % len(general)].positives[0] for shift in range(1, 1 + _NEGATIVES)]
        texts = tuple(dict.fromkeys([group.positives[0], *others]))
        found.append(Group(group.query, texts, (1.0, *(0.0,) * (len(texts) - 1)), source=group.source))
    return found
