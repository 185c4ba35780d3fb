"""Dense candidates by exact search, with the documents' vectors on disk, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.hard_negatives.blocks import write_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGITS = 5


class TextEmbedder(Protocol):
    """What dense mining needs of a model."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors, (n, dim)."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors, (n, dim)."""
        ...


class SentenceTransformerEmbedder:
    """A sentence-transformers model under the two verbs that mining needs, vectors L2-normalised.

    Args:
        model: The model, or anything with its ``encode``.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, dim), with the model's own query prompt."""
        return self._encode("encode_query", texts)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, dim), with the model's own document prompt."""
        return self._encode("encode_document", texts)

    def _encode(self, verb: str, texts: Sequence[str]) -> NDArray[np.float32]:
        encode = getattr(self._model, verb, self._model.encode)
        return np.asarray(
            encode(list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True), np.float32
        )


def as_embedder(model: Any) -> TextEmbedder:
    """Return a model under the verbs of `TextEmbedder`.

    Args:
        model: An object with ``embed_queries`` and ``embed_documents``, a sentence-transformers model, a folder, hub id
            or name for `semantic_ranker.embedder.Embedder`, or None for the bundled embedder.

    Raises:
        InvalidInputError: It is none of these.
        ModelLoadError: There is no such model, or it cannot be opened.
    """
    if model is None or isinstance(model, (str, Path)):
        from semantic_ranker.embedder import Embedder

        opened: TextEmbedder = Embedder(None if model is None else str(model))
        return opened
    if hasattr(model, "embed_queries") and hasattr(model, "embed_documents"):
        found: TextEmbedder = model
        return found
    if hasattr(model, "encode"):
        return SentenceTransformerEmbedder(model)
    raise InvalidInputError(
        "Expected an embedder with embed_queries and embed_documents, or a sentence-transformers model, got "
        f"{type(model).__name__}."
    )


class DenseIndex:
    """Exact search over the vectors of documents, which lie in a folder.

    Args:
        embedder: Gives the vectors.
        documents: The texts.
        folder: Where the vectors are kept; blocks that are there already are not computed again.
        block: Documents a block.

    Raises:
        InvalidInputError: The embedder gives something else than one finite vector a text.
    """

    def __init__(self, embedder: TextEmbedder, documents: Sequence[str], folder: Path, block: int) -> None:
        self._embedder, self._block, self._folder = embedder, block, folder
        self._paths: list[Path] = []
        starts = range(0, len(documents), block)
        for number, start in enumerate(tqdm(starts, desc="embed documents", unit="block", disable=None, delay=2)):
            path = folder / f"documents-{number:06d}.npy"
            if not path.is_file():
                texts = list(documents[start : start + block])
                write_array(path, _checked(embedder.embed_documents(texts), len(texts)))
            self._paths.append(path)

    def embed(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of queries, float32 (n, dim)."""
        return _checked(self._embedder.embed_queries(list(queries)), len(queries))

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and scores of the best documents, best first, int64 and float32 (queries, at most k).

        Equal scores are ordered by row. One block of documents is in memory at a time.
        """
        rows = np.zeros((len(queries), 0), np.int64)
        scores = np.zeros((len(queries), 0), np.float32)
        for number, path in enumerate(self._paths):
            found = _rounded(queries @ np.load(path, mmap_mode="r").T)
            best = _top(found, k)
            rows = np.concatenate([rows, best + number * self._block], 1)
            scores = np.concatenate([scores, np.take_along_axis(found, best, 1)], 1)
            order = np.lexsort((rows, -scores), axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
        return rows, scores

    def scores(self, query: NDArray[np.float32], rows: Sequence[int]) -> NDArray[np.float32]:
        """Return the scores of some documents for one query vector, float32 (rows,)."""
        found = np.zeros(len(rows), np.float32)
        for number in sorted({row // self._block for row in rows}):
            places = [place for place, row in enumerate(rows) if row // self._block == number]
            vectors = np.load(self._paths[number], mmap_mode="r")
            found[places] = vectors[[rows[place] - number * self._block for place in places]] @ query
        return _rounded(found)


def _rounded(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    # The last digits depend on how many rows are multiplied at once, and must not decide between equal texts.
    rounded: NDArray[np.float32] = np.round(scores, _DIGITS)
    return rounded


def _top(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    if scores.shape[1] <= k:
        return np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    # Whole numbers that no two columns share: of equal scores the first column is taken, whatever the block.
    width = scores.shape[1]
    keys = np.rint(scores.astype(np.float64) * 10**_DIGITS).astype(np.int64) * width - np.arange(width)
    return np.sort(np.argpartition(-keys, k - 1, axis=1)[:, :k], axis=1)


def _checked(vectors: Any, count: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.ascontiguousarray(vectors, dtype=np.float32)
    if found.ndim != 2 or len(found) != count:
        raise InvalidInputError(f"Expected the embedder to give {count} vectors, got an array of shape {found.shape}.")
    if not np.isfinite(found).all():
        raise InvalidInputError("Expected the embedder to give finite vectors, got NaN or infinity in them.")
    return found
