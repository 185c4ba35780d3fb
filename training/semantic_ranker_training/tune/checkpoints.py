"""Checkpoints of a fit: weights and optimiser state as safetensors, never as pickles, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from semantic_ranker._files import write_atomically

_STEP = "optimiser.{}.{}"


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
    """Write one file with everything that a run needs to go on.

    Args:
        path: The file; the one that is there is replaced when the new one is on the disk.
        model: Its parameters and buffers.
        optimiser: Its moments.
        facts: JSON values.

    Raises:
        StorageError: The disk is full; the old file is untouched.
    """
    tensors = {f"model.{name}": value.detach().contiguous() for name, value in model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            tensors[_STEP.format(number, name)] = torch.as_tensor(value).detach().contiguous()
    write_atomically(path, save(tensors, metadata={"facts": json.dumps(facts)}))


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Put a run back where it was and return its facts; None where there is no checkpoint."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["facts"])
    tensors = load(content)
    model.load_state_dict(_below(tensors, "model."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(tensors, "optimiser.").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = value
    state = optimiser.state_dict()
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    return facts


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
