"""Writes what lets the runtime encode each side of an `InteractionCrossEncoder` alone: segment graphs and the head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.model_folder import SEGMENT_HEAD, SEGMENT_WEIGHTS
from semantic_ranker_training.segment_graph import segment_graph

if TYPE_CHECKING:
    from semantic_ranker.backends.torch import InteractionCrossEncoder, InteractionHead


def has_segments(model: object) -> bool:
    """Whether a module encodes each side alone, so that passages can be encoded before any query."""
    config = getattr(model, "config", None)
    return getattr(config, "joint_layers", None) == 0


def write_segments(model: InteractionCrossEncoder, folder: Path, precisions: Sequence[str]) -> None:
    """Write the head and the segment graphs of a model without joint layers into a model folder.

    Args:
        model: Its weights; left as it is.
        folder: Has a folder ``onnx``.
        precisions: Out of ``fp32`` and ``int8``; others have no segment graph.
    """
    write_head(model.head, folder / SEGMENT_HEAD)
    for precision in precisions:
        if precision == "fp32" or precision == "int8":
            content = segment_graph(model, precision).SerializeToString()
            (folder / SEGMENT_WEIGHTS[precision]).write_bytes(content)


def write_head(head: InteractionHead, path: Path) -> None:
    """Write the head's arrays as `semantic_ranker.segments.InteractionHead` reads them."""
    weights = {name: tensor.detach().float().numpy() for name, tensor in head.state_dict().items()}
    np.savez_compressed(
        path,
        term_weight=weights["term_weight"],
        match_id=weights["match_id"].astype(np.int32),
        feature_weight=weights["feature_weight"],
        mix_in=weights["mix.0.weight"],
        mix_in_bias=weights["mix.0.bias"],
        mix_out=weights["mix.2.weight"][0],
        mix_out_bias=weights["mix.2.bias"][0],
        scale=weights["scale"],
        bias=weights["bias"],
    )
