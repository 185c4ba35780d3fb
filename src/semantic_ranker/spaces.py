"""Embedding spaces: what decides a vector, in one comparable value, with probe texts that catch metadata that lies.

Vectors of two models never belong in one index, even where their dimensions agree: measured, texts embedded by
another model are found 0 to 1 % of the time, and no vector store notices.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from semantic_ranker.embedding.canary import CANARY_DOCUMENTS, CANARY_FLOOR, CANARY_QUERIES, Canary
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError

__all__ = [
    "CANARY_DOCUMENTS",
    "CANARY_FLOOR",
    "CANARY_QUERIES",
    "TEXT_NORMALIZER",
    "Canary",
    "EmbeddingSpace",
]

TEXT_NORMALIZER = "surrogates-1"
"""Version of what is done to a text before its tokens are read: lone surrogates become U+FFFD, nothing else."""
_SHA256_LENGTH = 64
_VARIANT = ("backend", "precision", "graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpace:
    """Everything that changes a vector.

    Two spaces with the same `fingerprint` give the same vector to the same text. Two with the same `family` are one
    model at two precisions or on two backends: they may share an index once a `Canary` agrees, and never a cache key.

    Attributes:
        model: Name of the model. It counts only where ``weights`` is no sha256: a renamed folder is the same model.
        weights: Sha256 of the model's weights in hex; of a model that others run, its revision.
        tokenizer: Sha256 of the tokenizer's file in hex, or its name and version.
        dim: Length of a vector.
        backend: What runs it: ``onnx``, ``torch``, ``static``, or another name.
        precision: Of the computation: ``fp32``, ``fp16`` or ``int8``.
        graph: Sha256 of the file that is run, where that is not the weights themselves.
        pooling: How token states become one vector, such as ``mean``, ``cls``; ``model`` where the graph does it.
        normalize: Whether vectors have length 1.
        max_length: Tokens read of a text, specials included; 0 where there is no limit.
        query_prompt: Put in front of queries.
        document_prompt: Put in front of documents.
        truncate_dim: Components kept of the model's own; None keeps all.
        normalizer: Version of what is done to texts first.
    """

    model: str
    weights: str
    tokenizer: str
    dim: int
    backend: str = "onnx"
    precision: str = "fp32"
    graph: str = ""
    pooling: str = "mean"
    normalize: bool = True
    max_length: int = 512
    query_prompt: str = ""
    document_prompt: str = ""
    truncate_dim: int | None = None
    normalizer: str = TEXT_NORMALIZER

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not _fits(value, str(entry.type)):
                raise InvalidInputError(
                    f"Expected {entry.name} of an embedding space to be {entry.type}, got {value!r}."
                )
        if self.dim < 1:
            raise InvalidInputError(f"Expected dim of an embedding space to be 1 or more, got {self.dim}.")

    @property
    def fingerprint(self) -> str:
        """Sha256 in hex over every field that changes a vector."""
        return _fingerprint(self)

    @property
    def short(self) -> str:
        """The first 12 characters of the fingerprint, for keys and messages."""
        return self.fingerprint[:12]

    @property
    def family(self) -> str:
        """Sha256 in hex over every field but backend, precision and graph."""
        return _digest({name: value for name, value in self._identity().items() if name not in _VARIANT})

    def differences(self, other: EmbeddingSpace) -> dict[str, tuple[Any, Any]]:
        """Return the fields that keep two spaces apart, each with this space's value and the other's."""
        mine, theirs = self._identity(), other._identity()
        names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        return {name: (mine.get(name), theirs.get(name)) for name in names}

    def require(self, other: EmbeddingSpace, *, action: str = "use", same_family: bool = False) -> None:
        """Refuse vectors of another space.

        Args:
            other: The space of the vectors at hand; ``self`` is the one that is expected.
            action: What is about to happen, for the message: ``open``, ``add to``, ``query``.
            same_family: Whether another precision or backend of the same model will do; check a `Canary` as well.

        Raises:
            SpaceMismatchError: It is another space; the message names both and the fields that differ.
        """
        if not isinstance(other, EmbeddingSpace):
            raise InvalidInputError(f"Expected an EmbeddingSpace, got {type(other).__name__}.")
        if self.fingerprint == other.fingerprint or (same_family and self.family == other.family):
            return
        differences = self.differences(other)
        listed = "; ".join(f"{name}: {_shown(mine)} / {_shown(theirs)}" for name, (mine, theirs) in differences.items())
        raise SpaceMismatchError(
            f"Expected vectors of {self.describe()}, got {other.describe()}, to {action} an index or cache; they "
            f"differ in {listed}. Open it with the model that it was built with, or build it anew with this one.",
            fields=tuple(differences),
        )

    def describe(self) -> str:
        """Return name, dimension, precision, backend and short fingerprint on one line."""
        return f"{self.model!r} ({self.dim} dimensions, {self.precision}, {self.backend}, space {self.short})"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and the fingerprint, ready for JSON."""
        return {**asdict(self), "fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InvalidInputError: A field is absent, unknown or of another type, or the fingerprint does not belong to it.
        """
        content = dict(values)
        stored = content.pop("fingerprint", None)
        known = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(content) - known):
            raise InvalidInputError(
                f"Expected an embedding space, got unknown fields {', '.join(unknown)}: it was written by another "
                "version of semantic-ranker."
            )
        try:
            space = cls(**content)
        except TypeError as error:
            raise InvalidInputError(f"Expected all fields of an embedding space: {error}.") from error
        if stored is not None and stored != space.fingerprint:
            raise InvalidInputError(
                f"Expected the fingerprint {space.fingerprint[:12]} for these fields, got {str(stored)[:12]}: "
                "the space was changed by hand, or written by another version of semantic-ranker."
            )
        return space

    def _identity(self) -> dict[str, Any]:
        values = asdict(self)
        if _is_sha256(self.weights):
            del values["model"]
        return values


@functools.lru_cache(maxsize=256)
def _fingerprint(space: EmbeddingSpace) -> str:
    return _digest(space._identity())


def _digest(values: Mapping[str, Any]) -> str:
    # JSON quotes each field: ("a", "b:c") and ("a:b", "c") stay apart.
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _is_sha256(text: str) -> bool:
    return len(text) == _SHA256_LENGTH and not set(text) - set("0123456789abcdef")


def _fits(value: object, annotation: str) -> bool:
    if annotation == "bool":
        return isinstance(value, bool)
    if annotation == "str":
        return isinstance(value, str)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return whole or (value is None and annotation.endswith("None"))


def _shown(value: object) -> str:
    text = value[:12] if isinstance(value, str) and _is_sha256(value) else value
    return repr(text) if not isinstance(text, str) or len(text) <= 40 else repr(text[:40]) + "…"
