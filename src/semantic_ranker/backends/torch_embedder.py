"""Bi-encoders in torch, from safetensors: the reference that exports are compared with, and what runs on a GPU.

With `interaction` and `torch` beside it, the only modules of the core that may import torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from semantic_ranker._engine import _batches
from semantic_ranker.embedding.pooling import normalized, pool
from semantic_ranker.errors import EmbeddingError, ModelLoadError
from semantic_ranker.tokenization import EncodedPair, pad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.embedding.folder import EmbedderSettings
    from semantic_ranker.embedding.texts import TextTokenizer

_TOKEN_BUDGET = 8192
_ACTIVATIONS: dict[str, type[nn.Module]] = {"Tanh": nn.Tanh, "Identity": nn.Identity, "ReLU": nn.ReLU, "GELU": nn.GELU}


class TorchEmbedder:
    """Runs a sentence-transformers folder with torch, float32 on a CPU, float32 or float16 on a GPU.

    Args:
        folder: With ``config.json`` and ``model.safetensors``; its files have been verified.
        tokenizer: From texts to inputs.
        settings: What the model's files say of pooling, linear layers and normalisation.
        device: Such as ``cpu`` or ``cuda``.
        precision: ``fp32``, or ``fp16`` on a GPU.

    Raises:
        ModelLoadError: transformers cannot open the folder, or weights are missing.
    """

    name = "torch"

    def __init__(
        self,
        folder: Path,
        tokenizer: TextTokenizer,
        settings: EmbedderSettings,
        *,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.precision = precision
        self.device = device
        self._name = folder.name
        self._tokenizer = tokenizer
        self._settings = settings
        try:
            self._model = _open(folder).to(device=device, dtype=torch.float16 if precision == "fp16" else None).eval()
        except (RuntimeError, AssertionError) as error:  # no such device, or not enough memory on it
            raise ModelLoadError(f"{folder.name} cannot be put on {device} ({error}): use device='cpu'.") from error
        self._takes_types = "token_type_ids" in self._model.forward.__code__.co_varnames
        self._dense = [(_dense(folder / path).to(device), path in settings.unit_inputs) for path in settings.dense]
        self.dim = len(self.run(["a"])[0])
        tokenizer.truncated = 0

    @property
    def truncated(self) -> int:
        """Texts so far of which something was left out."""
        return self._tokenizer.truncated

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 (n_texts, dim).

        Raises:
            MemoryError: The device's memory is full.
            EmbeddingError: torch failed.
        """
        found: list[NDArray[np.float32]] = []
        for inputs in self._tokenizer.chunks(texts):
            outputs: dict[int, NDArray[np.float32]] = {}
            for rows in _batches([len(item.input_ids) for item in inputs], _TOKEN_BUDGET):
                outputs.update(zip(rows, self._forward([inputs[row] for row in rows]), strict=True))
            found.append(np.stack([outputs[row] for row in range(len(inputs))]))
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def _forward(self, inputs: Sequence[EncodedPair]) -> NDArray[np.float32]:
        ids, mask, types = pad(inputs)
        feeds = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if self._takes_types else {})
        try:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(array).to(self.device) for name, array in feeds.items()}
                states: Tensor = self._model(**tensors).last_hidden_state
                vectors = pool(states.float().cpu().numpy(), mask, self._settings.pooling)
                for layer, of_unit in self._dense:
                    vectors = normalized(vectors) if of_unit else vectors
                    vectors = layer(torch.from_numpy(vectors).to(self.device)).float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"{ids.shape} tokens do not fit into the memory of {self.device}") from error
        except RuntimeError as error:
            # On a CPU, running out of memory has no class of its own.
            if "can't allocate memory" in str(error):
                raise MemoryError(str(error).splitlines()[0]) from error
            raise EmbeddingError(f"{self._name} fails in torch on {ids.shape} tokens ({error}).") from error
        return normalized(vectors) if self._settings.normalize else vectors


def _open(folder: Path) -> nn.Module:
    from transformers import AutoModel

    try:
        model, loading = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"transformers cannot open {folder.name}: {error}") from error
    # A pooler is not used here, and many folders have none.
    missing = [name for name in loading["missing_keys"] if "pooler" not in name]
    if missing:
        raise ModelLoadError(
            f"{folder.name}/model.safetensors lacks {len(missing)} tensors, the first: {min(missing)}; they would be "
            "random."
        )
    module: nn.Module = model
    return module


def _dense(folder: Path) -> nn.Module:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        linear = nn.Linear(config["in_features"], config["out_features"], bias=bool(config.get("bias", True)))
        weights = load_file(folder / "model.safetensors")
        linear.load_state_dict({name.removeprefix("linear."): value for name, value in weights.items()})
        activation = _ACTIVATIONS[str(config.get("activation_function", "Tanh")).rpartition(".")[2]]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelLoadError(f"Cannot open the linear layer {folder.name}: {error}.") from error
    return nn.Sequential(linear, activation()).eval()


def first_gpu() -> tuple[str, float]:
    """Return name and free memory in megabytes of the GPU that torch would use; ("", 0) without one."""
    if not torch.cuda.is_available():
        return "", 0.0
    free, _ = torch.cuda.mem_get_info()
    return torch.cuda.get_device_name(), free / 1e6
