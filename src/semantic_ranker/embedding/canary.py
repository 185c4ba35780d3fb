"""Probe texts whose stored vectors prove what a fingerprint only claims."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.errors import InvalidInputError, SpaceMismatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANARY_FLOOR = 0.999
"""Least cosine between a stored canary and the same text embedded now (fp16 storage measures 1.000, int8 0.99997)."""
CANARY_DOCUMENTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Water boils at 100 degrees Celsius at sea level; at 3,000 metres it boils at about 90.",
    "def add(a: int, b: int) -> int:\n    return a + b  # adds two numbers",
    "El gato duerme en la silla mientras la lluvia golpea la ventana.",
    # Longer than the usual limits of 128 and 256 tokens, so that another limit shows.
    " ".join(
        f"Clause {number}: the tenant of flat {number * 7} pays by the day {number % 28 + 1}." for number in range(24)
    ),
)
"""Probe texts embedded as documents."""
CANARY_QUERIES = ("how do I reset my password", "WHO discovered PENICILLIN, and when?", "límite de gastos de viaje")
"""Probe texts embedded as queries: together with the documents, eight."""

Embed = Callable[[Sequence[str]], "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """Vectors of eight fixed texts, stored beside an index: what a fingerprint claims, these prove.

    Attributes:
        documents: Of `CANARY_DOCUMENTS`, float32 (5, dim).
        queries: Of `CANARY_QUERIES`, float32 (3, dim).
    """

    documents: NDArray[np.float32] = field(repr=False)
    queries: NDArray[np.float32] = field(repr=False)

    @classmethod
    def record(cls, embed_documents: Embed, embed_queries: Embed) -> Self:
        """Embed the probe texts.

        Args:
            embed_documents: From texts to float32 (n, dim), as `Embedder.embed_documents`.
            embed_queries: The same for queries.
        """
        return cls(_probe(embed_documents, CANARY_DOCUMENTS), _probe(embed_queries, CANARY_QUERIES))

    def cosine(self, other: Canary) -> float:
        """Return the least cosine between vectors of the same text; -1 for other dimensions, NaN or infinity."""
        mine, theirs = self._rows(), other._rows()
        if mine.shape != theirs.shape or not mine.size or not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
            return -1.0
        lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = np.divide((mine * theirs).sum(axis=1), lengths, out=np.zeros(len(mine)), where=lengths > 0)
        return float(cosines.min())

    def check(self, other: Canary, *, floor: float = CANARY_FLOOR, what: str = "the index") -> float:
        """Refuse a model whose vectors of the probe texts are not these.

        Args:
            other: The probe texts as the model embeds them now.
            floor: Least cosine allowed, for each text.
            what: What these were stored with, for the message.

        Returns:
            The least cosine.

        Raises:
            SpaceMismatchError: A cosine is below the floor, whatever the fingerprints say.
        """
        cosine = self.cosine(other)
        if cosine < floor:
            raise SpaceMismatchError(
                f"Expected the model to embed the probe texts of {what} as they were embedded when it was built "
                f"(cosine at least {floor}), got {cosine:.4f} at the least: weights, pooling, prompts or backend are "
                "not those that its description names. Open it with the model that it was built with.",
                fields=("canary",),
            )
        return cosine

    def to_dict(self) -> dict[str, Any]:
        """Return the vectors as base64 of little-endian float32, ready for JSON."""
        return {
            name: {"dim": rows.shape[1], "float32": base64.b64encode(rows.astype("<f4").tobytes()).decode()}
            for name, rows in (("documents", self.documents), ("queries", self.queries))
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InvalidInputError: It is damaged.
        """
        return cls(
            _vectors(values, "documents", len(CANARY_DOCUMENTS)), _vectors(values, "queries", len(CANARY_QUERIES))
        )

    def _rows(self) -> NDArray[np.float64]:
        # One after the other: the two may not even have one dimension, where they come from a forged file.
        if self.documents.shape[1] != self.queries.shape[1]:
            return np.empty((0, 0))
        return np.concatenate((self.documents, self.queries)).astype(np.float64)


def _probe(embed: Embed, texts: Sequence[str]) -> NDArray[np.float32]:
    found = np.asarray(embed(list(texts)), dtype=np.float32)
    if found.ndim != 2 or len(found) != len(texts):
        raise InvalidInputError(f"Expected {len(texts)} vectors of the probe texts, got shape {found.shape}.")
    return found


def _vectors(values: Mapping[str, Any], name: str, count: int) -> NDArray[np.float32]:
    try:
        entry = values[name]
        content = base64.b64decode(entry["float32"], validate=True)
        return np.frombuffer(content, "<f4").reshape(count, int(entry["dim"])).astype(np.float32)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InvalidInputError(
            f"Expected {count} stored vectors of the probe texts ({name}), got something else ({error}): the file is "
            "damaged; build the index anew."
        ) from error
