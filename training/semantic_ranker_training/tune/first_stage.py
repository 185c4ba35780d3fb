"""What a reranker is given: BM25, vectors, and both fused by ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semantic_ranker import BM25Index
from semantic_ranker.fusion import fuse_rrf
from semantic_ranker_training.terms import stop_words
from semantic_ranker_training.tune.embedder import KeptEmbedder

Ranking = dict[str, dict[str, float]]


class FirstStage:
    """Lexical and dense search of passages.

    Args:
        texts: Text by id.
        embedder: Of the dense half.
        stemmer: Snowball stemmer of BM25.
    """

    def __init__(self, texts: Mapping[str, str], embedder: KeptEmbedder, stemmer: str) -> None:
        self._ids = list(texts)
        self._embedder = embedder
        self._stop = stop_words(stemmer)
        self._bm25 = BM25Index([self._said(text) for text in texts.values()], language=stemmer)
        self._vectors = embedder.embed_documents(list(texts.values())) if texts else None

    def runs(self, queries: Mapping[str, str], depth: int = 100) -> dict[str, Ranking]:
        """Return the rankings of ``BM25``, ``dense`` and ``RRF`` by query id, at most ``depth`` passages each."""
        lexical = {
            qid: {self._ids[row]: score for row, score in found}
            for qid, found in zip(
                queries, self._bm25.search_many([self._said(of) for of in queries.values()], depth), strict=True
            )
        }
        dense = self._dense(queries, depth)
        fused = {qid: dict(list(scores.items())[:depth]) for qid, scores in fuse_rrf([lexical, dense]).items()}
        return {"BM25": lexical, "dense": dense, "RRF": {qid: fused.get(qid, {}) for qid in queries}}

    def _said(self, text: str) -> str:
        return " ".join(word for word in text.split() if word.lower() not in self._stop) if self._stop else text

    def _dense(self, queries: Mapping[str, str], depth: int) -> Ranking:
        if self._vectors is None or not queries:
            return {qid: {} for qid in queries}

        asked = self._embedder.embed_queries(list(queries.values()))
        found: Ranking = {}
        for qid, vector in zip(queries, asked, strict=True):
            scores = self._vectors @ vector
            best = np.argsort(-scores, kind="stable")[:depth]
            found[qid] = {self._ids[row]: float(scores[row]) for row in best}
        return found
