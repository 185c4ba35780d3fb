"""What gives an index its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.embedding.canary import Canary
    from semantic_ranker.spaces import EmbeddingSpace


class IndexEmbedder(Protocol):
    """What an index needs of an embedder; `Embedder` is one."""

    @property
    def space(self) -> EmbeddingSpace:
        """Where its vectors lie."""

    def canary(self) -> Canary:
        """Return the probe texts' vectors."""

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors, float32 (n, dim)."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors, float32 (n, dim)."""
