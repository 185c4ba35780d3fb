"""Token states of many texts from a frozen encoder, computed once and kept on disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from semantic_ranker.backends.interaction import InteractionCrossEncoder, Segments, mean_pool
from semantic_ranker.tokenization import bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Encode = Callable[["Tensor", "Tensor"], "Tensor"]
"""Token ids and mask, int64 (batch, length), to states, float32 (batch, length, hidden)."""


@dataclass(frozen=True, slots=True)
class RaggedStates:
    """Token states of n texts, one after the other.

    Attributes:
        ids: int32 (tokens,).
        offsets: int64 (n + 1,); text i has the tokens ``offsets[i]:offsets[i + 1]``.
        states: float16 (tokens, hidden).
        pooled: float32 (n, hidden), mean over all tokens, L2-normalised.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    states: NDArray[np.float16]
    pooled: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write one ``.npz``, to a temporary name first."""
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, ids=self.ids, offsets=self.offsets, states=self.states, pooled=self.pooled)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as content:
            return cls(content["ids"], content["offsets"], content["states"], content["pooled"])

    @staticmethod
    def ids_of(path: Path) -> list[list[int]]:
        """Read the token ids alone of what `save` wrote, text by text."""
        with np.load(path) as content:
            ids, offsets = content["ids"], content["offsets"]
        return [ids[start:end].tolist() for start, end in itertools.pairwise(offsets)]

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids, int64, mask, float32, both (batch, longest), and states, float32 (batch, longest, hidden)."""
        lengths = [int(self.offsets[row + 1] - self.offsets[row]) for row in rows]
        ids = np.zeros((len(rows), max(lengths)), np.int64)
        mask = np.zeros(ids.shape, np.float32)
        states = np.zeros((*ids.shape, self.states.shape[1]), np.float16)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            tokens = slice(self.offsets[row], self.offsets[row] + length)
            ids[place, :length] = self.ids[tokens]
            mask[place, :length] = 1.0
            states[place, :length] = self.states[tokens]
        return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(states).float()


@torch.inference_mode()
def encode_states(
    token_ids: Sequence[Sequence[int]], encode: Encode, *, label: str, tokens_per_batch: int = 2048
) -> RaggedStates:
    """Encode tokenised texts, specials included, in batches of similar length.

    Args:
        token_ids: Ids of each text.
        encode: The encoder.
        label: What the progress bar says.
        tokens_per_batch: Padded size of a batch.
    """
    lengths = np.array([len(ids) for ids in token_ids])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = np.concatenate([np.asarray(ids, np.int32) for ids in token_ids])
    states: NDArray[np.float16] | None = None
    pooled: NDArray[np.float32] | None = None
    order = np.argsort(lengths, kind="stable")
    start = 0
    with tqdm(total=len(order), desc=label, unit="text", disable=None) as bar:
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * lengths[order[end]] <= tokens_per_batch:
                end += 1
            rows = order[start:end]
            ids, mask = padded([token_ids[row] for row in rows])
            output = encode(ids, mask)
            if states is None or pooled is None:
                states = np.zeros((offsets[-1], output.shape[-1]), np.float16)
                pooled = np.zeros((len(order), output.shape[-1]), np.float32)
            pooled[rows] = mean_pool(output, mask.float()).numpy()
            half = output.half().numpy()
            for place, row in enumerate(rows):
                states[offsets[row] : offsets[row + 1]] = half[place, : lengths[row]]
            bar.update(end - start)
            start = end
    if states is None or pooled is None:
        raise ValueError("expected at least one text to encode, got none")
    return RaggedStates(flat, offsets, states, pooled)


def mean_state(states: RaggedStates) -> NDArray[np.float64]:
    """Return the mean over texts of each text's mean state, float64 (hidden,)."""
    totals = np.add.reduceat(states.states.astype(np.float64), states.offsets[:-1])
    mean: NDArray[np.float64] = (totals / np.diff(states.offsets)[:, None]).mean(0)
    return mean


def take_off(model: InteractionCrossEncoder, mean: NDArray[np.float64]) -> None:
    """Take a mean off all states of a model, for good and at no cost: through the bias of its last layer.

    Args:
        model: Is changed.
        mean: (hidden,).
    """
    last = f"encoder.layer.{model.config.num_hidden_layers - 1}.output.LayerNorm.bias"
    model.state_dict()[last].sub_(torch.from_numpy(mean).float())


def padded(token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids and mask, int64 (batch, longest), of texts of any lengths."""
    longest = max(len(ids) for ids in token_ids)
    ids = torch.zeros(len(token_ids), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(token_ids):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids, mask


def bare_tokenizer(folder: Path) -> Tokenizer:
    """Open a folder's ``tokenizer.json``, without truncation and padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def open_bi_encoder(folder: Path, *, joint_layers: int = 0) -> InteractionCrossEncoder:
    """Start an `InteractionCrossEncoder` from a bi-encoder; its tokenizer says where a segment begins and ends.

    Raises:
        ModelLoadError: It is not BERT-shaped, or its vocabulary has no such tokens.
    """
    model = InteractionCrossEncoder.from_bi_encoder(folder, joint_layers=joint_layers)
    first, last = bounds(bare_tokenizer(folder))
    model.config = replace(model.config, cls_token_id=first, sep_token_id=last)
    return model


def base_tokens(tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> list[list[int]]:
    """Return BERT-style ids ``[CLS] text [SEP]`` of at most ``limit`` tokens a text."""
    encodings = tokenizer.encode_batch([text[: limit * 32] for text in texts])
    return [
        encoding.ids if len(encoding.ids) <= limit else [*encoding.ids[: limit - 1], encoding.ids[-1]]
        for encoding in encodings
    ]


def split_states(model: InteractionCrossEncoder) -> Encode:
    """Return the encoder of one segment alone: the model's split layers."""

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        segments = Segments.of(ids, mask, torch.zeros_like(ids), model.config)
        states = model.embeddings(ids, segments.positions)
        bias = segments.within()
        for layer in model.encoder.layer:
            states = layer(states, bias)
        return states

    return encode


def teacher_states(folder: str | Path, texts: Sequence[str], limit: int, *, label: str) -> RaggedStates:
    """Encode with a sentence-transformers folder that mean-pools a transformer; states are L2-normalised.

    Args:
        folder: Local folder.
        texts: The texts.
        limit: Tokens kept of a text.
        label: What the progress bar says.
    """
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    tokenizer = bare_tokenizer(Path(folder))

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        output: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return output

    found = encode_states(base_tokens(tokenizer, texts, limit), encode, label=label, tokens_per_batch=1024)
    norms = np.linalg.norm(found.states.astype(np.float32), axis=1, keepdims=True)
    return RaggedStates(
        found.ids, found.offsets, (found.states / np.maximum(norms, 1e-6)).astype(np.float16), found.pooled
    )
