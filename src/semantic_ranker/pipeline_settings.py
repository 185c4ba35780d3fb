"""What a saved `RAGPipeline` says of itself, and the models that it names."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semantic_ranker.errors import InvalidInputError, ModelLoadError, StorageError

if TYPE_CHECKING:
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.indexes.embedder import IndexEmbedder

logger = logging.getLogger(__name__)

BUNDLED = "bundled"
"""Names the models that come with the package."""
SETTINGS = "pipeline.json"
KIND = "semantic-ranker-pipeline"

Model: TypeAlias = "str | os.PathLike[str]"


def embedder_of(model: Any) -> IndexEmbedder:
    """Return the embedder of a name or folder, or the one that is given."""
    from semantic_ranker.embedder import Embedder

    if isinstance(model, (str, os.PathLike)):
        return Embedder(None if model == BUNDLED else model)
    if not hasattr(model, "embed_queries"):
        raise InvalidInputError(f"Expected a name, folder or embedder as retriever_model, got {type(model).__name__}.")
    return model  # type: ignore[no-any-return]


def reranker_of(model: Any) -> CrossEncoder | None:
    """Return the reranker of a name or folder, the one that is given, or None for none."""
    from semantic_ranker.cross_encoder import CrossEncoder

    if model is None or isinstance(model, CrossEncoder):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise InvalidInputError(f"Expected a folder or CrossEncoder as reranker_model, got {type(model).__name__}.")
    return CrossEncoder(model)


def reranker_with_states(model: Any, path: Path) -> CrossEncoder | None:
    """Return the reranker with the states of the passages; without them where they are absent or not its own."""
    from semantic_ranker.cross_encoder import CrossEncoder

    if model is None or isinstance(model, CrossEncoder) or not path.is_dir():
        return reranker_of(model)
    encoder = CrossEncoder(model, states=path)
    try:
        encoder.model_name  # noqa: B018 (opens it)
    except ModelLoadError as error:
        logger.warning("Ranking without the states of the passages: %s Index the documents again.", error)
        return reranker_of(model)
    return encoder


def name_of(model: Any) -> str | None:
    """Return what names a model in the settings: empty for none, None for an object that no name opens again."""
    if model is None:
        return ""
    return os.fspath(model) if isinstance(model, (str, os.PathLike)) else None


def named(settings: Mapping[str, Any], name: str) -> str:
    """Return the name of a model; raise InvalidInputError where it was given as an object."""
    if not (found := settings[name]):
        raise InvalidInputError(f"Expected {name}= to open this pipeline, got none: it was saved with an object.")
    return str(found)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a saved pipeline; raise StorageError where there are none, or they are damaged."""
    wanted = {"retriever_model", "reranker_model", "top_k_retrieval", "top_k_rerank", "fusion", "deadline_s"}
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"Cannot read the pipeline in {str(path.parent)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(f"Cannot read the pipeline in {str(path.parent)!r}: {path.name} is not JSON.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND or not wanted <= set(content):
        raise StorageError(f"Expected the settings of a pipeline in {str(path)!r}, got something else.")
    return content
