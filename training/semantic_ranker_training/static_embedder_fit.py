"""Fits token vectors so that their sum points where the teacher's vector of the text points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import trange

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from semantic_ranker_training.static_embedder import StaticRecipe

_CHARACTERS_PER_TOKEN = 8


@dataclass(frozen=True, slots=True)
class TokenBags:
    """Tokens of n texts, one after the other.

    Attributes:
        ids: int64 (tokens,).
        offsets: int64 (n + 1,); text i has the tokens ``offsets[i]:offsets[i + 1]``, one at least.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def rows(self, chosen: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of some texts and where each begins, as `torch.nn.EmbeddingBag` takes them."""
        parts = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in chosen]
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(starts)


def token_bags(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> TokenBags:
    """Tokenise texts, without specials; a text without any token gets the unknown token.

    Args:
        tokenizer: Without truncation or padding.
        texts: The texts.
        max_tokens: Tokens kept of a text.
    """
    unknown = tokenizer.token_to_id("[UNK]") or 0
    heads = [text[: max_tokens * _CHARACTERS_PER_TOKEN] for text in texts]
    found = [e.ids[:max_tokens] or [unknown] for e in tokenizer.encode_batch_fast(heads, add_special_tokens=False)]
    offsets = np.cumsum([0, *map(len, found)])
    return TokenBags(np.fromiter((token for ids in found for token in ids), np.int64, offsets[-1]), offsets)


@torch.inference_mode()
def vocabulary_vectors(encoder: torch.nn.Module, special_ids: tuple[int, int], size: int) -> NDArray[np.float32]:
    """Return the mean-pooled state of every token alone, ``[CLS] token [SEP]``: float32 (size, hidden).

    Args:
        encoder: A transformer, as ``transformers.AutoModel`` opens it.
        special_ids: Ids of the tokens before and after.
        size: Of the vocabulary.
    """
    first, last = special_ids
    parts = []
    for start in trange(0, size, 1024, desc="vocabulary", unit="block", disable=None):
        ids = torch.tensor([[first, token, last] for token in range(start, min(size, start + 1024))])
        output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        parts.append(output.mean(dim=1).numpy())
    return np.concatenate(parts)


def sif_weights(bags: TokenBags, size: int, smoothing: float) -> NDArray[np.float32]:
    """Return ``a / (a + p)`` of every token, p its share of all tokens, each counted once more: float32 (size,).

    Arora et al. 2017: a sum of word vectors says more when frequent words count less.
    """
    counts = np.bincount(bags.ids, minlength=size) + 1.0
    weights: NDArray[np.float32] = (smoothing / (smoothing + counts / counts.sum())).astype(np.float32)
    return weights


def projection(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Return the directions that keep most of the vectors' length, uncentred, so that cosines stay: (width, dim)."""
    _, directions = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    return np.ascontiguousarray(directions[:, ::-1][:, :dim])


def initial_vectors(
    vocabulary: NDArray[np.float32], weights: NDArray[np.float32], directions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return where the fit starts: centred token vectors in the targets' directions, weighted, of mean length 1."""
    found = ((vocabulary - vocabulary.mean(axis=0)) @ directions) * weights[:, None]
    return (found / np.linalg.norm(found, axis=1).mean()).astype(np.float32)


def fit(
    start: NDArray[np.float32], bags: TokenBags, targets: NDArray[np.float32], recipe: StaticRecipe
) -> tuple[NDArray[np.float32], list[dict[str, float]]]:
    """Move token vectors until the cosine of a text's sum to its target is as high as it gets.

    Tokens that no text holds stay where they began. A twentieth of the texts is held out, to watch.

    Args:
        start: float32 (vocabulary, dim).
        bags: Tokens of the texts.
        targets: The teacher's vectors of the texts in as many dimensions, L2-normalised.
        recipe: Rate, batch and epochs.

    Returns:
        float32 (vocabulary, dim), and the log: mean loss and held-out cosine of each epoch.
    """
    torch.manual_seed(recipe.seed)
    table = torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(start.copy()), freeze=False, mode="sum", sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=recipe.learning_rate)
    held = max(1, len(targets) // 20)
    steps = max(1, recipe.epochs) * max(1, (len(targets) - held) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / recipe.warmup_steps) * (1 - step / steps)
    )
    wanted = torch.from_numpy(targets)

    def cosine(rows: NDArray[np.intp]) -> torch.Tensor:
        return torch.nn.functional.cosine_similarity(table(*bags.rows(rows)), wanted[rows])

    log = []
    for epoch in trange(recipe.epochs, desc="fit", unit="epoch", disable=None):
        losses = []
        for rows in _batches(held, len(targets), recipe, epoch):
            loss = 1 - cosine(rows).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()  # type: ignore[no-untyped-call]
            schedule.step()
            losses.append(loss.item())
        with torch.no_grad():
            watched = float(cosine(np.arange(held)).mean())
        log.append({"epoch": epoch + 1, "loss": float(np.mean(losses)), "held_out_cosine": watched})
    return table.weight.detach().numpy(), log


def _batches(held: int, size: int, recipe: StaticRecipe, epoch: int) -> Iterator[NDArray[np.intp]]:
    order = held + np.random.default_rng([recipe.seed, epoch]).permutation(size - held)
    for first in range(0, max(1, len(order) - recipe.batch_size + 1), recipe.batch_size):
        yield order[first : first + recipe.batch_size]
