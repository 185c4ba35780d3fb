"""What an index needs of a store of vectors; FAISS, Chroma and Pinecone are three."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Protocol

from semantic_ranker.indexes.filters import Where
from semantic_ranker.indexes.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.spaces import EmbeddingSpace

Scored = list[tuple[str, float]]
"""Ids and inner products (cosines, where vectors have length 1), best first."""


class VectorStore(Protocol):
    """Keeps vectors by id. It is given checked vectors only; raises `VectorStoreError` where it fails."""

    @property
    def kind(self) -> str:
        """``faiss``, ``chroma``, ``pinecone``."""

    def connect(self, space: EmbeddingSpace, *, empty: bool) -> None:
        """Open it for vectors of one space.

        Args:
            space: Of the vectors to come.
            empty: Whether the index that it belongs to has no passage yet.

        Raises:
            SpaceMismatchError: It holds vectors of another space.
        """

    def upsert(self, passages: Sequence[Passage], vectors: NDArray[np.float32]) -> None:
        """Add vectors, or put them in the place of those with the same id; float32 (n, dim)."""

    def delete(self, ids: Sequence[str]) -> None:
        """Take vectors out; ids that are not there are no error."""

    def search(
        self, vectors: NDArray[np.float32], k: int, *, where: Where | None, allowed: AbstractSet[str] | None
    ) -> list[Scored]:
        """Return the nearest of each vector.

        Args:
            vectors: float32 (n, dim).
            k: How many; fewer where there are fewer.
            where: A checked filter, for a store that keeps metadata.
            allowed: The ids that pass it, for a store that does not.
        """

    def describe(self) -> dict[str, Any]:
        """Return its settings for the manifest, without secrets."""

    def close(self) -> None:
        """Let go of connections."""

    def __len__(self) -> int: ...
