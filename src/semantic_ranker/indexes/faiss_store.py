"""Vectors in a FAISS index, in memory and in one file: exact, HNSW or IVF, chosen by their number.

Up to 100,000 vectors an exact search is fast enough that nothing is gained by missing a neighbour; then a graph (HNSW);
from a million on inverted lists (IVF), which are built in less time and take less memory. What each misses and takes is
in ``benchmarks/results/indexes.json``.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError
from semantic_ranker.indexes.filters import Where
from semantic_ranker.indexes.passage import Passage
from semantic_ranker.indexes.store import Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.spaces import EmbeddingSpace

IndexType: TypeAlias = Literal["auto", "flat", "hnsw", "ivf"]

FLAT_UP_TO = 100_000
HNSW_UP_TO = 1_000_000
VECTORS_FILE = "vectors.faiss"
ROWS_FILE = "rows.json"

_TYPES = ("auto", "flat", "hnsw", "ivf")
_LINKS = 32  # of a node of the graph
_EF_CONSTRUCTION = 120
_EF_SEARCH = 128
_FEWEST_PER_LIST = 39  # FAISS warns below
_PROBED_SHARE = 1 / 16
_MOST_DEAD = 0.2
_EXACT_SHARE = 0.1  # filters that leave less are searched one by one: a graph loses its way among refused nodes


def choose_type(count: int) -> Literal["flat", "hnsw", "ivf"]:
    """Return the type of index for a number of vectors."""
    return "flat" if count <= FLAT_UP_TO else "hnsw" if count <= HNSW_UP_TO else "ivf"


class FaissStore:
    """Vectors in this process; see `VectorStore`.

    Until it is settled, that is at each save, it is exact whatever its type; deleted vectors are left out of every
    answer at once and leave the memory when it is settled.

    Args:
        index_type: ``auto`` chooses by the number of vectors, see `choose_type`.

    Raises:
        InvalidInputError: There is no such type.
        ModuleNotFoundError: The extra ``faiss`` is not installed.
    """

    kind = "faiss"

    def __init__(self, index_type: IndexType = "auto") -> None:
        if index_type not in _TYPES:
            raise InvalidInputError(f"Expected index_type to be one of {', '.join(_TYPES)}, got {index_type!r}.")
        with requires_extra("faiss"):
            import faiss
        self._faiss: Any = faiss
        self._wanted = index_type
        self._type = "flat"
        self._index: Any = None
        self._ids: list[str | None] = []
        self._rows: dict[str, int] = {}
        self._lock = threading.RLock()

    @property
    def index_type(self) -> str:
        """What it is at this moment: ``flat``, ``hnsw`` or ``ivf``."""
        return self._type

    @property
    def ids(self) -> AbstractSet[str]:
        """The ids of its vectors."""
        return self._rows.keys()

    def connect(self, space: EmbeddingSpace, *, empty: bool) -> None:
        """See `VectorStore.connect`."""
        if self._index is None:
            self._index = self._faiss.IndexFlatIP(space.dim)
        if self._index.d != space.dim:
            raise SpaceMismatchError(
                f"Expected vectors of {self._index.d} numbers, as the FAISS index has, got a model of {space.dim}.",
                fields=("dim",),
            )

    def upsert(self, passages: Sequence[Passage], vectors: NDArray[np.float32]) -> None:
        """See `VectorStore.upsert`."""
        with self._lock:
            self.delete([passage.id for passage in passages])
            # Of the same id twice in one call the last counts.
            last = {passage.id: place for place, passage in enumerate(passages)}
            if not last:
                return
            self._index.add(np.ascontiguousarray(vectors[list(last.values())]))
            self._rows.update(zip(last, range(len(self._ids), len(self._ids) + len(last)), strict=True))
            self._ids.extend(last)

    def delete(self, ids: Sequence[str]) -> None:
        """See `VectorStore.delete`."""
        with self._lock:
            for name in ids:
                if (row := self._rows.pop(name, None)) is not None:
                    self._ids[row] = None

    def search(
        self, vectors: NDArray[np.float32], k: int, *, where: Where | None, allowed: AbstractSet[str] | None
    ) -> list[Scored]:
        """See `VectorStore.search`."""
        with self._lock:
            rows = None if allowed is None else np.array(sorted(self._rows[i] for i in allowed if i in self._rows), int)
            usable = len(self._rows) if rows is None else len(rows)
            if not usable or not len(vectors):
                return [[] for _ in range(len(vectors))]
            if rows is not None and self._type != "flat" and len(rows) < _EXACT_SHARE * len(self._ids):
                scores, places = self._exact(vectors, rows, min(k, usable))
            else:
                scores, places = self._index.search(vectors, min(k, usable), params=self._parameters(k, rows))
            return [
                [(name, float(score)) for score, row in zip(*found, strict=True) if (name := self._named(row))]
                for found in zip(scores.tolist(), places.tolist(), strict=True)
            ]

    def describe(self) -> dict[str, Any]:
        """See `VectorStore.describe`."""
        return {"kind": self.kind, "index_type": self._wanted}

    def close(self) -> None:
        """See `VectorStore.close`; nothing is open."""

    def __len__(self) -> int:
        return len(self._rows)

    def settle(self) -> None:
        """Let go of deleted vectors, and become the type that its size asks for. The index may be built anew."""
        with self._lock:
            if self._index is None:
                return
            wanted = choose_type(len(self._rows)) if self._wanted == "auto" else self._wanted
            if wanted == "ivf" and len(self._rows) < 2 * _FEWEST_PER_LIST:
                wanted = "flat"  # too few to train lists with
            dead = len(self._ids) - len(self._rows)
            if wanted == self._type and dead <= (0 if wanted == "flat" else _MOST_DEAD * len(self._ids)):
                return
            alive = np.array([row for row, name in enumerate(self._ids) if name is not None], np.int64)
            vectors = self._index.reconstruct_batch(alive) if len(alive) else np.empty((0, self._index.d), np.float32)
            names = [name for name in self._ids if name is not None]
            self._index, self._type = self._built(wanted, vectors), wanted
            self._ids, self._rows = list(names), {name: row for row, name in enumerate(names)}

    def save(self, folder: Path) -> None:
        """Write the index and its ids into a folder.

        Raises:
            StorageError: The disk is full or refuses.
        """
        with self._lock:
            self.settle()
            try:
                if self._index is not None:
                    self._faiss.write_index(self._index, str(folder / VECTORS_FILE))
                content = {"type": self._type, "wanted": self._wanted, "ids": self._ids}
                (folder / ROWS_FILE).write_text(json.dumps(content), encoding="utf-8")
            except (RuntimeError, OSError) as error:
                raise StorageError(f"Cannot write the FAISS index to {str(folder)!r}: {_short(error)}.") from error

    @classmethod
    def load(cls, folder: Path) -> FaissStore:
        """Read what `save` wrote.

        Raises:
            StorageError: It is absent, damaged, or its parts do not fit together.
        """
        try:
            content = json.loads((folder / ROWS_FILE).read_bytes())
            store = cls(content["wanted"])
            store._type, store._ids = content["type"], content["ids"]
            store._rows = {name: row for row, name in enumerate(store._ids) if name is not None}
            if (folder / VECTORS_FILE).exists():
                store._index = store._faiss.read_index(str(folder / VECTORS_FILE))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"Cannot read the FAISS index in {str(folder)!r}: {_short(error)}.") from error
        store._check(folder)
        return store

    def _check(self, folder: Path) -> None:
        held = 0 if self._index is None else self._index.ntotal
        metric = self._faiss.METRIC_INNER_PRODUCT if self._index is None else self._index.metric_type
        if held != len(self._ids) or metric != self._faiss.METRIC_INNER_PRODUCT or self._type not in _TYPES:
            raise StorageError(
                f"Expected as many inner-product vectors as ids ({len(self._ids)}) in {str(folder)!r}, got {held}: its "
                "files do not belong together; build the index anew."
            )

    def _built(self, wanted: str, vectors: NDArray[np.float32]) -> Any:
        inner, dim = self._faiss.METRIC_INNER_PRODUCT, self._index.d
        if wanted == "hnsw":
            index = self._faiss.IndexHNSWFlat(dim, _LINKS, inner)
            index.hnsw.efConstruction = _EF_CONSTRUCTION
        elif wanted == "ivf":
            lists = max(1, min(int(4 * math.sqrt(len(vectors))), len(vectors) // _FEWEST_PER_LIST))
            index = self._faiss.IndexIVFFlat(self._faiss.IndexFlatIP(dim), dim, lists, inner)
            index.train(vectors)
            index.make_direct_map()  # rows can be read back
        else:
            index = self._faiss.IndexFlatIP(dim)
        index.add(vectors)
        return index

    def _parameters(self, k: int, rows: NDArray[np.int64] | None) -> Any:
        chosen: dict[str, Any] = {}
        if rows is not None or len(self._rows) < len(self._ids):
            mask = np.zeros(len(self._ids), bool)
            mask[list(self._rows.values()) if rows is None else rows] = True
            chosen["sel"] = self._faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if self._type == "hnsw":
            return self._faiss.SearchParametersHNSW(efSearch=max(_EF_SEARCH, 2 * k), **chosen)
        if self._type == "ivf":
            probed = max(8, math.ceil(self._index.nlist * _PROBED_SHARE))
            return self._faiss.SearchParametersIVF(nprobe=min(probed, self._index.nlist), **chosen)
        return self._faiss.SearchParameters(**chosen) if chosen else None

    def _exact(
        self, vectors: NDArray[np.float32], rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores = vectors @ self._index.reconstruct_batch(rows).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, axis=1), rows[best]

    def _named(self, row: int) -> str | None:
        return self._ids[row] if row >= 0 else None  # FAISS fills up with -1


def _short(error: Exception) -> str:
    # FAISS puts its source file and function in front.
    return " ".join(str(error).split())[-200:] or type(error).__name__
