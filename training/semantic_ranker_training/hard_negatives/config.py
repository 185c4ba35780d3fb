"""How hard negatives are mined: plain values, checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from semantic_ranker.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningConfig:
    """Which candidates become negatives.

    Attributes:
        negatives: Negatives a query, hard and random together.
        random_share: Share of them, 0 to 1, drawn from all documents; all-hard negatives cost quality out of domain.
        candidates: Documents taken from each retriever.
        retrievers: ``bm25``, ``dense`` or both; two are fused by reciprocal ranks.
        first_rank: First rank of the fused list, from 1, that may become a negative.
        last_rank: Last such rank.
        score_ratio: A candidate is dropped if its dense score is above this times the positive's (TopK-PercPos of
            NV-Retriever, arXiv:2407.15831): it is likely to answer the query too. None keeps all. With several
            positives the lowest of their scores counts.
        near_duplicate: Overlap from which a candidate repeats a positive; None compares words only.
        pick: ``top`` takes the highest ranks, ``sample`` draws from the window.
        veto_margin: With a teacher, a candidate is dropped if its score is above the positive's less this.
        language: Snowball stemmer of BM25.
        seed: Of all random choices.
        block: Queries mined at a time; bounds memory, and is what a restart may lose.
        block_documents: Documents embedded and compared at a time.

    Raises:
        InvalidInputError: A value is out of range.
    """

    negatives: int = 7
    random_share: float = 0.25
    candidates: int = 50
    retrievers: tuple[Literal["bm25", "dense"], ...] = ("bm25", "dense")
    first_rank: int = 1
    last_rank: int = 100
    score_ratio: float | None = 0.95
    near_duplicate: float | None = 0.8
    pick: Literal["top", "sample"] = "top"
    veto_margin: float = 0.0
    language: str = "english"
    seed: int = 13
    block: int = 256
    block_documents: int = 4096

    def __post_init__(self) -> None:
        for name in ("negatives", "candidates", "first_rank", "block", "block_documents"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInputError(f"Expected {name} to be an int of 1 or more, got {value!r}.")
        if not 0 <= self.random_share <= 1:
            raise InvalidInputError(f"Expected random_share from 0 to 1, got {self.random_share!r}.")
        if self.last_rank < self.first_rank:
            raise InvalidInputError(f"Expected last_rank of {self.first_rank} or more, got {self.last_rank!r}.")
        if not self.retrievers or set(self.retrievers) - {"bm25", "dense"}:
            raise InvalidInputError(f"Expected retrievers of 'bm25' and 'dense', got {self.retrievers!r}.")
        for name in ("score_ratio", "near_duplicate"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InvalidInputError(f"Expected {name} above 0 and at most 1, or None, got {value!r}.")
        if self.score_ratio is not None and "dense" not in self.retrievers:
            raise InvalidInputError("Expected score_ratio=None without the dense retriever: it compares dense scores.")
        if self.pick not in ("top", "sample"):
            raise InvalidInputError(f"Expected pick to be 'top' or 'sample', got {self.pick!r}.")

    @property
    def random(self) -> int:
        """Random negatives a query."""
        return round(self.negatives * self.random_share)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content
