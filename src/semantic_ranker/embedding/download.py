"""Fetches a bi-encoder from the hub: what `semantic_ranker.hub` brings, and the files that say how to pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker import hub
from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from semantic_ranker.embedding.options import EmbedderOptions
    from semantic_ranker.model_folder import Precision

_POOLING = ("modules.json", "*/config.json", "sentence_bert_config.json", "config_sentence_transformers.json")
_TORCH = (*hub._SETTINGS, *_POOLING, "model.safetensors", "*_Dense/model.safetensors")


def fetch(model_id: str, options: EmbedderOptions) -> Path:
    """Return the local folder of a hub model, complete with the files that say how it pools.

    Raises:
        ModelLoadError: It is not cached and the hub is off or out of reach, or has no such model or weights.
        ModuleNotFoundError: The extra ``hub`` is not installed.
    """
    if options.backend == "torch":
        return _snapshot(model_id, _TORCH, "model.safetensors")
    folder = hub.download(model_id, options.precision)
    # Without this file a model is pooled by the mean, which is wrong for many: it must be there, or surely not exist.
    return folder if _settled(model_id, folder) else _snapshot(model_id, _POOLING, "config.json")


def cached(model_id: str, precision: Precision) -> Path | None:
    """Return the folder if it can be opened without a network, else None."""
    try:
        found = hub._cached(model_id)
    except ModuleNotFoundError:
        return None
    if found is None or not _settled(model_id, found):
        return None
    return found if hub.choose_weights(hub._files(found), precision) else None


def _settled(model_id: str, folder: Path) -> bool:
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    if (folder / "modules.json").is_file():
        return (folder / "1_Pooling" / "config.json").is_file()
    return try_to_load_from_cache(model_id, "modules.json") is _CACHED_NO_EXIST


def _snapshot(model_id: str, patterns: tuple[str, ...], needed: str) -> Path:
    with requires_extra("hub"):
        from huggingface_hub import snapshot_download
    if hub._is_offline():
        raise ModelLoadError(
            f"{model_id!r} is not (completely) in the hub's cache, and HF_HUB_OFFLINE is set: give the path of a model "
            "folder, or open the model once where there is a network."
        )
    try:
        folder = Path(snapshot_download(model_id, allow_patterns=list(patterns), etag_timeout=hub._TIMEOUT_S))
    except Exception as error:  # HTTP libraries differ between versions of the hub client, and so do their errors
        raise ModelLoadError(
            f"{model_id!r} cannot be downloaded ({hub._short(error)}): check the name and the network, or give the "
            "path of a model folder."
        ) from error
    if not (folder / needed).is_file():
        raise ModelLoadError(f"Expected {needed} of {model_id!r} on the hub, found none: use another model.")
    return folder
