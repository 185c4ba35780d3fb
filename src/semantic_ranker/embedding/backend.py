"""What turns texts into a model's own vectors, and how each kind is opened with the space that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.spaces import EmbeddingSpace


class TextBackend(Protocol):
    """Anything that embeds texts; safe to call from several threads."""

    @property
    def name(self) -> str:
        """Short name, such as ``onnx``."""

    @property
    def precision(self) -> str:
        """Precision of the computation: ``fp32``, ``fp16`` or ``int8``."""

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the model's own vectors of texts, float32 (n_texts, dim).

        Raises:
            MemoryError: Fewer texts at a time may fit.
        """


@dataclass(frozen=True, slots=True)
class OpenedBackend:
    """A backend and what its vectors are.

    Attributes:
        backend: What runs.
        space: Of the vectors that an `Embedder` makes of what it returns.
    """

    backend: TextBackend
    space: EmbeddingSpace
