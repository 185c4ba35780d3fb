"""One side of an `InteractionCrossEncoder` as an ONNX graph, built node by node from its weights.

All layers of that architecture attend within the query and within the passage only, so each side can be encoded
alone: once a passage, whatever the number of queries. The graph takes unpadded rows of one length and has no mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from semantic_ranker.conversion.calibrated import InputStatistics, input_statistics
from semantic_ranker.conversion.graph_builder import MICROSOFT, GraphBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from semantic_ranker.backends.interaction import InteractionConfig, InteractionCrossEncoder

Weights = dict[str, "NDArray[np.float32]"]
_INPUTS = {"input_ids": ("rows", "length")}


def segment_graph(
    model: InteractionCrossEncoder,
    *,
    int8: bool,
    calibration: Sequence[Sequence[int]] = (),
    compact: bool = False,
) -> bytes:
    """Build the graph of one side.

    Args:
        model: Without joint layers.
        int8: Whether the layers (every row divided by its peak) and the word embeddings are quantised; the projection
            stays float32.
        calibration: For int8, ids of texts to fit the rounding to, ``[CLS] text [SEP]``; a few hundred like those that
            will be ranked. None rounds each weight by itself.
        compact: For int8, whether word embeddings are kept in 4 bits, positions in 8 and the projection in float16.

    Returns:
        A file from ``input_ids`` int64 (rows, length) to ``tokens`` float32 (rows, length, hidden), the projected and
        L2-normalised states; ``pooled`` float32 (rows, hidden), the normalised mean of the states; and ``importance``
        float32 (rows, length).

    Raises:
        ValueError: The model has joint layers, which read both sides at once.
    """
    if model.config.joint_layers:
        raise ValueError(f"Expected a model without joint layers, got {model.config.joint_layers}.")
    weights = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
    seen = _statistics(weights, model.config, calibration) if int8 and len(calibration) else ()
    graph = GraphBuilder(int8=int8, statistics=seen)
    _build(graph, weights, model.config, compact=int8 and compact)
    width = model.config.hidden_size
    outputs = {"tokens": ("rows", "length", width), "pooled": ("rows", width), "importance": ("rows", "length")}
    return graph.model("segment", _INPUTS, outputs)


def _statistics(
    weights: Weights, config: InteractionConfig, calibration: Sequence[Sequence[int]]
) -> list[InputStatistics]:
    graph = GraphBuilder()
    _build(graph, weights, config)
    shown = tqdm(calibration, desc="calibrating int8", unit="text", disable=None)
    texts = ({"input_ids": np.asarray([ids], np.int64)} for ids in shown)
    return input_statistics(graph, _INPUTS, texts)


def _build(graph: GraphBuilder, weights: Weights, config: InteractionConfig, *, compact: bool = False) -> None:
    states = _embed(graph, weights, config.layer_norm_eps, compact=compact)
    for depth in range(config.num_hidden_layers):
        states = _layer(graph, _below(weights, f"encoder.layer.{depth}."), states, config)
    _head(graph, weights, states, compact=compact)


def _below(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _embed(graph: GraphBuilder, weights: Weights, epsilon: float, *, compact: bool) -> str:
    found = graph.lookup(weights["embeddings.word_embeddings.weight"], "input_ids", bits=4 if compact else 8)
    # Each side is encoded as the bi-encoder saw it: token type 0.
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", ["input_ids"], start=1, end=2)
    positions = graph.first_rows(table, length, compact=compact)
    summed = graph.add("Add", [found, positions])
    norm = _below(weights, "embeddings.LayerNorm.")
    return graph.layer_norm(summed, norm["weight"], norm["bias"], epsilon)


def _layer(graph: GraphBuilder, layer: Weights, states: str, config: InteractionConfig) -> str:
    names = [f"attention.self.{part}" for part in ("query", "key", "value")]
    joined = np.concatenate([layer[f"{name}.weight"] for name in names]).T
    bias = graph.constant(np.concatenate([layer[f"{name}.bias"] for name in names]))
    mixed = graph.add("Add", [graph.product(states, joined, row_norm=True), bias])
    parts = graph.split(mixed, 3, joined.shape[0])
    attended = graph.add("MultiHeadAttention", parts, domain=MICROSOFT, num_heads=config.num_attention_heads)
    states = _residual(graph, _below(layer, "attention.output."), attended, states, config)
    inner = graph.product(states, layer["intermediate.dense.weight"].T, row_norm=True)
    gelu = graph.add("BiasGelu", [inner, graph.constant(layer["intermediate.dense.bias"])], domain=MICROSOFT)
    return _residual(graph, _below(layer, "output."), gelu, states, config)


def _residual(graph: GraphBuilder, part: Weights, inputs: str, skip: str, config: InteractionConfig) -> str:
    product = graph.product(inputs, part["dense.weight"].T, row_norm=True)
    norm = [part["LayerNorm.weight"], part["LayerNorm.bias"], part["dense.bias"]]
    return graph.skip_layer_norm(product, skip, norm, config.layer_norm_eps)


def _head(graph: GraphBuilder, weights: Weights, states: str, *, compact: bool) -> None:
    graph.unit(graph.linear(states, weights["head.project.weight"], compact=compact), name="tokens")
    graph.unit(graph.add("ReduceMean", [states, graph.integers(1)], keepdims=0), name="pooled")
    logits = graph.add("MatMul", [states, graph.constant(weights["head.importance.weight"][0])])
    graph.add("Exp", [graph.add("Add", [logits, graph.constant(weights["head.importance.bias"])])], name="importance")
