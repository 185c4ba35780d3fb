"""A base with a projection on top, as a sentence-transformers model; what of it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker_training.cross_encoder.model import _device, layers_of
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from semantic_ranker_training.gaussian.config import GaussianConfig

_SAMPLE = 512


def open_model(folder: Path, config: GaussianConfig, texts: Sequence[str]) -> SentenceTransformer:
    """Open a base and put a projection on top; a model that has one already goes on with it.

    At the start the projection changes no ranking: it is the identity where the width stays, turns the principal
    components into more dimensions, or keeps the first of them. For ``l2`` it also centres and scales, so that the
    coordinates of the sample have mean 0 and standard deviation 1.

    Args:
        folder: A sentence-transformers folder, or a bare encoder, which is pooled by its mean.
        config: The settings.
        texts: A sample that the projection's start is fitted to.

    Raises:
        ModelLoadError: It cannot be opened.
        InvalidInputError: ``output_dim`` is not that of a model with a projection, or ``freeze_early_layers`` is more
            than the layers.
    """
    model = _opened(folder, config)
    if not _projections(model):
        _project(model, config, texts)
    elif config.output_dim not in (None, dim_of(model)):
        raise InvalidInputError(
            f"Expected output_dim of {dim_of(model)}, which the model that is trained on has, got {config.output_dim}."
        )
    _freeze(model, config)
    return model


def dim_of(model: SentenceTransformer) -> int:
    """Return the width of a model's vectors."""
    found = model.get_embedding_dimension()
    assert found is not None
    return int(found)


def _opened(folder: Path, config: GaussianConfig) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(config.seed)
    device = _device(config.device)
    with quiet_library():
        try:
            model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except Exception as error:  # the library lets everything through: OSError, ValueError, SafetensorError, ...
            raise ModelLoadError(
                f"Expected a bi-encoder or an encoder at {str(folder)!r}, got {type(error).__name__}: {error}"
            ) from error
    limit = model.max_seq_length
    if config.max_length is not None:
        model.max_seq_length = min(config.max_length, limit or config.max_length)
    return model


def _projections(model: SentenceTransformer) -> list[nn.Module]:
    return [module for module in model if type(module).__name__ == "Dense"]


def _project(model: SentenceTransformer, config: GaussianConfig, texts: Sequence[str]) -> None:
    from sentence_transformers.base.modules import Dense, Normalize

    with quiet_library():
        sample = model.encode(list(texts[:_SAMPLE]), show_progress_bar=False, convert_to_numpy=True)
    width = sample.shape[1]
    weight, bias = projection_start(sample, config.output_dim or width, gaussian=config.distance == "l2")
    dense = Dense(width, len(weight), activation_function=nn.Identity())
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(weight))
        dense.linear.bias.copy_(torch.from_numpy(bias))
    model.append(dense.to(model.device))
    if config.distance == "cosine":
        model.append(Normalize())
    model.similarity_fn_name = "cosine" if config.distance == "cosine" else "euclidean"


def projection_start(
    sample: NDArray[np.float32], dim: int, *, gaussian: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weight and bias of a projection that leaves distances as they are, up to one factor.

    Args:
        sample: Vectors of the base, float32 (n, width).
        dim: Of the vectors to come; below ``width`` its first principal components are kept.
        gaussian: Whether to centre, and to scale to a mean variance of 1.

    Returns:
        float32 (dim, width) and (dim,).
    """
    width = sample.shape[1]
    values = sample.astype(np.float64)
    mean = values.mean(0)
    if dim == width:
        rotation = np.eye(width)
    else:
        _, _, directions = np.linalg.svd(values - mean if gaussian else values, full_matrices=True)
        rotation = np.zeros((dim, width))
        rotation[: min(dim, width)] = directions[: min(dim, width)]
        if dim > width:
            # Spread over all coordinates: a turn by an orthogonal matrix, so that none stays empty.
            turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))
            rotation = turn @ rotation
    if not gaussian:
        return rotation.astype(np.float32), np.zeros(dim, np.float32)
    projected = (values - mean) @ rotation.T
    scale = 1 / max(math.sqrt(projected.var(0).mean()), 1e-6)
    return (scale * rotation).astype(np.float32), (-scale * rotation @ mean).astype(np.float32)


def _freeze(model: SentenceTransformer, config: GaussianConfig) -> None:
    transformer: Any = model[0].auto_model
    layers = layers_of(transformer)
    if config.freeze_early_layers > len(layers):
        raise InvalidInputError(
            f"Expected freeze_early_layers of at most {len(layers)}, which the base has, got "
            f"{config.freeze_early_layers}."
        )
    if config.freeze_base:
        transformer.requires_grad_(False)
    if config.freeze_early_layers:
        for name, module in transformer.named_children():
            if "embedding" in name:
                module.requires_grad_(False)
        for layer in layers[: config.freeze_early_layers]:
            layer.requires_grad_(False)
