"""int8 of graphs that torch traced: 7-bit per-channel weights, unsigned activations, int8 word embeddings.

Settings and why, measured on all-MiniLM-L6-v2's shape: activations must be unsigned (signed ones run 7 times slower
on AVX2), weights per channel (per tensor costs a quarter of the order), ``reduce_range`` because AVX2's 16-bit
accumulation saturates on 8-bit weights, and row-normalised feed-forward inputs (`graph.RowLinear`).
`graph_builder` says why there is no second form for CPUs with VNNI.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.conversion.graph_builder import RowNorm
from semantic_ranker_training.graph import export_graph, replace_module, with_row_linear

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST_QUANTISED_SIDE = 64


class QuantisedEmbedding(nn.Module):
    """An embedding table in int8 with one float32 scale a row: error below 0.4 % of the row's peak."""

    codes: Tensor
    scale: Tensor

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        weight = embedding.weight.detach()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-9) / 127
        self.register_buffer("codes", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up int64 (...) ids: float32 (..., width)."""
        return self.codes[ids].float() * self.scale[ids]


def export_int8(model: nn.Module, path: Path, *, token_types: bool, max_length: int, row_norm: RowNorm = "ff") -> None:
    """Write a module as an int8 ONNX graph.

    Args:
        model: As in `graph.export_graph`; left as it is.
        path: File to write.
        token_types: Whether the model takes ``token_type_ids``.
        max_length: Longest sequence, in tokens.
        row_norm: Which linear layers get row-normalised inputs: feed-forward ones, all, or none.
    """
    prepared = with_int8_embedding(with_row_linear(model, row_norm))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".int8-") as folder:
        float_graph = Path(folder) / "model.onnx"
        export_graph(prepared, float_graph, token_types=token_types, max_length=max_length)
        quantise_graph(onnx.load(float_graph), path)


def with_int8_embedding(model: nn.Module) -> nn.Module:
    """Replace the word embeddings of a module by a `QuantisedEmbedding`, in place; return the module."""
    name = _word_embedding_name(model)
    embedding = model.get_submodule(name)
    if isinstance(embedding, nn.Embedding):
        replace_module(model, name, QuantisedEmbedding(embedding))
    return model


def quantise_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Quantise the large constant ``MatMul`` of a float graph dynamically and write it; small heads stay float32."""
    # Shapes recorded by the exporter contradict the quantised nodes; they are inferred again.
    del graph.graph.value_info[:]
    # The exporter has optimised the graph already. Without this mark onnxruntime logs advice on the root logger.
    graph.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    large = _large(graph)
    small = [node.name for node in graph.graph.node if node.op_type == "MatMul" and node.input[1] not in large]
    with _quiet_root():
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=small,
            extra_options={"MatMulConstBOnly": True},
        )


def _large(graph: onnx.ModelProto) -> set[str]:
    return {
        tensor.name
        for tensor in graph.graph.initializer
        if len(tensor.dims) == 2 and min(tensor.dims) >= SMALLEST_QUANTISED_SIDE
    }


@contextmanager
def _quiet_root() -> Iterator[None]:
    """Keep what onnxruntime says on the root logger to warnings, and from installing a handler there."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def serious(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    root.addHandler(handler)
    root.addFilter(serious)
    try:
        yield
    finally:
        root.removeFilter(serious)
        root.removeHandler(handler)


def _word_embedding_name(model: nn.Module) -> str:
    if isinstance(model, InteractionCrossEncoder):
        return "embeddings.word_embeddings"
    table = model.get_input_embeddings()  # type: ignore[operator]
    return next(name for name, module in model.named_modules() if module is table)
