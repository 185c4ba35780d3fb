"""Vectors of the dense first stage, kept on disk by the hash of each text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from semantic_ranker._arguments import Options
from semantic_ranker._engine import scoring_pool
from semantic_ranker._machine import default_threads
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.choice import choose_model
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import BUNDLED, SEGMENT_WEIGHTS, ModelFolder
from semantic_ranker.segments.engine import SegmentEngine
from semantic_ranker_training.hard_negatives.blocks import write_array
from semantic_ranker_training.hard_negatives.dense import TextEmbedder
from semantic_ranker_training.tune.base import Base

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ENCODED = 12_000
"""Folders of more passages are searched with the static embedder, which is a hundred times as fast."""
_FOREIGN_S, _FOREIGN_SHARE = 0.35, 0.4
"""Seconds a passage of the multilingual embedder, and the share of the budget that it may take."""
_BLOCK = 256


class PooledEmbedder:
    """A reranker's pooled states: the bi-encoder that it was made from, such as all-MiniLM-L6-v2 of the bundled one.

    Args:
        folder: A reranker that encodes each side alone.

    Attributes:
        name: For people; of another model than the bundled one with the beginning of its fingerprint.
    """

    def __init__(self, folder: Path = BUNDLED) -> None:
        self._engine = SegmentEngine.load(ModelFolder.open(folder), Options())
        bundled = folder == BUNDLED
        own = f"{folder.name}, its pooled states ({self._engine.fingerprint[:8]})"
        self.name = "all-MiniLM-L6-v2 (int8)" if bundled else own

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, width), L2-normalised."""
        tokens = [self._engine.tokenizer.side(ids) for ids in self._engine.tokenizer.queries(list(texts))]
        return np.stack([self._engine.backend.encode(ids)[1] for ids in tokens])

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, width), L2-normalised; long texts are cut at 512 tokens."""
        pieces = [of[0].input_ids for of in self._engine.tokenizer.alone(list(texts), windows=False)]
        states = scoring_pool(default_threads()).map(self._engine.backend.encode, pieces)
        return np.stack([pooled for _, pooled, _ in states])


class KeptEmbedder:
    """An embedder whose document vectors are kept, so that a text is embedded once.

    Args:
        folder: Where to.
        passages: How many there are: a fast model is used for many.
        language: ISO 639-1 code: a multilingual model is used where one is installed and there is time for it.
        budget_s: Seconds of the whole run.
        base: What is tuned; its own vectors are used where it reads the language and the bundled model does not.
    """

    def __init__(
        self, folder: Path, passages: int, language: str = "en", budget_s: float = 3600.0, base: Base | None = None
    ) -> None:
        self._model, self.name = _chosen(passages, language, budget_s, base)
        self._folder = folder / re.sub(r"\W+", "-", self.name)
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self._blocks = 0
        for path in sorted(self._folder.glob("*.npy")):
            self._load(path)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, dim)."""
        return np.asarray(self._model.embed_queries(list(texts)), np.float32)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, dim)."""
        keys = [_key(text) for text in texts]
        missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}.items())
        starts = range(0, len(missing), _BLOCK)
        for start in tqdm(starts, desc="embed passages", unit="block", disable=None, delay=1):
            self._add(missing[start : start + _BLOCK])
        return np.stack([self._known[key] for key in keys])

    def _add(self, block: Sequence[tuple[bytes, str]]) -> None:
        vectors = np.asarray(self._model.embed_documents([text for _, text in block]), np.float32)
        rows = np.zeros(len(block), [("key", np.void, 16), ("vector", np.float32, vectors.shape[1:])])
        rows["key"] = [key for key, _ in block]
        rows["vector"] = vectors
        self._folder.mkdir(parents=True, exist_ok=True)
        write_array(self._folder / f"{self._blocks:06d}.npy", rows)
        self._blocks += 1
        self._known.update(zip((key for key, _ in block), vectors, strict=True))

    def _load(self, path: Path) -> None:
        rows = np.load(path)
        self._blocks = int(path.stem) + 1
        self._known.update(zip((key.tobytes() for key in rows["key"]), rows["vector"], strict=True))


def foreign_seconds(passages: int) -> float:
    """Return about how long a multilingual embedder takes."""
    return passages * _FOREIGN_S / min(2, default_threads())


def searches_itself(base: Base, language: str, passages: int) -> bool:
    """Whether a base gives the vectors of so many passages in a language that the bundled model was not made for."""
    if language == "en" or base.kind != "interaction" or language not in base.languages:
        return False
    exported = any((base.folder / name).is_file() for name in SEGMENT_WEIGHTS.values())
    return exported and passages * base.cost <= MOST_ENCODED


def _chosen(passages: int, language: str, budget_s: float, base: Base | None) -> tuple[TextEmbedder, str]:
    if base is not None and searches_itself(base, language, passages):
        own = PooledEmbedder(base.folder)
        return own, own.name
    if language != "en" and foreign_seconds(passages) <= _FOREIGN_SHARE * budget_s:
        try:
            choice = choose_model("search", languages=(language,))
            return Embedder(choice.spec.name), choice.spec.title.partition(":")[0]
        except InvalidInputError:  # none is here
            pass
    if passages <= MOST_ENCODED:
        pooled = PooledEmbedder()
        return pooled, pooled.name
    return Embedder(), "the bundled static embedder"


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
