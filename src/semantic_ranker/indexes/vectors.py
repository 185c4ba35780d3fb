"""The one gate before every store: vectors of the right dimension, finite and not zero, or a typed refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import EmbedderContractError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_vectors(vectors: Any, *, count: int, dim: int, zeros: bool = False) -> NDArray[np.float32]:
    """Return vectors that every store takes.

    Stores disagree about bad ones (measured): FAISS keeps NaN and asserts without a message on another dimension,
    Chroma answers a NaN query with results, Pinecone's client refuses numpy's own floats.

    Args:
        vectors: Numbers, (count, dim), of any numeric type and memory order.
        count: Rows expected.
        dim: Components expected.
        zeros: Whether rows of zeros pass; they are similar to nothing.

    Returns:
        float32 (count, dim), C-contiguous.

    Raises:
        EmbedderContractError: The shape is another, or a row is NaN, infinite or zero; ``.indices`` says which.
    """
    try:
        found = np.ascontiguousarray(vectors, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise EmbedderContractError(f"Expected {count} vectors of {dim} numbers, got others ({error}).") from error
    if found.ndim != 2 or found.shape != (count, dim):
        raise EmbedderContractError(
            f"Expected vectors of shape ({count}, {dim}), got {found.shape}: the index holds vectors of {dim} numbers."
        )
    if bad := np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist():
        raise EmbedderContractError(
            f"Expected finite vectors, got NaN or infinity in {len(bad)} of {count}, first at {bad[0]}.", bad
        )
    if not zeros and (bad := zero_rows(found)):
        raise EmbedderContractError(
            f"Expected vectors that are not zero, got {len(bad)} of {count}, first at {bad[0]}: they are similar to "
            "nothing.",
            bad,
        )
    return found


def zero_rows(vectors: NDArray[np.float32]) -> list[int]:
    """Return the places of vectors whose length is zero in float32, so that nothing can be compared with them."""
    lengths = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    found: list[int] = np.flatnonzero(lengths < float(np.finfo(np.float32).tiny)).tolist()
    return found
