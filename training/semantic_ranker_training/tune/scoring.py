"""Scores texts with an interaction model in training, each text encoded once, by an ONNX graph of one side."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from semantic_ranker._machine import default_threads
from semantic_ranker.model_folder import SEGMENT_HEAD, SEGMENT_WEIGHTS
from semantic_ranker.segments.engine import SegmentBackend
from semantic_ranker.segments.head import InteractionHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery
from semantic_ranker.tokenization import PairTokenizer
from semantic_ranker_training.segments import write_segments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.backends.interaction import InteractionCrossEncoder

_LENGTH, _QUERY = 512, 96


class InteractionScorer:
    """A trained model as `RankerEvaluator` takes it; close it, or use it in a ``with`` block.

    Args:
        model: As it is now.
        tokenizer: Its ``tokenizer.json``.
    """

    def __init__(self, model: InteractionCrossEncoder, tokenizer: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "onnx").mkdir()
            write_segments(model, folder, ["fp32"])
            path = folder / SEGMENT_WEIGHTS["fp32"]
            self._backend = SegmentBackend(path, "fp32", path.read_bytes())
            self._head = InteractionHead.read((folder / SEGMENT_HEAD).read_bytes())
        self._tokenizer = PairTokenizer(
            tokenizer.read_bytes(), layout="segments", max_length=_LENGTH, max_query_tokens=_QUERY
        )
        self._known: dict[str, EncodedPassage] = {}
        self._pool = ThreadPoolExecutor(default_threads())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of threads and states."""
        self._pool.shutdown()
        self._known.clear()

    def score_many(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return float32 (n_i,) logits of each query's texts, in input order."""
        missing = [text for text in dict.fromkeys(t for of in texts_per_query for t in of) if text not in self._known]
        pieces = self._tokenizer.alone(missing, windows=False) if missing else []
        states = self._pool.map(lambda of: self._backend.encode(of[0].input_ids), pieces)
        for text, of, (tokens, pooled, _) in zip(missing, pieces, states, strict=True):
            self._known[text] = EncodedPassage.of(of[0], tokens, pooled)
        return [
            self._head.score(self._query(query), [self._known[text] for text in texts])
            for query, texts in zip(queries, texts_per_query, strict=True)
        ]

    def _query(self, query: str) -> EncodedQuery:
        ids = self._tokenizer.queries([query])[0]
        tokens, pooled, importance = self._backend.encode(self._tokenizer.side(ids))
        return EncodedQuery(ids, tokens[1:-1], pooled, importance[1:-1])
