"""Folders with safetensors only become ONNX at their first use: found, converted once, kept in the user's cache."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker._files import locked
from semantic_ranker._settings import MANIFEST
from semantic_ranker.model_folder import SEGMENT_HEAD, ModelFolder, candidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from semantic_ranker.model_folder import Precision

logger = logging.getLogger(__name__)

VERSION = 2
"""Of what a conversion writes; part of the name of its folder."""
WEIGHTS = "model.safetensors"
FILES = ("tokenizer_config.json", "special_tokens_map.json", "config_sentence_transformers.json")
"""Small files that a converted folder keeps beside ``config.json`` and ``tokenizer.json``."""


def with_graphs(path: Path, precision: Precision) -> Path:
    """Return a reranker's folder that has ONNX files: the given one, or its conversion.

    A BERT-like one-label classifier in ``model.safetensors`` is converted to fp32 and int8 in seconds, checked, and
    kept under the hash of its files. Another folder comes back as it is: who opens it says what is missing.

    Args:
        path: A model folder.
        precision: Which weights are wanted; ``fp16`` is not converted to.

    Raises:
        ModelLoadError: The folder is damaged or refused.
        ExportParityError: The graph does not score like the weights.
        StorageError: The cache cannot be written; ``SEMANTIC_RANKER_CACHE`` names another place.
    """
    if precision == "fp16" or not _lacks_graphs(path, precision):
        return path
    folder = ModelFolder.open(path)
    if not _is_bert_like(folder):
        return path
    from semantic_ranker.conversion.reranker import convert_reranker

    name = folder.settings.name
    return once("rerankers", name, _digest(path, _states(path)), functools.partial(convert_reranker, folder))


def once(kind: str, name: str, digest: str, convert: Callable[[Path], None]) -> Path:
    """Return the cache's folder for a model, written by ``convert`` if it is not there.

    Of several processes one converts, and the others wait for it.

    Args:
        kind: Folder inside the cache.
        name: Of the model, for the folder's name.
        digest: Hash of all that the conversion reads, in hex.
        convert: Writes the folder, whole or not at all.
    """
    target = kept_folder(kind, name, digest)
    if complete(target):
        return target
    with locked(target.with_name(f".{target.name}.lock")):
        if not complete(target):
            logger.warning("converting %s to ONNX, once, to %s", name, target)
            convert(target)
    return target


def kept_folder(kind: str, name: str, digest: str) -> Path:
    """Return where a model's conversion is kept."""
    from semantic_ranker.embedding.sources import cache_folder

    return cache_folder() / kind / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{digest[:12]}"


def complete(folder: Path) -> bool:
    """Whether a converted folder has each of its files in its size; hashes are compared when it is opened."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _lacks_graphs(path: Path, precision: Precision) -> bool:
    there = any((path / name).is_file() for _, name in candidates(precision)) or (path / SEGMENT_HEAD).is_file()
    return not there and all((path / name).is_file() for name in (WEIGHTS, "config.json", "tokenizer.json"))


def _is_bert_like(folder: ModelFolder) -> bool:
    from semantic_ranker.conversion.encoder_weights import is_bert_like

    return is_bert_like(json.loads(folder.config.content))


def _states(path: Path) -> tuple[tuple[str, int, int], ...]:
    names = (WEIGHTS, "config.json", "tokenizer.json", MANIFEST, *FILES)
    found = ((name, path / name) for name in names)
    return tuple((name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in found if file.is_file())


@functools.lru_cache(maxsize=16)
def _digest(path: Path, states: tuple[tuple[str, int, int], ...]) -> str:
    """Return the hash of the files that decide what a conversion writes; read again when one of them changes."""
    content = hashlib.sha256(f"{VERSION}".encode())
    for name, _, _ in states:
        content.update(f" {name} ".encode())
        content.update(hashlib.sha256((path / name).read_bytes()).digest())
    return content.hexdigest()
