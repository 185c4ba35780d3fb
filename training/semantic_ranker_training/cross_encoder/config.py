"""Settings of the training of a [CLS] cross-encoder: plain values, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder.losses import LOSSES
from semantic_ranker_training.settings import NamedSettings, check_count, check_number

MixedPrecision = Literal["no", "bf16", "fp16"]
Calibration = Literal["platt", "temperature", "none"]
_COUNTS = ("num_epochs", "batch_size", "gradient_accumulation_steps", "lora_r", "lora_alpha", "logging_steps")
_OPTIONAL_COUNTS = ("keep_layers", "eval_steps", "save_steps", "early_stopping_patience")
_NOT_NEGATIVE = ("weight_decay", "warmup_ratio", "freeze_layers", "lora_dropout", "margin", "seed")
_POSITIVE = ("learning_rate", "max_grad_norm", "teacher_temperature", "mnrl_scale")
_CHOICES = {
    "loss_function": tuple(LOSSES),
    "mixed_precision": ("no", "bf16", "fp16"),
    "calibration": ("platt", "temperature", "none"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(NamedSettings):
    """How a cross-encoder is trained.

    Attributes:
        loss_function: One of `losses.LOSSES`.
        num_epochs: Passes over the queries.
        batch_size: Queries a step and process; pairs for ``bce`` and ``mse``.
        learning_rate: Highest, after the warm-up.
        head_learning_rate: The same of the head, which is new on most bases; None takes ``learning_rate``.
        warmup_steps: Steps of linear warm-up before the linear decay; None takes ``warmup_ratio``.
        warmup_ratio: Warm-up as a share of all steps.
        weight_decay: AdamW's.
        gradient_accumulation_steps: Batches an optimiser step; what is left at the end is a step too.
        max_grad_norm: Gradients are clipped to this norm.
        max_length: Tokens of a pair, specials included. Batches are padded to their own longest pair only.
        group_size: Texts a query in one row, positives included.
        mixed_precision: ``bf16`` and ``fp16`` are refused where the device cannot.
        gradient_checkpointing: Trades time for memory.
        freeze_layers: Lowest layers that do not learn.
        freeze_embeddings: Whether the embeddings do not learn.
        keep_layers: Layers kept, from the lowest; the upper ones are dropped before training. None keeps all.
        early_stopping_patience: Evaluations without a better nDCG@10 before training stops; None never stops. With
            validation data the best checkpoint is kept either way.
        eval_steps: Optimiser steps between evaluations; None is once an epoch.
        save_steps: Steps between checkpoints; None is at every evaluation.
        logging_steps: Steps between entries of the log.
        curriculum: Whether a query's easiest negatives come first and the hardest only towards the end.
        use_lora: Whether low-rank adapters learn instead of the base; the head always learns and is saved.
        lora_r: Their rank.
        lora_alpha: Their scale times the rank.
        lora_dropout: Their dropout.
        teacher_temperature: Teacher scores are divided by it before the softmax of ``distil_listnet``.
        margin: Of ``margin``, in logits.
        mnrl_scale: Logits are multiplied by it in ``mnrl``.
        calibration: What is fitted on held-out queries at the end.
        seed: Of initialisation, sampling and dropout.
        tensorboard: Whether to write TensorBoard events (package ``tensorboard``).
        device: ``cpu`` or ``cuda``; None takes what is there.

    Raises:
        InvalidInputError: A value is out of range.
    """

    loss_function: str = "listnet"
    num_epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 5e-5
    head_learning_rate: float | None = None
    warmup_steps: int | None = None
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    gradient_accumulation_steps: int = 1
    max_grad_norm: float = 1.0
    max_length: int = 256
    group_size: int = 8
    mixed_precision: MixedPrecision = "no"
    gradient_checkpointing: bool = False
    freeze_layers: int = 0
    freeze_embeddings: bool = False
    keep_layers: int | None = None
    early_stopping_patience: int | None = None
    eval_steps: int | None = None
    save_steps: int | None = None
    logging_steps: int = 10
    curriculum: bool = False
    use_lora: bool = False
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    teacher_temperature: float = 1.0
    margin: float = 1.0
    mnrl_scale: float = 1.0
    calibration: Calibration = "platt"
    seed: int = 0
    tensorboard: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            check_count(name, getattr(self, name))
        for name in _OPTIONAL_COUNTS:
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        for name in (*_NOT_NEGATIVE, *_POSITIVE):
            check_number(name, getattr(self, name), above=name in _POSITIVE)
        if self.head_learning_rate is not None:
            check_number("head_learning_rate", self.head_learning_rate, above=True)
        check_count("group_size", self.group_size, least=2)
        check_count("max_length", self.max_length, least=8)
        self.check_choices(_CHOICES)
        if self.warmup_ratio > 1 or self.lora_dropout >= 1:
            raise InvalidInputError("Expected warmup_ratio of at most 1 and lora_dropout below 1.")
        if self.use_lora and (self.freeze_layers or self.freeze_embeddings):
            raise InvalidInputError("Expected no freezing with use_lora: adapters freeze the whole base already.")
        if self.use_lora and self.keep_layers is not None:
            raise InvalidInputError("Expected keep_layers=None with use_lora: an adapter belongs to a base as it is.")


class TrainingOptions(TypedDict, total=False):
    """Names and types of the settings, as keyword arguments of `CrossEncoderTrainer`; see `TrainingConfig`."""

    loss_function: str
    num_epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float | None
    warmup_steps: int | None
    warmup_ratio: float
    weight_decay: float
    gradient_accumulation_steps: int
    max_grad_norm: float
    max_length: int
    group_size: int
    mixed_precision: MixedPrecision
    gradient_checkpointing: bool
    freeze_layers: int
    freeze_embeddings: bool
    keep_layers: int | None
    early_stopping_patience: int | None
    eval_steps: int | None
    save_steps: int | None
    logging_steps: int
    curriculum: bool
    use_lora: bool
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    teacher_temperature: float
    margin: float
    mnrl_scale: float
    calibration: Calibration
    seed: int
    tensorboard: bool
    device: str | None
