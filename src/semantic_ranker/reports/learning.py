"""Draws the log of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.reports.canvas import figures, label, legend, thin
from semantic_ranker.reports.svg import SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLOCK = ("step", "epoch", "learning_rate", "grad_norm", "total_flos", "num_input_tokens_seen")
_SPEED = ("_runtime", "_per_second", "_flos")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a training run: loss, the measures of each evaluation, learning rate.

    Args:
        history: ``log_history`` of a ``trainer_state.json``: dicts with ``step`` or ``epoch`` and numbers.

    Raises:
        InvalidInputError: It holds no loss and no measure.
    """
    curves = _curves(history)
    panels = {name: found for name, found in _panels(curves).items() if found}
    if not panels:
        raise InvalidInputError("Expected a history with 'loss' or 'eval_...' entries, got none.")
    drawn, all_axes = figures(len(panels))
    for axes, (name, shown) in zip(all_axes, panels.items(), strict=True):
        for number, key in enumerate(shown):
            steps, values = curves[key]
            kept = thin(len(values))
            axes.plot(
                np.asarray(steps)[kept],
                np.asarray(values)[kept],
                color=SERIES[number % len(SERIES)],
                linewidth=1.4,
                marker="o" if len(kept) < 30 else None,
                markersize=3.5,
                label=label(key.removeprefix("eval_") if name != "loss" else key),
            )
        axes.set_ylabel(name)
        if axes is not all_axes[0]:
            axes.sharex(all_axes[0])
        legend(axes)
    all_axes[-1].set_xlabel("step")
    return drawn


def _curves(history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for index, entry in enumerate(history):
        step = float(entry.get("step", entry.get("epoch", index)))
        for key, value in entry.items():
            if isinstance(value, (int, float)) and np.isfinite(value):
                steps, values = curves.setdefault(key, ([], []))
                steps.append(step)
                values.append(float(value))
    return curves


def _panels(curves: Mapping[str, object]) -> dict[str, list[str]]:
    measured = [key for key in curves if key.startswith("eval_") and not key.endswith(_SPEED)]
    # What a trainer logs beside the loss are its parts.
    parts = [key for key in curves if not key.startswith(("eval_", "train_")) and key not in (*_CLOCK, "loss")]
    losses = [key for key in ("loss", "eval_loss", *parts) if key in curves]
    return {
        "loss": losses[: len(SERIES)],
        "evaluation": [key for key in measured if not key.endswith("loss")][: len(SERIES)],
        "learning rate": [key for key in curves if key == "learning_rate"],
    }
