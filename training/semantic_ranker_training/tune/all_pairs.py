"""The head's features for every query with every passage of a step, without a copy of the passage for each query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from semantic_ranker.backends.torch import LENGTH_NORMALISATION, LENGTH_SATURATION, MEAN_LENGTH

if TYPE_CHECKING:
    from torch import Tensor

    from semantic_ranker.backends.torch import InteractionHead, Side


def all_pairs_logits(head: InteractionHead, query: Side, passage: Side) -> Tensor:
    """Return the logits of each of n queries with each of m passages, float32 (n, m).

    The same arithmetic as `InteractionHead.features` of the n * m pairs side by side; a test holds them together.
    """
    features, facts = _features(query, passage)
    joint = torch.zeros_like(features[..., :1])
    count = features.shape[0] * features.shape[1]
    every = torch.cat([features, joint], -1).reshape(count, -1)
    return head.combine(every, facts.reshape(count, -1)).view(features.shape[:2])


def _features(query: Side, passage: Side) -> tuple[Tensor, Tensor]:
    """Return features (n, m, 5) and facts (n, m, 3)."""
    words, length = query.words.sum(1), passage.words.sum(1)
    term = query.weight * query.learned
    pairs = query.words[:, None, :, None] * passage.words[None, :, None, :]
    equal = (query.match_id[:, None, :, None] == passage.match_id[None, :, None, :]).float() * pairs
    lexical, phrase = _lexical(query, term, equal, length), _phrase(query, term, equal)
    soft, mean = _soft(query, passage, pairs, length)
    cosine = query.pooled @ passage.pooled.T
    specificity = query.weight.sum(1) / words.clamp_min(1.0)
    facts = [torch.log1p(words)[:, None] / 3.0, torch.log1p(length)[None] / 5.0, specificity[:, None] / 5.0]
    return torch.stack([cosine, lexical, phrase, soft, mean], -1), torch.stack(
        [fact.expand_as(cosine) for fact in facts], -1
    )


def _lexical(query: Side, term: Tensor, equal: Tensor, length: Tensor) -> Tensor:
    found = equal.sum(-1)
    norm = 1.0 - LENGTH_NORMALISATION + LENGTH_NORMALISATION * length / MEAN_LENGTH
    saturated = found * (LENGTH_SATURATION + 1.0) / (found + LENGTH_SATURATION * norm[None, :, None])
    return (term[:, None] * saturated).sum(-1) / (term.sum(1) + 1e-6)[:, None]


def _phrase(query: Side, term: Tensor, equal: Tensor) -> Tensor:
    adjacent = (equal[..., :-1, :-1] * equal[..., 1:, 1:]).amax(-1)
    both = (term[:, :-1] + term[:, 1:]) * query.words[:, :-1] * query.words[:, 1:]
    return (both[:, None] * adjacent).sum(-1) / (both.sum(1) + 1e-6)[:, None]


def _soft(query: Side, passage: Side, pairs: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted and the plain mean of each query token's best cosine, each (n, m)."""
    similarity = (query.tokens.flatten(0, 1) @ passage.tokens.flatten(0, 1).T).view(
        *query.words.shape, *passage.words.shape
    )
    similarity = similarity.transpose(1, 2) - (1.0 - pairs) * 4.0
    best = similarity.amax(-1).clamp_min(-1.0) * query.words[:, None] * (length > 0).float()[None, :, None]
    weight = (query.weight + 0.05 * query.words) * query.learned
    soft = (best * weight[:, None]).sum(-1) / (weight.sum(1) + 1e-6)[:, None]
    return soft, best.sum(-1) / query.words.sum(1).clamp_min(1.0)[:, None]
