"""Runs sentence-transformers' trainer on prepared rows: arguments, callbacks, checkpoints that can be trusted."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer as LibraryTrainer
from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from semantic_ranker.errors import InvalidInputError, NonFiniteScoreError
from semantic_ranker_training.checkpoints import CHECKPOINTS, in_order, last_checkpoint, storage_errors
from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.cross_encoder.evaluator import PRIMARY, RankingEvaluator
from semantic_ranker_training.cross_encoder.losses import build_loss
from semantic_ranker_training.cross_encoder.model import head_names
from semantic_ranker_training.cross_encoder.rows import Schedule
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

logger = logging.getLogger(__name__)

_SHOWN = ("loss", "learning_rate", "eval_nDCG@10", "eval_RR@10")


def run_trainer(
    model: CrossEncoder, schedule: Schedule, folder: Path, *, evaluator: RankingEvaluator | None = None
) -> list[dict[str, Any]]:
    """Train in place; continue from the last complete checkpoint below ``folder`` if there is one.

    Args:
        model: The model; at the end it holds the best weights by nDCG@10, or the last ones without an evaluator.
        schedule: What is trained on, in which order.
        folder: Of the run; checkpoints are kept in ``checkpoints`` below it.
        evaluator: Measures the model as it learns.

    Returns:
        The log: dicts with ``step``, ``epoch`` and figures.

    Raises:
        NonFiniteScoreError: The loss became NaN or infinite.
        StorageError: A checkpoint could not be written; earlier ones are untouched.
    """
    config, rows = schedule.config, Dataset.from_list(list(schedule.rows()))
    last = last_checkpoint(folder / CHECKPOINTS)
    if config.gradient_checkpointing:
        _checkpoint_activations(model.model)
    trainer = LibraryTrainer(
        model=model,
        args=_arguments(
            config,
            len(rows),
            folder / CHECKPOINTS,
            evaluated=evaluator is not None,
            fresh=last is None,
            head=[] if config.head_learning_rate is None else head_names(model.model),
        ),
        train_dataset=rows,
        loss=build_loss(model, config, pos_weight=schedule.pos_weight()),
        evaluator=evaluator,
        callbacks=_callbacks(config, evaluator),
    )
    trainer.remove_callback(PrinterCallback)
    with quiet_library(), storage_errors(folder / CHECKPOINTS):
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    scale = config.num_epochs
    return [{**entry, "epoch": round(entry["epoch"] * scale, 4)} for entry in trainer.state.log_history]


def _arguments(
    config: TrainingConfig, rows: int, folder: Path, *, evaluated: bool, fresh: bool, head: list[str]
) -> CrossEncoderTrainingArguments:
    # Known from the launcher before the process group is.
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batches = math.ceil(rows / (config.batch_size * processes))
    steps = math.ceil(batches / config.gradient_accumulation_steps)
    an_epoch = max(1, math.ceil(steps / config.num_epochs))
    eval_steps = config.eval_steps or min(an_epoch, config.save_steps or an_epoch)
    save_steps = config.save_steps or eval_steps
    if evaluated and save_steps % eval_steps:
        raise InvalidInputError(
            f"Expected save_steps to be a multiple of eval_steps, so that the best weights are kept, got {save_steps} "
            f"and {eval_steps}."
        )
    warmup = config.warmup_steps if config.warmup_steps is not None else math.ceil(config.warmup_ratio * steps)
    return CrossEncoderTrainingArguments(
        output_dir=str(folder),
        # The rows of all epochs lie one after the other.
        num_train_epochs=1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        learning_rate_mapping=_head_rate(config, head),
        warmup_steps=warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.mixed_precision == "bf16",
        fp16=config.mixed_precision == "fp16",
        batch_sampler=in_order,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=eval_steps if evaluated else None,
        eval_on_start=evaluated and fresh,
        save_strategy="steps",
        save_steps=save_steps,
        save_total_limit=2,
        load_best_model_at_end=evaluated,
        metric_for_best_model=f"eval_{PRIMARY}" if evaluated else None,
        greater_is_better=True if evaluated else None,
        logging_steps=min(config.logging_steps, steps),
        logging_nan_inf_filter=False,
        report_to=_reporters(config),
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not torch.cuda.is_available() or config.device == "cpu",
        # Two heads of one step make DDP mark the same variable ready twice otherwise.
        ddp_find_unused_parameters=False,
        seed=config.seed,
        data_seed=config.seed,
    )


def _head_rate(config: TrainingConfig, head: list[str]) -> dict[str, float]:
    if config.head_learning_rate is None:
        return {}
    return {rf"\.({'|'.join(head)})\.": config.head_learning_rate}


def _checkpoint_activations(model: Any) -> None:
    # On the inner model: the trainer would call a method of the outer one that transformers deprecates.
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")({"use_reentrant": False})


def _callbacks(config: TrainingConfig, evaluator: RankingEvaluator | None) -> list[TrainerCallback]:
    found: list[TrainerCallback] = [FiniteLoss()]
    if evaluator is not None and config.early_stopping_patience is not None:
        found.append(EarlyStoppingCallback(early_stopping_patience=config.early_stopping_patience))
    return found


class FiniteLoss(TrainerCallback):  # type: ignore[misc]  # transformers is not analysed
    """Stops a run whose loss or gradient is no number, and tells of each step that is logged."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """See `TrainerCallback`."""
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(float(value)):
                raise NonFiniteScoreError(
                    f"Expected a finite {name}, got {value} at step {state.global_step}: lower learning_rate, or take "
                    "mixed_precision='no'."
                )
        shown = [f"{name} {value:.4g}" for name, value in (logs or {}).items() if name in _SHOWN]
        if shown:
            logger.info("step %d of %d: %s", state.global_step, state.max_steps, ", ".join(shown))


def _reporters(config: TrainingConfig) -> list[str]:
    if not config.tensorboard:
        return []
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("tensorboard=True needs the package tensorboard: pip install tensorboard")
    return ["tensorboard"]
