"""What a cache demands of the vectors that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import EmbedderContractError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_vectors(
    given: Any, count: int, dim: int, *, allow_non_finite: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return vectors as float32 (count, dim), and which of them are finite.

    Args:
        given: An array of any float type, lists, or a tensor of any device.
        count: Texts that were embedded.
        dim: Of the embedding space.
        allow_non_finite: Whether NaN and infinity are let through, marked.

    Raises:
        EmbedderContractError: Another number or dimension, no numbers, or not finite.
    """
    try:
        if hasattr(given, "detach"):
            # A tensor: numpy knows neither its device nor bfloat16.
            given = given.detach().cpu().float().numpy()
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EmbedderContractError(
            f"Expected vectors of shape {(count, dim)}, got {type(given).__name__} that is no table of numbers."
        ) from error
    if vectors.shape != (count, dim):
        raise EmbedderContractError(
            f"Expected vectors of shape {(count, dim)}, one a text, got {vectors.shape}: nothing is kept of them."
        )
    finite = np.isfinite(vectors).all(axis=1)
    if not (finite.all() or allow_non_finite):
        bad = np.flatnonzero(~finite).tolist()
        raise EmbedderContractError(
            f"Expected finite vectors, got NaN or infinity for {len(bad)} of {count} texts: nothing is kept of them.",
            bad,
        )
    return vectors, np.asarray(finite)
