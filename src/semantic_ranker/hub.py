"""Fetches a model folder from the Hugging Face hub: the local cache first, then only the files that are needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semantic_ranker.model_folder import Precision

_TIMEOUT_S = 5.0
_SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "semantic_ranker.json", "interaction_head.npz")
_NEEDED = ("config.json", "tokenizer.json")


def download(model_id: str, precision: Precision = "auto") -> Path:
    """Return the local folder of a hub model, from the cache if it is there.

    Args:
        model_id: Such as ``cross-encoder/ms-marco-MiniLM-L6-v2``.
        precision: Which weights to bring: ``auto`` brings int8 where there is one, else fp32.

    Raises:
        ModuleNotFoundError: The extra ``hub`` is not installed.
        ModelLoadError: The model is not cached and the hub is off or out of reach, or has no such model.
    """
    with requires_extra("hub"):
        from huggingface_hub import snapshot_download

    cached = _cached(model_id)
    if cached and choose_weights(_files(cached), precision):
        return cached
    if _is_offline():
        raise ModelLoadError(
            f"{model_id!r} is no folder here and not (completely) in the hub's cache, and HF_HUB_OFFLINE is set: "
            "give the path of a model folder, or open the model once where there is a network."
        )
    try:
        wanted = choose_weights(_remote_files(model_id), precision)
        if wanted is None:
            raise ModelLoadError(
                f"Expected {'' if precision == 'auto' else precision + ' '}ONNX weights of {model_id!r}, found none: "
                "export the model with `semantic-ranker export` (extra 'training') and open the folder."
            )
        return Path(snapshot_download(model_id, allow_patterns=[*_SETTINGS, wanted], etag_timeout=_TIMEOUT_S))
    except ModelLoadError:
        raise
    except Exception as error:  # HTTP libraries differ between versions of the hub client, and so do their errors
        raise ModelLoadError(
            f"{model_id!r} is no folder here, and it cannot be downloaded ({_short(error)}): check the name and the "
            "network, or give the path of a model folder."
        ) from error


def choose_weights(files: Sequence[str], precision: Precision) -> str | None:
    """Return the one ONNX file to open among a repository's files, or None if it cannot be opened.

    Args:
        files: Paths below the repository's root.
        precision: As in `download`.
    """
    from semantic_ranker.model_folder import SEGMENT_HEAD, SEGMENT_WEIGHTS, candidates

    there = set(files)
    if not there.issuperset(_NEEDED):
        return None
    kinds = tuple(SEGMENT_WEIGHTS) if precision == "auto" else (precision,)
    alone = (SEGMENT_WEIGHTS[kind] for kind in kinds if kind in SEGMENT_WEIGHTS and SEGMENT_HEAD in there)
    if found := next((name for name in alone if name in there), None):
        return found
    return next((name for _, name in candidates(precision) if name in there), None)


def _cached(model_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model_id, "config.json")
    except HFValidationError as error:
        raise ModelLoadError(f"Expected a model folder or a hub id such as 'owner/name', got {model_id!r}.") from error
    return Path(found).parent if isinstance(found, str) else None


def _files(folder: Path) -> list[str]:
    # A link whose blob was never completed is not a file.
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _remote_files(model_id: str) -> list[str]:
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(model_id, timeout=_TIMEOUT_S).siblings or []
    return [sibling.rfilename for sibling in siblings]


def _is_offline() -> bool:
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def _short(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
