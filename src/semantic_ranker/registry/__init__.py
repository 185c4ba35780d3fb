"""The models on a disk: what each is, how good it was measured to be, and what it came from."""

from semantic_ranker.registry.best import Best, Ranked
from semantic_ranker.registry.catalog import DEFAULT_ROOT, ROOT_VARIABLE, ModelRegistry
from semantic_ranker.registry.comparison import FigurePair, ModelComparison
from semantic_ranker.registry.entries import Figure, Lineage, ModelEntry, read_entry
from semantic_ranker.registry.retraining import Retraining

__all__ = [
    "DEFAULT_ROOT",
    "ROOT_VARIABLE",
    "Best",
    "Figure",
    "FigurePair",
    "Lineage",
    "ModelComparison",
    "ModelEntry",
    "ModelRegistry",
    "Ranked",
    "Retraining",
    "read_entry",
]
