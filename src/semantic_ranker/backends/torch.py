"""The torch backend: runs a folder of the interaction cross-encoder, or of any [CLS]-head model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from semantic_ranker.backends.interaction import ARCHITECTURE, InteractionCrossEncoder
from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """Runs a model folder with torch: ours, or any [CLS]-head model that transformers can open.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.
        threads: Of torch, for the whole process; None leaves them.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``; on a GPU also ``fp16`` or ``bf16``.

    Raises:
        ModelLoadError: The weights are absent or no reranker's, or the device is not there.
    """

    name = "torch"

    def __init__(
        self, folder: str | Path, *, threads: int | None = None, device: str = "cpu", precision: str = "fp32"
    ) -> None:
        self.device, self.precision = device, precision
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        self.uses_token_types = True
        if ARCHITECTURE in config.get("architectures", ()):
            self.model: nn.Module = InteractionCrossEncoder.from_folder(folder)
        else:
            self.model = _open_transformers(folder, config)
            self.uses_token_types = config.get("type_vocab_size", 0) > 1
        self.model.eval()
        try:
            self.model.to(device=device, dtype=_DTYPES[precision])
        except (RuntimeError, AssertionError) as error:  # no such device, or not enough memory on it
            raise ModelLoadError(
                f"{Path(folder).name} cannot be put on {device} ({error}): use device='cpu'."
            ) from error
        if threads is not None:
            torch.set_num_threads(threads)

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits, float32 (batch,), from int64 (batch, length) arrays."""
        arrays = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.uses_token_types:
            arrays["token_type_ids"] = token_type_ids
        with torch.inference_mode():
            output = self.model(**{name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()})
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits.float().reshape(len(input_ids)).cpu().numpy()


def _open_transformers(folder: str | Path, config: dict[str, Any]) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    name, labels = Path(folder).name, len(config.get("id2label", {})) or config.get("num_labels", 1)
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"transformers cannot open {name} as a sequence classifier: {error}") from error
    if model.config.num_labels != 1:
        raise ModelLoadError(
            f"Expected a reranker with 1 label in {name}, got {labels}: this is a classifier; "
            "export or fine-tune it with num_labels=1."
        )
    if loading["missing_keys"]:
        raise ModelLoadError(
            f"{name}/model.safetensors lacks {len(loading['missing_keys'])} tensors of a trained reranker, the first: "
            f"{min(loading['missing_keys'])}; they would be random. Fine-tune the model first."
        )
    module: nn.Module = model
    return module
