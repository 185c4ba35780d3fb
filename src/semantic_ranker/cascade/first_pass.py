"""The cheap pass: how alike query and texts are by words and by static token vectors; some 50 microseconds a text.

It compares as the bundled reranker's head does (`semantic_ranker.segments.head`), with the static embedder's vectors
in the place of encoded tokens, so both ship with the package and no layer of any model is run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.backends.static import StaticBackend
from semantic_ranker.cascade.selection import FEATURES
from semantic_ranker.model_folder import BUNDLED, SEGMENT_HEAD, ModelFolder
from semantic_ranker.segments.head import InteractionHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FirstPass:
    """Opens what ships with the package; threads may share it."""

    def __init__(self) -> None:
        self._static = StaticBackend()
        self._head = InteractionHead.read(ModelFolder.open(BUNDLED).read(SEGMENT_HEAD).content)
        lengths = np.linalg.norm(self._static.codes.astype(np.float32), axis=1)
        self._unit = (1.0 / np.maximum(lengths, 1e-9)).astype(np.float32)

    def features(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return what the first pass knows of each text, float64 (n_texts, 6), as `FEATURES` names it."""
        ids, pooled = self._static.tokens([query, *texts])
        states = self._unit[ids[0]][:, None] * self._static.codes[ids[0]]
        question = EncodedQuery(ids[0], states, pooled[0], np.ones(len(ids[0]), np.float32))
        passages = [
            EncodedPassage(own.astype(np.int32), self._static.codes[own], self._unit[own], vector)
            for own, vector in zip(ids[1:], pooled[1:], strict=True)
        ]
        found = self._head.features(question, passages) if passages else np.zeros((0, len(FEATURES)))
        found[:, -1] = [np.log1p(len(own)) / 5.0 for own in ids[1:]]
        return found


@functools.cache
def shared_first_pass() -> FirstPass:
    """Return the process's first pass, opened at the first call."""
    return FirstPass()
