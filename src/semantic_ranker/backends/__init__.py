"""What runs a model: token arrays in, logits out. A backend never sees text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Backend(Protocol):
    """Anything that scores token arrays; safe to call from several threads."""

    @property
    def name(self) -> str:
        """Short name, such as ``onnx``."""

    @property
    def precision(self) -> str:
        """Precision of the weights: ``fp32``, ``fp16`` or ``int8``."""

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits, float32 (batch,), from three int64 (batch, length) arrays."""
