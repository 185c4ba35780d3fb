"""Fetches a model folder from a hub, local cache first; only files that are safe to open."""

from __future__ import annotations

import os
from pathlib import Path

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import ModelLoadError

_FILES = ["*.json", "*.onnx", "onnx/*.onnx", "*.safetensors", "tokenizer*", "vocab*", "README.md"]


def download(model_id: str) -> Path:
    """Return the local folder of a hub model.

    Args:
        model_id: Such as ``cross-encoder/ms-marco-MiniLM-L6-v2``.

    Raises:
        ModuleNotFoundError: The extra ``hub`` is not installed.
        ModelLoadError: The model is not cached and the hub is off or out of reach.
    """
    with requires_extra("hub"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        return Path(snapshot_download(model_id, allow_patterns=_FILES, local_files_only=offline, etag_timeout=5))
    except HFValidationError as error:
        raise ModelLoadError(f"Expected a model folder or a hub id such as 'owner/name', got {model_id!r}.") from error
    except LocalEntryNotFoundError as error:
        reason = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise ModelLoadError(
            f"{model_id!r} is neither a folder here nor in the hub's cache, and {reason}: give the path of a model "
            "folder, or download the model once where there is a network."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelLoadError(
            f"Cannot download {model_id!r} ({error}): check the name, or give a model folder."
        ) from error
