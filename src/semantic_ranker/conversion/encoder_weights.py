"""Weights and shape of BERT-like encoders, read from a folder without torch, under BERT's own names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Families, with the place of the first real position in their tables.
_FIRST_POSITION = {"bert": 0, "distilbert": 0, "electra": 0, "roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}
_PREFIX = re.compile(r"^(bert|roberta|distilbert|electra|mpnet)\.")
_RENAMED = (
    (".gamma.", ".weight."),
    (".beta.", ".bias."),
    ("transformer.layer.", "encoder.layer."),
    (".attention.q_lin.", ".attention.self.query."),
    (".attention.k_lin.", ".attention.self.key."),
    (".attention.v_lin.", ".attention.self.value."),
    (".attention.out_lin.", ".attention.output.dense."),
    (".sa_layer_norm.", ".attention.output.LayerNorm."),
    (".ffn.lin1.", ".intermediate.dense."),
    (".ffn.lin2.", ".output.dense."),
    (".output_layer_norm.", ".output.LayerNorm."),
    (".attention.attn.q.", ".attention.self.query."),
    (".attention.attn.k.", ".attention.self.key."),
    (".attention.attn.v.", ".attention.self.value."),
    (".attention.attn.o.", ".attention.output.dense."),
    (".attention.LayerNorm.", ".attention.output.LayerNorm."),
)
_DTYPES: dict[str, str] = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderWeights:
    """A BERT-like encoder.

    Attributes:
        family: ``model_type`` of its config.
        heads: Attention heads.
        layers: Their number.
        epsilon: Of its layer norms.
        length_limit: Most tokens of one input.
        tensors: float32 arrays by BERT's names without the family's prefix; linear weights are (out, in).
    """

    family: str
    heads: int
    layers: int
    epsilon: float
    length_limit: int
    tensors: Mapping[str, NDArray[np.float32]] = field(repr=False)

    @classmethod
    def read(cls, config: Mapping[str, Any], path: Path) -> Self:
        """Read a ``model.safetensors`` whose config `is_bert_like`.

        Raises:
            ModelLoadError: The file is absent or damaged, or lacks tensors.
        """
        return cls.of(config, read_safetensors(path), path.name)

    @classmethod
    def of(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]], name: str) -> Self:
        """Take tensors as they are named in a file.

        Raises:
            ModelLoadError: Some are missing; the message names the first.
        """
        family = str(config["model_type"])
        renamed = {_renamed(key): value for key, value in tensors.items()}
        layers = int(config.get("num_hidden_layers", config.get("n_layers", 0)))
        missing = [key for key in _expected(layers) if key not in renamed]
        if missing:
            raise ModelLoadError(
                f"Expected the weights of a {family} encoder with {layers} layers in {name}, {len(missing)} are "
                f"missing, the first: {missing[0]}. The file does not belong to its config.json; save the model again."
            )
        first = _FIRST_POSITION[family]
        return cls(
            family=family,
            heads=int(config.get("num_attention_heads", config.get("n_heads", 0))),
            layers=layers,
            # DistilBERT's is fixed in code.
            epsilon=1e-12 if family == "distilbert" else float(config.get("layer_norm_eps", 1e-12)),
            length_limit=len(renamed["embeddings.position_embeddings.weight"]) - first,
            tensors=renamed,
        )

    @property
    def width(self) -> int:
        """Hidden size."""
        return len(self.tensors["encoder.layer.0.attention.output.dense.bias"])

    @property
    def products(self) -> int:
        """Numbers in the matrices of all layers, which int8 rounds."""
        layers = (value for name, value in self.tensors.items() if name.startswith("encoder.layer."))
        return sum(value.size for value in layers if value.ndim > 1)

    @property
    def token_types(self) -> bool:
        """Whether the encoder tells queries from texts by ``token_type_ids``."""
        table = self.tensors.get("embeddings.token_type_embeddings.weight")
        return table is not None and len(table) > 1

    def layer(self, depth: int) -> dict[str, NDArray[np.float32]]:
        """Return one layer's tensors by their names inside the layer."""
        prefix = f"encoder.layer.{depth}."
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def positions(self) -> NDArray[np.float32]:
        """Return what is added for each position, (length_limit, width): with the only token type, if there is one."""
        table = self.tensors["embeddings.position_embeddings.weight"][_FIRST_POSITION[self.family] :]
        types = self.tensors.get("embeddings.token_type_embeddings.weight")
        return table + types[0] if types is not None and not self.token_types else table

    def relative_bias(self) -> NDArray[np.float32] | None:
        """Return MPNet's attention bias by distance, (heads, 2 * length_limit - 1); None for other families.

        Column ``length_limit - 1 + key - query``; buckets as T5 defines them (Raffel et al. 2020), 32 up to 128.
        """
        table = self.tensors.get("encoder.relative_attention_bias.weight")
        if table is None:
            return None
        distance = np.arange(-self.length_limit + 1, self.length_limit)
        half = len(table) // 2
        size, exact = np.abs(distance), half // 2
        ratio = np.log(np.maximum(size, 1).astype(np.float32) / exact) / np.log(128 / exact)
        far = np.minimum(exact + (ratio * (half - exact)).astype(np.int64), half - 1)
        bucket = np.where(size < exact, size, far) + np.where(distance > 0, half, 0)
        return np.ascontiguousarray(table[bucket].T)


def is_bert_like(config: Mapping[str, Any]) -> bool:
    """Whether `EncoderWeights` knows a model by its ``config.json``."""
    return (
        config.get("model_type") in _FIRST_POSITION
        and config.get("hidden_act", config.get("activation")) == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and config.get("pad_token_id", 0) == (0 if _FIRST_POSITION[str(config["model_type"])] == 0 else 1)
        and config.get("relative_attention_num_buckets", 32) == 32
        and not config.get("sinusoidal_pos_embds")
    )


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read every floating tensor of a safetensors file as float32 (bfloat16 and float16 are widened).

    Raises:
        ModelLoadError: The file is absent or damaged.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise ModelLoadError(f"Cannot read {path.name}: {error.strerror}.") from error
    return tensors_of(content, path.name)


def tensors_of(content: bytes | memoryview, name: str) -> dict[str, NDArray[np.float32]]:
    """Do what `read_safetensors` does with the bytes of a file.

    The format (https://github.com/huggingface/safetensors#format): the length of a JSON header in eight bytes, the
    header with type, shape and place of each tensor, then the tensors.

    Raises:
        ModelLoadError: The bytes are damaged.
    """
    view = memoryview(content)
    try:
        size = int.from_bytes(view[:_LENGTH_BYTES], "little")
        header, data = json.loads(bytes(view[_LENGTH_BYTES : _LENGTH_BYTES + size])), view[_LENGTH_BYTES + size :]
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        if max((entry["data_offsets"][1] for entry in entries.values()), default=0) != len(data):
            raise ValueError("it ends too early or too late")
        return {key: tensor for key, entry in entries.items() if (tensor := _array(entry, data)) is not None}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelLoadError(f"{name} is no complete safetensors file ({error}): copy it again.") from error


def _array(entry: Mapping[str, Any], data: memoryview) -> NDArray[np.float32] | None:
    kind, shape = entry["dtype"], [int(size) for size in entry["shape"]]
    if kind not in _DTYPES:
        return None
    first, last = entry["data_offsets"]
    if not 0 <= first <= last <= len(data):
        raise ValueError("a tensor lies outside the file")
    stored = np.frombuffer(data[first:last], _DTYPES[kind])
    if stored.size != math.prod(shape):
        raise ValueError("a tensor has another size than its shape")
    if kind == "BF16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return stored.astype(np.float32).reshape(shape)


def _renamed(name: str) -> str:
    padded = _PREFIX.sub("", name) + "."
    for old, new in _RENAMED:
        padded = padded.replace(old, new)
    return padded[:-1]


def _expected(layers: int) -> list[str]:
    dense = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    parts = (*dense, "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
    names = [f"encoder.layer.{depth}.{part}" for depth in range(max(layers, 1)) for part in parts]
    tables = ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"]
    return [*tables, *(f"{name}.{kind}" for name in ["embeddings.LayerNorm", *names] for kind in ("weight", "bias"))]
