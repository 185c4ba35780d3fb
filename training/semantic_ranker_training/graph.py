"""Torch module to ONNX graph: dynamic batch and sequence axes, opset 18, one self-contained file.

Knows modules and tensors only: model folders are `export`'s job, int8 is `quantization`'s.
"""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

OPSET = 18
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MAX_BATCH = 4096
_MIN_LENGTH = 4
# The first says, at warning level, that torchvision is absent; the others tell each step of their optimisers.
_CHATTY = {
    "torch.onnx._internal.exporter._registration": logging.ERROR,
    "onnxscript": logging.WARNING,
    "onnx_ir": logging.WARNING,
}


class RowLinear(nn.Module):
    """A linear layer that exports as one ``MatMul`` with a constant right side, so that it can be quantised.

    With ``normalise`` each row is divided by its largest magnitude before the product and multiplied by it after:
    equal in float32 up to rounding, but it lets one int8 scale serve all rows of an activation (feed-forward inputs
    have rows many times larger than others).
    """

    def __init__(self, layer: nn.Linear, *, normalise: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        self.normalise = normalise

    def forward(self, states: Tensor) -> Tensor:
        """Map float32 (..., in) to (..., out)."""
        if self.normalise:
            peak = states.abs().amax(-1, keepdim=True).clamp_min(1e-9)
            product = ((states / peak) @ self.weight) * peak
        else:
            product = states @ self.weight
        return product if self.bias is None else product + self.bias


class _Positional(nn.Module):
    """Positional inputs in, one tensor out (logits as (batch, 1)), whatever the wrapped model takes and returns."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.output = output

    def forward(self, *inputs: Tensor) -> Tensor:
        output = self.model(**dict(zip(self.names, inputs, strict=True)))
        found: Tensor = output if isinstance(output, Tensor) else output.logits
        return found.reshape(-1, 1) if self.output == "logits" else found


def with_row_linear(model: nn.Module, normalise: str = "none") -> nn.Module:
    """Return a copy in which every linear layer is a `RowLinear`.

    Args:
        model: Any module; left as it is.
        normalise: ``"none"``, ``"ff"`` (layers whose input and output widths differ: the feed-forward ones) or
            ``"all"``.
    """
    model = copy.deepcopy(model).eval()
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            feed_forward = module.in_features != module.out_features
            replace_module(
                model, name, RowLinear(module, normalise=normalise == "all" or (normalise == "ff" and feed_forward))
            )
    return model


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place that a dotted name of `named_modules` names."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def export_graph(model: nn.Module, path: Path, *, token_types: bool, max_length: int, output: str = "logits") -> None:
    """Write a module as ONNX.

    Args:
        model: Takes int64 (batch, length) tensors by the names of `INPUTS`; returns logits, or an object with them.
        path: File to write; no external data.
        token_types: Whether the model takes ``token_type_ids``.
        max_length: Longest sequence in tokens that the model's positions allow.
        output: Name of the result; ``logits`` are (batch, 1), anything else is as the model gives it.
    """
    names = INPUTS if token_types else INPUTS[:2]
    ids = torch.arange(24).reshape(2, 12) % 7 + 1
    types = torch.tensor([[0] * 5 + [1] * 7] * 2)
    inputs = (ids, torch.ones_like(ids), types)[: len(names)]
    axes = {
        0: torch.export.Dim("batch", min=1, max=_MAX_BATCH),
        1: torch.export.Dim("length", min=_MIN_LENGTH, max=max_length),
    }
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Positional(model, names, output).eval(),
            inputs,
            dynamo=True,
            verbose=False,
            input_names=list(names),
            output_names=[output],
            dynamic_shapes=((axes,) * len(names),),
            opset_version=OPSET,
            external_data=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program; update torch to 2.10 or newer.")
        program.optimize()
        program.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in _CHATTY}
    for name, level in _CHATTY.items():
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            # The exporter warns about its own internals and about axes that share a name: nothing to act on.
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
