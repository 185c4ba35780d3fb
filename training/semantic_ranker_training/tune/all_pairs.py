"""The head's logits for every query with every passage of a step, without a copy of the passage for each query."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import torch

from semantic_ranker.backends.interaction import Side

if TYPE_CHECKING:
    from torch import Tensor

    from semantic_ranker.backends.interaction import InteractionHead


def all_pairs_logits(head: InteractionHead, query: Side, passage: Side) -> Tensor:
    """Return the logits of each of n queries with each of m passages, float32 (n, m)."""
    # One product of two matrices: a broadcast one would copy the passages' tokens for each query.
    similarity = query.tokens.flatten(0, 1) @ passage.tokens.flatten(0, 1).T
    similarity = similarity.view(*query.words.shape, *passage.words.shape).transpose(1, 2)
    features, facts = head.features(_with_axis(query, 1), _with_axis(passage, 0), similarity)
    every = torch.cat([features, torch.zeros_like(features[..., :1])], -1)
    return head.combine(every.flatten(0, 1), facts.flatten(0, 1)).view(features.shape[:2])


def _with_axis(side: Side, axis: int) -> Side:
    return Side(*(getattr(side, entry.name).unsqueeze(axis) for entry in fields(Side)))
