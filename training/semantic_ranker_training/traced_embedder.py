"""Bi-encoders of other families than BERT's (ModernBERT, DeBERTa, ...), traced by torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

from semantic_ranker.backends.torch_embedder import _dense, _open
from semantic_ranker.errors import ModelLoadError
from semantic_ranker_training.export_options import GRAPHS
from semantic_ranker_training.graph import export_graph, with_row_linear
from semantic_ranker_training.quantization import quantise_graph, with_int8_embedding

if TYPE_CHECKING:
    from semantic_ranker.conversion.graph_builder import RowNorm
    from semantic_ranker.embedding.folder import EmbedderSettings

_TRACED = ("mean", "cls", "max", "mean_sqrt_len_tokens")


class _Sentence(nn.Module):
    """Encoder, pooling, linear layers and normalisation in one."""

    def __init__(
        self, encoder: nn.Module, dense: Sequence[tuple[nn.Module, bool]], pooling: Sequence[str], normalize: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.dense = nn.ModuleList(layer for layer, _ in dense)
        self.unit_inputs = [of_unit for _, of_unit in dense]
        self.pooling = tuple(pooling)
        self.normalize = normalize

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings."""
        table: nn.Module = self.encoder.get_input_embeddings()  # type: ignore[operator]
        return table

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return float32 (batch, dim)."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        vector = torch.cat([_pooled(states, mask, mode) for mode in self.pooling], dim=-1)
        for layer, of_unit in zip(self.dense, self.unit_inputs, strict=True):
            vector = layer(nn.functional.normalize(vector, dim=-1) if of_unit else vector)
        return nn.functional.normalize(vector, dim=-1) if self.normalize else vector


def write_traced(
    folder: Path, settings: EmbedderSettings, normalize: bool, precisions: Sequence[str], row_norm: RowNorm
) -> None:
    """Write the fp32 graph and, if asked for, the int8 one of the folder's own weights.

    Args:
        folder: With config and weights.
        settings: What its files say.
        normalize: Whether vectors get length 1.
        precisions: ``int8`` in it writes the int8 graph too.
        row_norm: Linear layers whose int8 inputs are normalised row by row.

    Raises:
        ModelLoadError: transformers cannot open it, it is no encoder, or its pooling cannot be traced.
    """
    if unknown := [mode for mode in settings.pooling if mode not in _TRACED]:
        raise ModelLoadError(
            f"Expected pooling out of {', '.join(_TRACED)} for this family of model, got {', '.join(unknown)}."
        )
    encoder = _open(folder)
    if getattr(encoder.config, "is_encoder_decoder", False):
        kind = getattr(encoder.config, "model_type", "another")
        raise ModelLoadError(f"Expected an encoder, got {kind}, an encoder with a decoder: use its encoder alone.")
    dense = [(_dense(folder / path), path in settings.unit_inputs) for path in settings.dense]
    model = _Sentence(encoder, dense, settings.pooling, normalize).eval()
    types = "token_type_ids" in encoder.forward.__code__.co_varnames
    limit, output = settings.length_limit, "sentence_embedding"
    export_graph(with_row_linear(model), folder / GRAPHS["fp32"], token_types=types, max_length=limit, output=output)
    if "int8" not in precisions:
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        path = Path(scratch) / "model.onnx"
        prepared = with_int8_embedding(with_row_linear(model, row_norm))
        export_graph(prepared, path, token_types=types, max_length=limit, output=output)
        quantise_graph(onnx.load(path), folder / GRAPHS["int8"])


def _pooled(states: Tensor, mask: Tensor, mode: str) -> Tensor:
    if mode == "cls":
        return states[:, 0]
    if mode == "max":
        return states.masked_fill(mask == 0, torch.finfo(states.dtype).min).amax(1)
    count = mask.sum(1).clamp_min(1e-9)
    return (states * mask).sum(1) / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)
