"""The file beside an index that says in which space its vectors lie, and refuses every other one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from semantic_ranker._files import locked, write_atomically
from semantic_ranker.embedding.canary import CANARY_FLOOR, Canary
from semantic_ranker.embedding.decision import PrecisionDecision
from semantic_ranker.embedding.quantize import cosines
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError
from semantic_ranker.spaces import EmbeddingSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA_VERSION = 1
VARIANT_FLOOR = 0.98
"""Least cosine of the probe texts with which another precision of the same model may share an index."""


class SpacedEmbedder(Protocol):
    """What an index needs of an embedder; `Embedder` is one."""

    @property
    def space(self) -> EmbeddingSpace:
        """Where its vectors lie."""

    def canary(self) -> Canary:
        """Return the probe texts' vectors."""

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors, float32 (n, dim)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceManifest:
    """What an index knows of the model that it was built with.

    Attributes:
        space: Of its vectors.
        canary: The probe texts, as that model embeds them.
        decision: Which precision was chosen and why, so that another host does not choose again; None where unknown.
    """

    space: EmbeddingSpace
    canary: Canary = field(repr=False)
    decision: PrecisionDecision | None = None

    @classmethod
    def of(cls, embedder: SpacedEmbedder) -> Self:
        """Describe an embedder."""
        return cls(space=embedder.space, canary=embedder.canary(), decision=getattr(embedder, "decision", None))

    def check(self, embedder: SpacedEmbedder, *, action: str = "open", floor: float = VARIANT_FLOOR) -> float:
        """Refuse an embedder of another space, or one whose description is not true.

        Args:
            embedder: What is about to be used with the index.
            action: For the message: ``open``, ``add to`` or ``query``.
            floor: Least cosine of the probe texts for another precision or backend of the same model.

        Returns:
            The least cosine of the probe texts.

        Raises:
            SpaceMismatchError: It is another model, or its probe texts are not those of the manifest.
        """
        self.space.require(embedder.space, action=action, same_family=True)
        same = self.space.fingerprint == embedder.space.fingerprint
        return self.canary.check(embedder.canary(), floor=CANARY_FLOOR if same else floor)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "space": self.space.to_dict(),
            "canary": self.canary.to_dict(),
            "decision": self.decision.to_dict() if self.decision is not None else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InvalidInputError: It is damaged, or of another version.
        """
        if values.get("schema_version") != SCHEMA_VERSION:
            raise InvalidInputError(
                f"Expected schema_version {SCHEMA_VERSION} in a space manifest, got {values.get('schema_version')!r}: "
                "the index was written by another version of semantic-ranker; build it anew."
            )
        space, canary, decision = (values.get(name) for name in ("space", "canary", "decision"))
        if not isinstance(space, dict) or not isinstance(canary, dict) or not isinstance(decision, dict | None):
            raise InvalidInputError("Expected space and canary in a space manifest, got others: build the index anew.")
        return cls(
            space=EmbeddingSpace.from_dict(space),
            canary=Canary.from_dict(canary),
            decision=PrecisionDecision.from_dict(decision) if decision is not None else None,
        )


class SpaceGuard:
    """Keeps an index to one space: the first vectors decide, in a file that outlives the process.

    Args:
        path: The manifest's file, such as ``index/space.json``.
        floor: Least cosine of the probe texts for another precision of the same model.

    Example:
        >>> import tempfile
        >>> from semantic_ranker.embedder import Embedder
        >>> folder = tempfile.mkdtemp()
        >>> guard = SpaceGuard(f"{folder}/space.json")
        >>> manifest = guard.open(Embedder(), empty=True)
        >>> guard.require(Embedder().space, action="query")
    """

    def __init__(self, path: str | os.PathLike[str], *, floor: float = VARIANT_FLOOR) -> None:
        self.path = Path(path)
        self._floor = floor
        self._checked: set[str] = set()

    def load(self) -> SpaceManifest | None:
        """Return the manifest, or None where there is none.

        Raises:
            InvalidInputError: It is damaged.
            StorageError: It cannot be read.
        """
        try:
            content = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"Cannot read {str(self.path)!r}: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"Cannot read {str(self.path)!r} ({error}): build the index anew.") from error
        if not isinstance(content, dict):
            raise InvalidInputError(f"Expected an object in {str(self.path)!r}, got {type(content).__name__}.")
        return SpaceManifest.from_dict(content)

    def open(self, embedder: SpacedEmbedder, *, empty: bool = False) -> SpaceManifest:
        """Check an embedder against the index, probe texts included; an empty index adopts its space.

        Of several processes that do so at once with an empty index, one decides and the others are checked.

        Args:
            embedder: What the index is to be used with.
            empty: Whether the index holds no vector yet.

        Raises:
            SpaceMismatchError: It is another model, or there are vectors and no manifest: see `adopt`.
        """
        if (manifest := self.load()) is None:
            if not empty:
                raise SpaceMismatchError(
                    f"Expected a manifest at {str(self.path)!r} beside an index that holds vectors, found none: nobody "
                    "knows which model they are of. Build the index anew, or use adopt() with some of its texts.",
                    fields=("manifest",),
                )
            manifest = self._claim(SpaceManifest.of(embedder))
        manifest.check(embedder, floor=self._floor)
        self._checked.add(embedder.space.fingerprint)
        return manifest

    def adopt(self, embedder: SpacedEmbedder, texts: Sequence[str], vectors: NDArray[np.float32]) -> SpaceManifest:
        """Write the manifest of an index that has none, if its own vectors prove the model.

        Args:
            embedder: The model that it is said to be built with.
            texts: Some texts of the index.
            vectors: Their vectors as stored, float (n, dim).

        Raises:
            SpaceMismatchError: The model embeds a text otherwise, or there is a manifest already.
            InvalidInputError: There is no text.
        """
        if not len(texts) or len(texts) != len(vectors):
            raise InvalidInputError(f"Expected as many vectors as texts, one at least, got {len(vectors)}.")
        found, stored = embedder.embed_documents(list(texts)), np.asarray(vectors, np.float32)
        least = float(cosines(found, stored).min()) if found.shape == stored.shape else -1.0
        if least < CANARY_FLOOR:
            raise SpaceMismatchError(
                f"Expected the index's own texts to be embedded as they are stored (cosine at least {CANARY_FLOOR}), "
                f"got {least:.4f} at the least: it was built with another model than {embedder.space.describe()}.",
                fields=("canary",),
            )
        manifest = self._claim(SpaceManifest.of(embedder))
        manifest.check(embedder, action="adopt", floor=self._floor)
        return manifest

    def require(self, space: EmbeddingSpace, *, action: str = "add to") -> None:
        """Refuse vectors of another space; cheap, for every addition and query.

        Args:
            space: Of the vectors at hand.
            action: For the message: ``add to`` or ``query``.

        Raises:
            SpaceMismatchError: They are of another model; or of another precision that `open` has not proved.
        """
        if space.fingerprint in self._checked:
            return
        manifest = self.load()
        if manifest is None:
            raise SpaceMismatchError(
                f"Expected a manifest at {str(self.path)!r}, found none: open() the index first.", fields=("manifest",)
            )
        manifest.space.require(space, action=action)
        self._checked.add(space.fingerprint)

    def _claim(self, manifest: SpaceManifest) -> SpaceManifest:
        """Write the manifest unless another process was first; return the one that counts."""
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            if (first := self.load()) is not None:
                return first
            write_atomically(self.path, json.dumps(manifest.to_dict(), indent=1) + "\n")
        return manifest
