"""How training data are prepared: plain values, checked."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.prepare.strategies import STRATEGIES


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareConfig:
    """How pairs are made, filtered and split.

    Attributes:
        strategies: Names of `STRATEGIES`, in order of preference: of equal pairs the first stays.
        num_pairs: Pairs to keep, drawn at random; None keeps all.
        negatives: Negatives a pair, 0 for none; they come from the part that the pair is in.
        split: Shares of train, validation and test; None makes one part.
        max_overlap: Share of the query's words that a passage may have.
        consistency: First ranks of a search in which the passage has to be; None leaves the search out.
        embedder: Model whose search counts beside BM25's, and which mines negatives; None uses BM25 alone.
        generator: Generator of further queries, for `open_generator`; None for none.
        passage_words: Words of a passage.
        language: Snowball stemmer of BM25.
        seed: Of all random choices.

    Raises:
        InvalidInputError: A value is out of range.
    """

    strategies: tuple[str, ...] = tuple(STRATEGIES)
    num_pairs: int | None = None
    negatives: int = 0
    split: tuple[float, float, float] | None = None
    max_overlap: float = 0.8
    consistency: int | None = 20
    embedder: str | None = None
    generator: str | None = None
    passage_words: int = 180
    language: str = "english"
    seed: int = 42

    def __post_init__(self) -> None:
        unknown = [name for name in self.strategies if name not in STRATEGIES]
        if unknown or not (self.strategies or self.generator):
            raise InvalidInputError(f"Expected strategies of {', '.join(STRATEGIES)}, got {unknown or 'none'}.")
        for name, least in (("num_pairs", 1), ("negatives", 0), ("consistency", 1), ("passage_words", 20)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidInputError(f"Expected {name} of {least} or more, got {value}.")
        if not 0 < self.max_overlap <= 1:
            raise InvalidInputError(f"Expected max_overlap above 0 and at most 1, got {self.max_overlap}.")
        if self.split is not None:
            _check_split(self.split)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


def _check_split(split: tuple[float, ...]) -> None:
    if any(not share > 0 for share in split) or not math.isclose(sum(split), 1.0, abs_tol=1e-6):
        raise InvalidInputError(f"Expected three shares above 0 that sum to 1, such as 0.8 0.1 0.1, got {list(split)}.")
