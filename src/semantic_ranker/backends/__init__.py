"""What runs a model: token arrays in, logits out. A backend never sees text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.model_folder import ModelFolder, Precision


class Runtime(Protocol):
    """What runs weights, and which."""

    @property
    def name(self) -> str:
        """Short name, such as ``onnx``."""

    @property
    def precision(self) -> str:
        """Precision of the weights: ``fp32``, ``fp16`` or ``int8``."""


class Backend(Runtime, Protocol):
    """Anything that scores token arrays; safe to call from several threads."""

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits, float32 (batch,), from three int64 (batch, length) arrays."""


def open_backend(
    folder: ModelFolder,
    precision: Precision | Literal["bf16"] = "auto",
    prefer: Literal["auto", "onnx", "torch"] = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
) -> tuple[Backend, str]:
    """Open a folder's weights.

    Args:
        folder: An open model folder.
        precision: Which weights; ``auto`` takes int8 where there is one.
        prefer: ``auto`` is ONNX on a CPU and torch on a GPU.
        device: Where torch runs; ``auto`` precision is fp16 on ``cuda``, else fp32.

    Returns:
        The backend, and the sha256 of its weights in hex.

    Raises:
        ModelLoadError: The weights are absent, damaged or refused.
        ModuleNotFoundError: ``torch`` was asked for and is not installed; the message names the extra.
    """
    if prefer == "torch" or device == "cuda":
        from semantic_ranker._extras import requires_extra

        with requires_extra("torch"):
            from semantic_ranker.backends.torch import TorchBackend
        # Verifies; torch then reads the folder itself.
        digest = folder.read("model.safetensors").sha256
        usual = "fp16" if device == "cuda" else "fp32"
        return TorchBackend(folder.path, device=device, precision=usual if precision == "auto" else precision), digest
    from semantic_ranker.backends.onnx import OnnxBackend

    name, kind = folder.weights("auto" if precision == "bf16" else precision)
    file = folder.read(name)
    return OnnxBackend(file.path, precision=kind, content=file.content), file.sha256
