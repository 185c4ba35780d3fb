"""Lexical first stage: Okapi BM25 over a list of texts, in memory or from a folder."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SETTINGS_FILE = "bm25.json"
_QUERIES_AT_ONCE = 1000  # bounds the tokens held in memory


class BM25Index:
    """BM25 (Lucene variant, Snowball stems) through bm25s, without its traps.

    Texts without any query word are never returned, ties keep input order, and neither an empty collection nor
    an unknown query word nor a large ``k`` is an error. Words are runs of two or more letters or digits, lower case.
    An index does not change, so threads may share it, and it can be pickled.

    Args:
        texts: The collection; results are positions in it.
        k1: Term frequency saturation, 0 or more.
        b: Length normalisation, 0 to 1.
        language: Snowball stemmer, such as ``english`` or ``spanish``. English stop words are dropped for English.

    Raises:
        InvalidInputError: A text is not a string, ``k1`` or ``b`` is out of range, or there is no stemmer for
            ``language``.
    """

    def __init__(self, texts: Sequence[str], *, k1: float = 1.2, b: float = 0.75, language: str = "english") -> None:
        import Stemmer

        bm25s = _library()
        _check_texts(texts)
        if not 0 <= k1 < float("inf") or not 0 <= b <= 1:
            raise InvalidInputError(f"Expected k1 of 0 or more and b from 0 to 1, got k1={k1!r} and b={b!r}.")
        if language not in Stemmer.algorithms():
            raise InvalidInputError(
                f"Expected a Snowball language ({', '.join(Stemmer.algorithms())}), got {language!r}."
            )
        self._size = len(texts)
        self._language = language
        self._index: Any = None
        tokens = self._tokenize(list(texts))
        if any(tokens):
            self._index = bm25s.BM25(method="lucene", k1=k1, b=b)
            self._index.index(tokens, show_progress=False)

    def __len__(self) -> int:
        return self._size

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return the score of every text, float32 (n,), 0 where no query word occurs.

        Raises:
            InvalidInputError: The query is not a string.
        """
        if not isinstance(query, str):
            raise InvalidInputError(f"Expected the query to be a str, got {type(query).__name__}.")
        return self._scores(self._tokenize([query])[0])

    def search(self, query: str, k: int = 10) -> list[tuple[int, float]]:
        """Return the best ``(index, score)``, at most ``k``, best first, equal scores in input order.

        Raises:
            InvalidInputError: The query is not a string, or ``k`` is not an int of 1 or more.
        """
        _check_k(k)
        return _best(self.scores(query), k)

    def search_many(self, queries: Sequence[str], k: int = 10) -> list[list[tuple[int, float]]]:
        """Return `search` for each query, in order.

        Raises:
            InvalidInputError: A query is not a string, or ``k`` is not an int of 1 or more.
        """
        _check_k(k)
        _check_texts(queries)
        found: list[list[tuple[int, float]]] = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            tokens = self._tokenize(list(queries[start : start + _QUERIES_AT_ONCE]))
            found.extend(_best(self._scores(of_query), k) for of_query in tokens)
        return found

    def save(self, folder: Path) -> None:
        """Write the index into a folder, as bm25s does: arrays and JSON.

        Raises:
            StorageError: The disk is full or refuses.
        """
        try:
            if self._index is not None:
                self._index.save(folder, show_progress=False)
            content = {"size": self._size, "language": self._language, "empty": self._index is None}
            (folder / _SETTINGS_FILE).write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"Cannot write the BM25 index to {str(folder)!r}: {error.strerror or error}.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            StorageError: It is absent or damaged.
        """
        bm25s = _library()
        try:
            content = json.loads((folder / _SETTINGS_FILE).read_bytes())
            index = cls([], language=content["language"])
            index._size = int(content["size"])
            if not content["empty"]:
                index._index = bm25s.BM25.load(folder, show_progress=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"Cannot read the BM25 index in {str(folder)!r} ({type(error).__name__}).") from error
        return index

    def _scores(self, tokens: list[str]) -> NDArray[np.float32]:
        known = [] if self._index is None else [token for token in tokens if token in self._index.vocab_dict]
        if self._index is None or not known:
            return np.zeros(self._size, dtype=np.float32)
        scores: NDArray[np.float32] = np.asarray(self._index.get_scores(known), dtype=np.float32)
        return scores

    def _tokenize(self, texts: list[str]) -> list[list[str]]:
        import Stemmer

        # A stemmer costs microseconds, and one object could neither be pickled nor be shared by threads.
        tokens: list[list[str]] = _library().tokenize(
            texts,
            stopwords="en" if self._language == "english" else [],
            stemmer=Stemmer.Stemmer(self._language),
            return_ids=False,
            show_progress=False,
        )
        return tokens


def _library() -> Any:
    """Return bm25s, its logger at the application's level: on import it sets its own to DEBUG."""
    fresh = "bm25s" not in sys.modules
    import bm25s

    if fresh:
        logging.getLogger("bm25s").setLevel(logging.NOTSET)
    return bm25s


def _best(scores: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    found = np.flatnonzero(scores > 0)
    if len(found) > k:
        # Keeps everything that ties with the last place, so that the cut follows input order.
        found = found[scores[found] >= np.partition(scores[found], -k)[-k]]
    found = found[np.argsort(-scores[found], kind="stable")[:k]]
    return list(zip(found.tolist(), scores[found].tolist(), strict=True))


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InvalidInputError(f"Expected k to be an int of 1 or more, got {k!r}.")


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, (str, bytes)):
        raise InvalidInputError(f"Expected a list of str, got one {type(texts).__name__}: put it in a list.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"Expected str at index {index}, got {type(text).__name__}.", index)
