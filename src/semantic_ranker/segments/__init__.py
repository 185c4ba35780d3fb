"""Scoring in two steps: each side encoded alone, then their token states compared. A passage is encoded once."""

from semantic_ranker.segments.head import InteractionHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery, StateCache

__all__ = ["EncodedPassage", "EncodedQuery", "InteractionHead", "StateCache"]
