"""Finds the folder of a base: here, inside an installed package, or on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker_training.train import base_folder

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors", "1_Pooling/*"]
_TIMEOUT_S = 5.0


def base_of(name: str) -> Path:
    """Return the folder of a base.

    Args:
        name: A folder, ``package:folder``, or a hub id, of which safetensors and tokenizer are fetched.

    Raises:
        ModelLoadError: There is no such folder, and it is no hub id or cannot be fetched.
    """
    try:
        return base_folder(name)
    except InvalidInputError as error:
        if ":" in name or Path(name).exists() or not _HUB_ID.fullmatch(name):
            raise ModelLoadError(str(error)) from error
    with requires_extra("hub"):
        from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES, etag_timeout=_TIMEOUT_S))
    except Exception as error:  # HTTP libraries differ between versions of the hub client, and so do their errors
        raise ModelLoadError(
            f"{name!r} is no folder with config.json here, and it cannot be downloaded ({type(error).__name__}): check "
            "the name and the network, or give the path of a model folder."
        ) from error
