"""Training data from documents, without labels and without a language model."""

from semantic_ranker_training.prepare.build import Prepared, prepare_documents, prepare_pairs
from semantic_ranker_training.prepare.config import PrepareConfig

__all__ = ["PrepareConfig", "Prepared", "prepare_documents", "prepare_pairs"]
