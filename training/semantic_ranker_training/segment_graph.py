"""One side of an `InteractionCrossEncoder` as an ONNX graph, built node by node from its weights.

All layers of that architecture attend within the query and within the passage only, so each side can be encoded
alone: once a passage, whatever the number of queries. The graph takes unpadded rows of one length and has no mask.
Its layers are onnxruntime's fused ones; int8 follows `quantization` (u8 activations, s8 7-bit weights per channel,
rows divided by their peak), with one product for query, key and value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from semantic_ranker.backends.torch import InteractionCrossEncoder

OUTPUTS = ("tokens", "pooled", "importance")
OPSET = 18
IR_VERSION = 10
_MICROSOFT = "com.microsoft"
# Half of int8's range: pairs of 8-bit products saturate AVX2's 16-bit sums.
_WEIGHT_PEAK = 63
_TABLE_PEAK = 127


@dataclass(slots=True)
class _Builder:
    """Collects nodes and constants; every method returns the name of its result."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        domain: str = "",
        name: str = "",
        **attributes: int | float | list[int],
    ) -> str:
        output = name or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def axes(self, axis: int) -> str:
        return self.constant(np.asarray([axis], np.int64))


def segment_graph(model: InteractionCrossEncoder, precision: Literal["fp32", "int8"]) -> onnx.ModelProto:
    """Build the graph of one side.

    Args:
        model: Without joint layers.
        precision: ``int8`` quantises the layers and the word embeddings; the projection stays float32.

    Returns:
        A graph from ``input_ids`` int64 (rows, length) to ``tokens`` float32 (rows, length, hidden), the projected and
        L2-normalised states; ``pooled`` float32 (rows, hidden), the normalised mean of the states; and ``importance``
        float32 (rows, length).

    Raises:
        ValueError: The model has joint layers, which read both sides at once.
    """
    if model.config.joint_layers:
        raise ValueError(f"Expected a model without joint layers, got {model.config.joint_layers}.")
    weights = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
    graph = _Builder()
    states = _embed(graph, weights, model.config.layer_norm_eps, precision)
    for depth in range(model.config.num_hidden_layers):
        layer = {
            name.removeprefix(f"encoder.layer.{depth}."): value
            for name, value in weights.items()
            if name.startswith(f"encoder.layer.{depth}.")
        }
        states = _layer(graph, layer, states, model.config.num_attention_heads, model.config.layer_norm_eps, precision)
    _head(graph, weights, states)
    return _finish(graph, model.config.hidden_size)


def _embed(graph: _Builder, weights: dict[str, NDArray[np.float32]], epsilon: float, precision: str) -> str:
    words = weights["embeddings.word_embeddings.weight"]
    if precision == "int8":
        scale = np.maximum(np.abs(words).max(1, keepdims=True), 1e-9) / _TABLE_PEAK
        codes = graph.add("Gather", [graph.constant(np.rint(words / scale).astype(np.int8)), "input_ids"])
        scales = graph.add("Gather", [graph.constant(scale.astype(np.float32)), "input_ids"])
        found = graph.add("Mul", [graph.add("Cast", [codes], to=TensorProto.FLOAT), scales])
    else:
        found = graph.add("Gather", [graph.constant(words), "input_ids"])
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", ["input_ids"], start=1, end=2)
    positions = graph.add(
        "Slice", [graph.constant(table), graph.constant(np.zeros(1, np.int64)), length, graph.axes(0)]
    )
    summed = graph.add("Add", [found, positions])
    norm = [graph.constant(weights[f"embeddings.LayerNorm.{part}"]) for part in ("weight", "bias")]
    return graph.add("LayerNormalization", [summed, *norm], axis=-1, epsilon=epsilon)


def _layer(
    graph: _Builder, layer: dict[str, NDArray[np.float32]], states: str, heads: int, epsilon: float, precision: str
) -> str:
    names = [f"attention.self.{part}" for part in ("query", "key", "value")]
    joined = np.concatenate([layer[f"{name}.weight"] for name in names]).T
    bias = np.concatenate([layer[f"{name}.bias"] for name in names])
    mixed = graph.add("Add", [_product(graph, states, joined, precision), graph.constant(bias)])
    width = joined.shape[0]
    parts = [f"part_{len(graph.nodes)}_{index}" for index in range(3)]
    sizes = graph.constant(np.full(3, width, np.int64))
    graph.nodes.append(helper.make_node("Split", [mixed, sizes], parts, axis=-1))
    attended = graph.add("MultiHeadAttention", parts, domain=_MICROSOFT, num_heads=heads)
    states = _residual(graph, layer, "attention.output", attended, states, epsilon, precision)
    inner = _product(graph, states, layer["intermediate.dense.weight"].T, precision)
    gelu = graph.add("BiasGelu", [inner, graph.constant(layer["intermediate.dense.bias"])], domain=_MICROSOFT)
    return _residual(graph, layer, "output", gelu, states, epsilon, precision)


def _residual(
    graph: _Builder,
    layer: dict[str, NDArray[np.float32]],
    name: str,
    inputs: str,
    skip: str,
    epsilon: float,
    precision: str,
) -> str:
    product = _product(graph, inputs, layer[f"{name}.dense.weight"].T, precision)
    rest = [f"{name}.LayerNorm.weight", f"{name}.LayerNorm.bias", f"{name}.dense.bias"]
    return graph.add(
        "SkipLayerNormalization",
        [product, skip, *(graph.constant(layer[part]) for part in rest)],
        domain=_MICROSOFT,
        epsilon=epsilon,
    )


def _product(graph: _Builder, states: str, weight: NDArray[np.float32], precision: str) -> str:
    """Multiply by a constant (in, out) matrix."""
    if precision != "int8":
        return graph.add("MatMul", [states, graph.constant(weight)])
    scale = np.maximum(np.abs(weight).max(0), 1e-9) / _WEIGHT_PEAK
    codes = np.rint(weight / scale).astype(np.int8)
    magnitude = graph.add("Abs", [states])
    peak = graph.add("ReduceMax", [magnitude, graph.axes(-1)], keepdims=1)
    rows = graph.add("Div", [states, peak])
    product = graph.add(
        "DynamicQuantizeMatMul",
        [
            rows,
            graph.constant(codes),
            graph.constant(scale.astype(np.float32)),
            graph.constant(np.zeros(len(scale), np.int8)),
        ],
        domain=_MICROSOFT,
    )
    return graph.add("Mul", [product, peak])


def _head(graph: _Builder, weights: dict[str, NDArray[np.float32]], states: str) -> None:
    projected = graph.add("MatMul", [states, graph.constant(weights["head.project.weight"].T)])
    _normalise(graph, projected, "tokens")
    mean = graph.add("ReduceMean", [states, graph.axes(1)], keepdims=0)
    _normalise(graph, mean, "pooled")
    logits = graph.add("MatMul", [states, graph.constant(weights["head.importance.weight"][0])])
    exponent = graph.add("Add", [logits, graph.constant(weights["head.importance.bias"])])
    graph.add("Exp", [exponent], name="importance")


def _normalise(graph: _Builder, states: str, name: str) -> None:
    length = graph.add("ReduceL2", [states, graph.axes(-1)], keepdims=1)
    safe = graph.add("Max", [length, graph.constant(np.asarray(1e-12, np.float32))])
    graph.add("Div", [states, safe], name=name)


def _finish(graph: _Builder, width: int) -> onnx.ModelProto:
    shapes = (["rows", "length", width], ["rows", width], ["rows", "length"])
    built = helper.make_graph(
        graph.nodes,
        "segment",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "length"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(OUTPUTS, shapes, strict=True)
        ],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    model = helper.make_model(built, opset_imports=opsets, producer_name="semantic-ranker")
    model.ir_version = IR_VERSION
    return model
