"""An exact index of one space in memory: quantised vectors that no other model's can be mixed with."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from semantic_ranker.embedding.quantize import Codec, Codes, Quantizer, join_codes
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker.spaces import EmbeddingSpace


class VectorTable:
    """Vectors of one space, searched exactly; threads may share it.

    The first vectors decide the space. ``int8-calibrated`` takes its ranges from the first vectors too, and fp16
    becomes fp32 for a part that needs it.

    Args:
        codec: How the vectors are stored.
        space: Of the vectors to come; None takes that of the first ones.

    Attributes:
        space: Of the vectors; None while empty and undecided.
    """

    def __init__(self, codec: Codec = "fp16", *, space: EmbeddingSpace | None = None) -> None:
        self._codec = codec
        self._quantizer = Quantizer(codec)
        self._codes: Codes | None = None
        self._lock = threading.Lock()
        self.space = space

    def __len__(self) -> int:
        return len(self._codes) if self._codes is not None else 0

    @property
    def nbytes(self) -> int:
        """Bytes that the vectors take."""
        return self._codes.nbytes if self._codes is not None else 0

    def add(self, vectors: ArrayLike, space: EmbeddingSpace) -> range:
        """Append vectors.

        Args:
            vectors: float (n, dim).
            space: Where they lie.

        Returns:
            Their row numbers.

        Raises:
            SpaceMismatchError: The table's vectors lie in another space, whether or not the dimensions agree.
            InvalidInputError: They are not finite, or not of the space's dimension.
        """
        with self._lock:
            if self.space is not None:
                self.space.require(space, action="add to")
            if self._codes is None:
                self._quantizer = Quantizer.fit(vectors, self._codec)
            codes = self._quantizer.encode(vectors)
            if codes.dim != space.dim:
                raise InvalidInputError(f"Expected vectors of {space.dim} dimensions, got {codes.dim}.")
            start = len(self)
            self._codes = codes if self._codes is None else self._joined(codes)
            self.space = space
            return range(start, len(self._codes))

    def search(
        self, queries: ArrayLike, space: EmbeddingSpace, k: int = 10
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best ``k`` rows a query with their inner products, as int64 and float32 (n_queries, k).

        Raises:
            SpaceMismatchError: The queries lie in another space.
            InvalidInputError: The table is empty, or ``k`` is no int of 1 or more.
        """
        with self._lock:
            codes, quantizer, own = self._codes, self._quantizer, self.space
        if codes is None or own is None:
            raise InvalidInputError("Expected vectors to search in, the table is empty: add() some first.")
        own.require(space, action="query")
        return quantizer.search(queries, codes, k)

    def _joined(self, codes: Codes) -> Codes:
        first = self._codes
        assert first is not None
        if first.codec != codes.codec:  # a part of fp16 had to become fp32
            exact = Quantizer("fp32")
            first, codes = (exact.encode(self._quantizer.decode(part)) for part in (first, codes))
            self._quantizer = exact
        return join_codes(first, codes)
