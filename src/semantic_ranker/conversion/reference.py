"""BERT-like models in plain numpy, written from their papers' formulas: what a converted graph is checked against.

Vaswani et al. 2017 (attention), Devlin et al. 2019 (BERT), Hendrycks and Gimpel 2016 (GELU). Slow, and for single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.conversion.encoder_graph import HEADS, UNIT, USUAL_HEAD
from semantic_ranker.embedding.pooling import normalized, pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.conversion.encoder_weights import EncoderWeights
    from semantic_ranker.embedding.texts import TextTokenizer

    Array = NDArray[np.float32]

# Abramowitz and Stegun 1964, formula 7.1.26: the error function within 1.5e-7.
_ERF_P = 0.3275911
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
Dense = tuple[Mapping[str, "Array"], str]


def encode(weights: EncoderWeights, ids: NDArray[np.int64], types: NDArray[np.int64]) -> Array:
    """Return the last states of one unpadded row, float32 (length, hidden), from int64 (length,) each."""
    tensors = weights.tensors
    states = tensors["embeddings.word_embeddings.weight"][ids] + weights.positions()[: len(ids)]
    if weights.token_types:
        states = states + tensors["embeddings.token_type_embeddings.weight"][types]
    states = _norm(states, tensors, "embeddings.LayerNorm", weights.epsilon)
    if "embeddings_project.weight" in tensors:
        states = _linear(states, tensors, "embeddings_project")
    bias = _relative(weights, len(ids))
    for depth in range(weights.layers):
        layer = weights.layer(depth)
        attended = _attention(states, layer, weights.heads, bias)
        mixed = states + _linear(attended, layer, "attention.output.dense")
        states = _norm(mixed, layer, "attention.output.LayerNorm", weights.epsilon)
        inner = _gelu(_linear(states, layer, "intermediate.dense"))
        states = _norm(states + _linear(inner, layer, "output.dense"), layer, "output.LayerNorm", weights.epsilon)
    return states


class ReferenceReranker:
    """A one-label sequence classifier; a backend like those that run graphs.

    Args:
        weights: With a head, as `encoder_graph.reranker_graph` demands it.
    """

    name, precision = "reference", "fp32"

    def __init__(self, weights: EncoderWeights) -> None:
        self._weights = weights
        self.uses_token_types = weights.token_types

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> Array:
        """Return logits, float32 (batch,), from three int64 (batch, length) arrays."""
        rows = zip(input_ids, attention_mask.astype(bool), token_type_ids, strict=True)
        return np.asarray([self._one(ids[mask], types[mask]) for ids, mask, types in rows], np.float32)

    def _one(self, ids: NDArray[np.int64], types: NDArray[np.int64]) -> float:
        inner, outer, activation = HEADS.get(self._weights.family, USUAL_HEAD)
        tensors = self._weights.tensors
        hidden = ACTIVATIONS[activation](_linear(encode(self._weights, ids, types)[0], tensors, inner))
        return float(_linear(hidden, tensors, outer)[0])


class ReferenceEmbedder:
    """A bi-encoder, from texts to vectors.

    Args:
        weights: The encoder.
        tokenizer: From texts to inputs.
        pooling: As for `encoder_graph.embedder_graph`.
        dense: As there.
        normalize: Whether vectors get length 1.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        tokenizer: TextTokenizer,
        *,
        pooling: Sequence[str],
        dense: Sequence[Dense] = (),
        normalize: bool = True,
    ) -> None:
        self._weights, self._tokenizer = weights, tokenizer
        self._pooling, self._dense, self._normalize = tuple(pooling), tuple(dense), normalize

    def run(self, texts: Sequence[str]) -> Array:
        """Return the vectors of texts, float32 (n_texts, dim)."""
        inputs = [item for chunk in self._tokenizer.chunks(texts) for item in chunk]
        return np.stack([self._one(item.input_ids, item.token_type_ids) for item in inputs])

    def _one(self, ids: NDArray[np.int64], types: NDArray[np.int64]) -> Array:
        states = encode(self._weights, ids, types)[None]
        vectors = pool(states, np.ones((1, len(ids)), np.int64), self._pooling)
        for tensors, activation in self._dense:
            unit = activation == UNIT
            vectors = normalized(vectors) if unit else ACTIVATIONS[activation](_linear(vectors, tensors, "linear"))
        found: Array = (normalized(vectors) if self._normalize else vectors)[0]
        return found


def _attention(states: Array, layer: Mapping[str, Array], heads: int, bias: Array | float) -> Array:
    parts = [_linear(states, layer, f"attention.self.{part}") for part in ("query", "key", "value")]
    query, key, value = (part.reshape(len(states), heads, -1).transpose(1, 0, 2) for part in parts)
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1])) + bias
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    found: Array = (shares @ value).transpose(1, 0, 2).reshape(len(states), -1)
    return found


def _relative(weights: EncoderWeights, length: int) -> Array | float:
    table = weights.relative_bias()
    if table is None:
        return 0.0
    distance = np.arange(length) - np.arange(length)[:, None]
    return table[:, distance + table.shape[1] // 2]


def _linear(states: Array, tensors: Mapping[str, Array], name: str) -> Array:
    product: Array = states @ tensors[f"{name}.weight"].T
    bias = tensors.get(f"{name}.bias")
    return product if bias is None else product + bias


def _norm(states: Array, tensors: Mapping[str, Array], name: str, epsilon: float) -> Array:
    centred = states - states.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(epsilon))
    found: Array = centred / scale * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
    return found


def _gelu(values: Array) -> Array:
    x = values / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(_ERF_P) * np.abs(x))
    found: Array = values * (1 + np.sign(x) * (1 - np.polyval([*_ERF, 0], t) * np.exp(-(x**2)))) / 2
    return found.astype(np.float32)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Tanh": np.tanh,
    "Identity": lambda values: values,
    "Relu": lambda values: np.maximum(values, 0),
    "Gelu": _gelu,
    "Sigmoid": lambda values: (1 / (1 + np.exp(-values))).astype(np.float32),
}
"""By the names of ONNX operators."""
