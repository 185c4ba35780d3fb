"""BERT-like rerankers and bi-encoders as ONNX graphs, straight from their weights: no torch, a second or two.

Layers are onnxruntime's fused ones (MultiHeadAttention, BiasGelu, SkipLayerNormalization), with one product for
query, key and value. Where only the first token is read, the last layer is computed for it alone: exact, and a
seventh of the work of six layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.conversion.calibrated import InputStatistics, input_statistics
from semantic_ranker.conversion.graph_builder import MICROSOFT, GraphBuilder, Rounding, RowNorm
from semantic_ranker.conversion.onnx_file import BOOL, FLOAT, INT32
from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.conversion.encoder_weights import EncoderWeights
    from semantic_ranker.tokenization import EncodedPair

Tensors = Mapping[str, "NDArray[np.float32]"]
_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
# Layers of the head by family: names of its first and second linear layer, and what is between them.
HEADS = {
    "bert": ("pooler.dense", "classifier", "Tanh"),
    "distilbert": ("pre_classifier", "classifier", "Relu"),
    "electra": ("classifier.dense", "classifier.out_proj", "Gelu"),
}
UNIT = "Unit"
"""A layer that gives vectors length 1, between linear ones."""
_MOST_ROUNDED = 30_000_000
"""Weights of layers up to which int8 rounds them together: a dozen seconds at most. Bigger encoders have their columns
evened out, which is most of the gain and takes no time."""
USUAL_HEAD = ("classifier.dense", "classifier.out_proj", "Tanh")


def reranker_graph(
    weights: EncoderWeights,
    *,
    int8: bool = False,
    row_norm: RowNorm = "ff",
    statistics: Sequence[Rounding] = (),
) -> bytes:
    """Build a one-label sequence classifier.

    Args:
        weights: Encoder and head.
        int8: Whether layers and word embeddings are quantised; the head stays float32.
        row_norm: Linear layers whose int8 inputs are normalised row by row.
        statistics: For int8, of `encoder_statistics`; none rounds each weight by itself.

    Returns:
        A file from ``input_ids``, ``attention_mask`` and, where the encoder has them, ``token_type_ids``, int64
        (batch, length), padded on the right, to ``logits`` float32 (batch, 1).

    Raises:
        ModelLoadError: There is no head, or it has not one label.
    """
    graph = _Graph(weights, int8=int8, row_norm=row_norm, statistics=statistics)
    states = graph.builder.add("Squeeze", [graph.encode(first_only=True), graph.builder.integers(1)])
    inner, outer, activation = HEADS.get(weights.family, USUAL_HEAD)
    graph.builder.add(
        "Identity", [_head(graph.builder, weights.tensors, states, (inner, outer, activation))], name="logits"
    )
    return graph.builder.model("reranker", graph.inputs(), {"logits": ("batch", 1)})


def embedder_graph(
    weights: EncoderWeights,
    *,
    pooling: Sequence[str],
    dense: Sequence[tuple[Tensors, str]] = (),
    normalize: bool = True,
    int8: bool = False,
    row_norm: RowNorm = "ff",
    statistics: Sequence[Rounding] = (),
) -> bytes:
    """Build a bi-encoder.

    Args:
        weights: The encoder.
        pooling: ``cls``, ``mean``, ``max``, ``mean_sqrt_len_tokens``, ``weightedmean`` or ``lasttoken``; several are
            concatenated.
        dense: Layers after the pooling: tensors ``linear.weight``, perhaps ``linear.bias``, and an ONNX operator; no
            tensors and `UNIT` give vectors length 1.
        normalize: Whether vectors get length 1.
        int8: As for `reranker_graph`.
        row_norm: As for `reranker_graph`.
        statistics: For int8, of `encoder_statistics` for the same pooling; none rounds each weight by itself.

    Returns:
        A file with the inputs of `reranker_graph`, to ``sentence_embedding`` float32 (batch, dim) and, for other
        libraries, ``last_hidden_state`` float32 (batch, length, hidden), of length 1 where only ``cls`` is pooled.
    """
    graph = _Graph(weights, int8=int8, row_norm=row_norm, statistics=statistics)
    builder, first_only = graph.builder, _first_only(pooling)
    states = builder.add("Identity", [graph.encode(first_only=first_only)], name="last_hidden_state")
    vectors = [_pool(builder, states, graph.mask, mode) for mode in pooling]
    vector = vectors[0] if len(vectors) == 1 else builder.add("Concat", vectors, axis=-1)
    width = weights.width * len(vectors)
    for tensors, activation in dense:
        if activation == UNIT:
            vector = builder.unit(vector)
            continue
        vector = builder.linear(vector, tensors["linear.weight"], tensors.get("linear.bias"))
        vector = builder.add(activation, [vector])
        width = len(tensors["linear.weight"])
    if normalize:
        vector = builder.unit(vector)
    builder.add("Identity", [vector], name="sentence_embedding")
    length: str | int = 1 if first_only else "length"
    shapes = {"sentence_embedding": ("batch", width), "last_hidden_state": ("batch", length, weights.width)}
    return builder.model("embedder", graph.inputs(), shapes)


def encoder_statistics(
    weights: EncoderWeights, texts: Iterable[EncodedPair], *, pooling: Sequence[str] = ("cls",), threads: int = 1
) -> list[InputStatistics]:
    """Return what goes into the products of the layers, to round int8 weights by.

    Args:
        weights: The encoder.
        texts: Some dozens of inputs; pairs for a reranker.
        pooling: As for `embedder_graph`; a reranker reads the first token.
        threads: Of onnxruntime.
    """
    graph = _Graph(weights, int8=False, row_norm="none")
    graph.encode(first_only=_first_only(pooling))
    inputs = ({name: value for name, value in _filled(text).items() if name in graph.inputs()} for text in texts)
    together = weights.products <= _MOST_ROUNDED
    return input_statistics(graph.builder, graph.inputs(), inputs, threads=threads, together=together)


class _Graph:
    """An encoder in the making."""

    def __init__(
        self, weights: EncoderWeights, *, int8: bool, row_norm: RowNorm, statistics: Sequence[Rounding] = ()
    ) -> None:
        self.weights = weights
        self.builder = GraphBuilder(int8=int8, statistics=statistics)
        self.row_norm = row_norm
        self.mask = self.builder.add("Cast", [_MASK], to=FLOAT)
        self.padding = self.builder.add("Cast", [_MASK], to=INT32)

    def inputs(self) -> dict[str, tuple[str, str]]:
        """Return the shapes of the graph's inputs."""
        names = (_IDS, _MASK, _TYPES) if self.weights.token_types else (_IDS, _MASK)
        return dict.fromkeys(names, ("batch", "length"))

    def encode(self, *, first_only: bool) -> str:
        """Return the states of all tokens, or (batch, 1, hidden) of the first."""
        states, bias = self._embed(), self._relative_bias()
        for depth in range(self.weights.layers):
            last = depth == self.weights.layers - 1
            states = self._layer(self.weights.layer(depth), states, bias, first_only=first_only and last)
        return states

    def _embed(self) -> str:
        builder, tensors = self.builder, self.weights.tensors
        length = builder.add("Shape", [_IDS], start=1, end=2)
        table = builder.constant(self.weights.positions())
        positions = builder.add("Slice", [table, builder.integers(0), length, builder.integers(0)])
        found = builder.lookup(tensors["embeddings.word_embeddings.weight"], _IDS)
        summed = builder.add("Add", [found, positions])
        if self.weights.token_types:
            types = builder.constant(tensors["embeddings.token_type_embeddings.weight"])
            summed = builder.add("Add", [summed, builder.add("Gather", [types, _TYPES])])
        norm = (tensors["embeddings.LayerNorm.weight"], tensors["embeddings.LayerNorm.bias"])
        states = builder.layer_norm(summed, *norm, self.weights.epsilon)
        if "embeddings_project.weight" in tensors:
            states = builder.linear(states, tensors["embeddings_project.weight"], tensors["embeddings_project.bias"])
        return states

    def _relative_bias(self) -> str:
        table = self.weights.relative_bias()
        if table is None:
            return ""
        builder = self.builder
        length = builder.add("Shape", [_IDS], start=1, end=2)
        scalar = builder.add("Squeeze", [length])
        zero, one = (builder.constant(np.asarray(value, np.int64)) for value in (0, 1))
        range_ = builder.add("Range", [zero, scalar, one])
        query = builder.add("Unsqueeze", [range_, builder.integers(1)])
        distance = builder.add("Add", [builder.add("Sub", [range_, query]), builder.integers(table.shape[1] // 2)])
        found = builder.add("Gather", [builder.constant(table), distance], axis=1)
        return builder.add("Unsqueeze", [found, builder.integers(0)])

    def _layer(self, layer: Tensors, states: str, bias: str, *, first_only: bool) -> str:
        builder = self.builder
        query, key, value = self._projected(layer, states, first_only=first_only)
        biases = [layer[f"attention.self.{part}.bias"] for part in ("query", "key", "value")]
        if first_only:
            states = builder.first(states)
            if bias:
                cut = [builder.integers(0), builder.integers(1), builder.integers(2)]
                bias = builder.add("Slice", [bias, *cut])
        inputs = [query, key, value, builder.constant(np.concatenate(biases)), self.padding, bias]
        attended = builder.add(
            "MultiHeadAttention", inputs if bias else inputs[:5], domain=MICROSOFT, num_heads=self.weights.heads
        )
        states = self._residual(layer, "attention.output", attended, states, row_norm=self.row_norm == "all")
        row_norm = self.row_norm != "none"
        inner = builder.product(states, layer["intermediate.dense.weight"].T, row_norm=row_norm)
        gelu = builder.add("BiasGelu", [inner, builder.constant(layer["intermediate.dense.bias"])], domain=MICROSOFT)
        return self._residual(layer, "output", gelu, states, row_norm=row_norm)

    def _projected(self, layer: Tensors, states: str, *, first_only: bool) -> list[str]:
        builder, row_norm = self.builder, self.row_norm == "all"
        parts = [layer[f"attention.self.{part}.weight"].T for part in ("query", "key", "value")]
        width = self.weights.width
        if not first_only:
            joined = builder.product(states, np.concatenate(parts, axis=1), row_norm=row_norm)
            return builder.split(joined, 3, width)
        query = builder.product(builder.first(states), parts[0], row_norm=row_norm)
        rest = builder.product(states, np.concatenate(parts[1:], axis=1), row_norm=row_norm)
        return [query, *builder.split(rest, 2, width)]

    def _residual(self, layer: Tensors, name: str, inputs: str, skip: str, *, row_norm: bool) -> str:
        product = self.builder.product(inputs, layer[f"{name}.dense.weight"].T, row_norm=row_norm)
        norm = [layer[f"{name}.{part}"] for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")]
        return self.builder.skip_layer_norm(product, skip, norm, self.weights.epsilon)


def _first_only(pooling: Sequence[str]) -> bool:
    return tuple(pooling) == ("cls",)


def _filled(text: EncodedPair) -> dict[str, NDArray[np.int64]]:
    return {_IDS: text.input_ids[None], _MASK: np.ones_like(text.input_ids[None]), _TYPES: text.token_type_ids[None]}


def _head(builder: GraphBuilder, tensors: Tensors, states: str, names: tuple[str, str, str]) -> str:
    inner, outer, activation = names
    missing = [name for name in (f"{inner}.weight", f"{outer}.weight") if name not in tensors]
    if missing:
        raise ModelLoadError(
            f"Expected a trained head, {len(missing)} of its tensors are missing, the first: {missing[0]}; they would "
            "be random. Fine-tune the model first; a bi-encoder is exported with kind='embedder'."
        )
    if len(tensors[f"{outer}.weight"]) != 1:
        raise ModelLoadError(
            f"Expected a head with 1 label, got {len(tensors[f'{outer}.weight'])}: this is a classifier; a reranker "
            "is trained and exported with num_labels=1."
        )
    domain = MICROSOFT if activation == "Gelu" else ""
    hidden = builder.add(
        activation, [builder.linear(states, tensors[f"{inner}.weight"], tensors[f"{inner}.bias"])], domain=domain
    )
    return builder.linear(hidden, tensors[f"{outer}.weight"], tensors.get(f"{outer}.bias"))


def _pool(builder: GraphBuilder, states: str, mask: str, mode: str) -> str:
    """Return float32 (batch, hidden), as sentence-transformers' Pooling defines each mode."""
    if mode == "cls":
        return builder.add("Squeeze", [builder.first(states), builder.integers(1)])
    column = builder.add("Unsqueeze", [mask, builder.integers(2)])
    if mode == "max":
        lowest = builder.constant(np.asarray(np.finfo(np.float32).min, np.float32))
        real = builder.add("Cast", [column], to=BOOL)
        return builder.add("ReduceMax", [builder.add("Where", [real, states, lowest]), builder.integers(1)], keepdims=0)
    row = builder.add("Unsqueeze", [_weights(builder, mask, mode), builder.integers(1)])
    summed = builder.add("Squeeze", [builder.add("MatMul", [row, states]), builder.integers(1)])
    if mode == "lasttoken":
        return summed
    count = builder.add("ReduceSum", [row, builder.integers(2)], keepdims=0)
    safe = builder.add("Max", [count, builder.constant(np.asarray(1e-9, np.float32))])
    return builder.add("Div", [summed, builder.add("Sqrt", [safe]) if mode == "mean_sqrt_len_tokens" else safe])


def _weights(builder: GraphBuilder, mask: str, mode: str) -> str:
    """Return what each token counts, float32 (batch, length)."""
    if mode in ("mean", "mean_sqrt_len_tokens"):
        return mask
    place = builder.add("CumSum", [mask, builder.constant(np.asarray(1, np.int64))])
    weighted = builder.add("Mul", [place, mask])
    if mode == "weightedmean":
        return weighted
    last = builder.add("ReduceMax", [weighted, builder.integers(1)], keepdims=1)
    return builder.add("Mul", [builder.add("Cast", [builder.add("Equal", [weighted, last])], to=FLOAT), mask])
