"""Runs sentence-transformers' trainer on pairs: arguments, logging of the loss's parts, collapse, checkpoints."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, TrainerCallback

from semantic_ranker.errors import CollapseError
from semantic_ranker_training.checkpoints import CHECKPOINTS, in_order, last_checkpoint, storage_errors
from semantic_ranker_training.cross_encoder.engine import FiniteLoss
from semantic_ranker_training.gaussian.evaluator import PRIMARY, RetrievalEvaluator
from semantic_ranker_training.gaussian.rows import epochs
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import SentenceTransformer

    from semantic_ranker_training.gaussian.config import GaussianConfig
    from semantic_ranker_training.gaussian.loss import IsotropicLoss
    from semantic_ranker_training.gaussian.rows import Row

logger = logging.getLogger(__name__)

_SHOWN = ("loss", "contrastive", "isotropy", "positive_distance", "embedding_std", f"eval_{PRIMARY}")
_SEEN_TWICE = 2


def run_trainer(
    model: SentenceTransformer,
    loss: IsotropicLoss,
    rows: Sequence[Row],
    config: GaussianConfig,
    folder: Path,
    *,
    evaluator: RetrievalEvaluator | None = None,
) -> list[dict[str, Any]]:
    """Train in place; continue from the last complete checkpoint below ``folder`` if there is one.

    Args:
        model: The model; at the end it holds the best weights by nDCG@10, or the last ones without an evaluator.
        loss: Of the model.
        rows: The pairs.
        config: The settings.
        folder: Of the run; checkpoints are kept in ``checkpoints`` below it.
        evaluator: Measures the model at each checkpoint.

    Returns:
        The log: dicts with ``step``, ``epoch`` and figures.

    Raises:
        CollapseError: The embeddings became all the same.
        NonFiniteScoreError: The loss became NaN or infinite.
        StorageError: A checkpoint could not be written; earlier ones are untouched.
    """
    laid, size = epochs(rows, count=config.num_epochs, batch_size=config.batch_size, seed=config.seed)
    last = last_checkpoint(folder / CHECKPOINTS)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(
            config, len(laid) // size, size, folder / CHECKPOINTS, evaluated=evaluator is not None, fresh=last is None
        ),
        train_dataset=Dataset.from_list([_columns(row) for row in laid]),
        loss=loss,
        evaluator=evaluator,
        callbacks=[_Figures(loss), FiniteLoss()],
    )
    trainer.remove_callback(PrinterCallback)
    with quiet_library(), storage_errors(folder / CHECKPOINTS):
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return [
        {**entry, "epoch": round(entry.get("epoch", 0) * config.num_epochs, 4)} for entry in trainer.state.log_history
    ]


def _columns(row: Row) -> dict[str, str]:
    found = {"query": row.query, "positive": row.positive}
    return found if row.negative is None else {**found, "negative": row.negative}


def _arguments(
    config: GaussianConfig, batches: int, size: int, folder: Path, *, evaluated: bool, fresh: bool
) -> SentenceTransformerTrainingArguments:
    steps = max(1, math.ceil(batches / config.gradient_accumulation_steps))
    an_epoch = max(1, steps // config.num_epochs)
    every = min(steps, an_epoch * config.save_interval)
    warmup = config.warmup_steps if config.warmup_steps is not None else math.ceil(config.warmup_ratio * steps)
    if warmup > steps:
        logger.warning(
            "warmup_steps is %d and the run has %d steps: the learning rate stays below its height", warmup, steps
        )
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the rows of all epochs lie one after the other
        per_device_train_batch_size=size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        learning_rate_mapping=_rates(config),
        warmup_steps=warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.mixed_precision == "bf16",
        fp16=config.mixed_precision == "fp16",
        batch_sampler=in_order,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=every if evaluated else None,
        eval_on_start=evaluated and fresh,  # what the untouched base reaches
        save_strategy="steps",
        save_steps=every,
        save_total_limit=None,
        load_best_model_at_end=evaluated,
        metric_for_best_model=f"eval_{PRIMARY}" if evaluated else None,
        greater_is_better=True if evaluated else None,
        logging_steps=min(config.logging_steps, steps),
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not torch.cuda.is_available() or config.device == "cpu",
        ddp_find_unused_parameters=False,
        seed=config.seed,
        data_seed=config.seed,
    )


def _rates(config: GaussianConfig) -> dict[str, float]:
    rates = {r"auto_model|\.0\.": config.base_learning_rate, r"linear\.": config.projection_learning_rate}
    return {pattern: rate for pattern, rate in rates.items() if rate is not None}


class _Figures(TrainerCallback):  # type: ignore[misc]  # transformers is not analysed
    """Ties the slices to the step, so that a continued run draws the same; logs and watches the loss's figures."""

    def __init__(self, loss: IsotropicLoss) -> None:
        self._loss = loss
        self._collapsed = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._loss.step = state.global_step * args.gradient_accumulation_steps

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs is None or "loss" not in logs:
            return
        logs |= self._loss.figures
        state.log_history[-1].update(self._loss.figures)
        shown = [f"{name} {logs[name]:.4g}" for name in _SHOWN if name in logs]
        logger.info("step %d of %d: %s", state.global_step, state.max_steps, ", ".join(shown))
        if found := self._loss.collapse():
            self._collapsed += 1
            logger.warning("step %d: %s", state.global_step, found)
            if self._collapsed >= _SEEN_TWICE:
                raise CollapseError(f"Stopped at step {state.global_step}: {found}.")
        else:
            self._collapsed = 0
