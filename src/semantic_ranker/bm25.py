"""Lexical first stage: Okapi BM25 over a list of texts, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BM25Index:
    """BM25 (Lucene variant, Snowball stems) through bm25s, without its traps.

    Texts without any query word are never returned, ties keep input order, and neither an empty collection nor
    an unknown query word nor a large ``k`` is an error.

    Args:
        texts: The collection; results are positions in it.
        k1: Term frequency saturation.
        b: Length normalisation, 0 to 1.
        language: Snowball stemmer, such as ``english`` or ``spanish``. English stop words are dropped for English.

    Raises:
        InvalidInputError: A text is not a string, or there is no stemmer for ``language``.
    """

    def __init__(self, texts: Sequence[str], *, k1: float = 1.2, b: float = 0.75, language: str = "english") -> None:
        import bm25s
        import Stemmer

        if language not in Stemmer.algorithms():
            raise InvalidInputError(
                f"Expected a Snowball language ({', '.join(Stemmer.algorithms())}), got {language!r}."
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidInputError(f"Expected str at index {index}, got {type(text).__name__}.", index)
        self._size = len(texts)
        self._stemmer = Stemmer.Stemmer(language)
        self._stopwords = "en" if language == "english" else []
        self._index = None
        tokens = self._tokenize(list(texts))
        if any(tokens):
            self._index = bm25s.BM25(method="lucene", k1=k1, b=b)
            self._index.index(tokens, show_progress=False)

    def __len__(self) -> int:
        return self._size

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return the score of every text, float32 (n,), 0 where no query word occurs."""
        if not isinstance(query, str):
            raise InvalidInputError(f"Expected the query to be a str, got {type(query).__name__}.")
        if self._index is None:
            return np.zeros(self._size, dtype=np.float32)
        known = [token for token in self._tokenize([query])[0] if token in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        found: NDArray[np.float32] = np.asarray(self._index.get_scores(known), dtype=np.float32)
        return found

    def search(self, query: str, k: int = 10) -> list[tuple[int, float]]:
        """Return the best ``(index, score)``, at most ``k``, best first.

        Raises:
            InvalidInputError: ``k`` is not an int of 1 or more.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InvalidInputError(f"Expected k to be an int of 1 or more, got {k!r}.")
        scores = self.scores(query)
        best = np.argsort(-scores, kind="stable")[:k]
        return [(int(index), float(scores[index])) for index in best if scores[index] > 0]

    def search_many(self, queries: Sequence[str], k: int = 10) -> list[list[tuple[int, float]]]:
        """Return `search` for each query, in order."""
        return [self.search(query, k) for query in queries]

    def _tokenize(self, texts: list[str]) -> list[list[str]]:
        import bm25s

        tokens: list[list[str]] = bm25s.tokenize(
            texts, stopwords=self._stopwords, stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        return tokens
