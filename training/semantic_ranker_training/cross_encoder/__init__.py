"""Trains [CLS] cross-encoders of one logit, with sentence-transformers' trainer."""

from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.cross_encoder.lora import merge_lora, open_adapter
from semantic_ranker_training.cross_encoder.losses import LOSSES, LossSpec
from semantic_ranker_training.cross_encoder.search import search_settings
from semantic_ranker_training.cross_encoder.trainer import CrossEncoderTrainer, TrainingResult

__all__ = [
    "LOSSES",
    "CrossEncoderTrainer",
    "LossSpec",
    "TrainingConfig",
    "TrainingResult",
    "merge_lora",
    "open_adapter",
    "search_settings",
]
