"""Settings of the training of isotropic embeddings: plain values, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.gaussian.loss import Contrastive, Distance, Isotropy
from semantic_ranker_training.settings import NamedSettings, check_count, check_number

_COUNTS = ("num_epochs", "batch_size", "gradient_accumulation_steps", "save_interval", "logging_steps", "slices")
_OPTIONAL_COUNTS = ("output_dim",)
_NOT_NEGATIVE = (
    "weight_decay",
    "warmup_ratio",
    "lambda_isotropy",
    "lambda_reg",
    "margin",
    "freeze_early_layers",
    "predictor",
    "seed",
)
_POSITIVE = ("learning_rate", "max_grad_norm")
_OPTIONAL_POSITIVE = ("base_learning_rate", "projection_learning_rate", "temperature")
_CHOICES = {
    "distance": ("cosine", "l2"),
    "contrastive": ("infonce", "margin"),
    "isotropy": ("sigreg", "covariance"),
    "mixed_precision": ("no", "bf16", "fp16"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianConfig(NamedSettings):
    """How isotropic embeddings are trained.

    The defaults train the projection alone: benchmarks/results/isotropy.json measures what else costs.

    Attributes:
        num_epochs: Passes over the pairs.
        batch_size: Pairs a step and process. SIGReg sees little in fewer than 64, and low rank only in 256 or more.
        learning_rate: Highest, after the warm-up.
        base_learning_rate: The same of the base; None takes ``learning_rate``.
        projection_learning_rate: The same of the projection; None takes ``learning_rate``.
        weight_decay: AdamW's.
        warmup_steps: Optimiser steps of linear warm-up before the linear decay; None takes ``warmup_ratio``.
        warmup_ratio: Warm-up as a share of all steps.
        gradient_accumulation_steps: Batches an optimiser step; negatives and SIGReg see one batch at a time.
        max_grad_norm: Gradients are clipped to this norm.
        max_length: Tokens of a text, specials included; None takes the base's.
        output_dim: Width of the vectors; None takes the base's. Fewer are its principal components at the start, more
            are turned into them without a change of any cosine.
        freeze_base: Whether the base does not learn.
        freeze_early_layers: Lowest layers that do not learn, with the embeddings.
        distance: ``cosine`` keeps vectors of length 1; ``l2`` gives vectors whose coordinates are N(0, 1).
        contrastive: ``infonce`` or ``margin``.
        isotropy: ``sigreg``, or ``covariance``, the seed's loss, to be measured against.
        lambda_isotropy: Weight of the isotropy loss.
        lambda_reg: Weight of the variance loss.
        margin: Of ``margin``, in distances of two random texts.
        temperature: Of ``infonce``; None is 0.05 for cosines and ``1 / sqrt(dim)`` for ``l2``.
        slices: Random directions of SIGReg a step.
        predictor: Hidden width of a JEPA head that is thrown away after training; 0 is none.
        mixed_precision: ``bf16`` and ``fp16`` are refused where the device cannot.
        save_interval: Epochs between checkpoints.
        logging_steps: Optimiser steps between entries of the log.
        seed: Of order, dropout and slices.
        device: ``cpu`` or ``cuda``; None takes what is there.

    Raises:
        InvalidInputError: A value is out of range.
    """

    num_epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 2e-5
    base_learning_rate: float | None = None
    projection_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_steps: int | None = None
    warmup_ratio: float = 0.1
    gradient_accumulation_steps: int = 1
    max_grad_norm: float = 1.0
    max_length: int | None = 128
    output_dim: int | None = None
    freeze_base: bool = False
    freeze_early_layers: int = 0
    distance: Distance = "cosine"
    contrastive: Contrastive = "infonce"
    isotropy: Isotropy = "sigreg"
    lambda_isotropy: float = 1.0
    lambda_reg: float = 0.1
    margin: float = 1.0
    temperature: float | None = None
    slices: int = 256
    predictor: int = 0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    save_interval: int = 1
    logging_steps: int = 10
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            check_count(name, getattr(self, name), 1)
        for name in _OPTIONAL_COUNTS:
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 1)
        for name in ("warmup_steps", "max_length"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 0 if name == "warmup_steps" else 8)
        for name in (*_NOT_NEGATIVE, *_POSITIVE, *_OPTIONAL_POSITIVE):
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL_POSITIVE:
                check_number(name, value, above=name not in _NOT_NEGATIVE)
        self.check_choices(_CHOICES)
        check_count("batch_size", self.batch_size, 2)
        if self.warmup_ratio > 1:
            raise InvalidInputError(f"Expected warmup_ratio of at most 1, got {self.warmup_ratio!r}.")
