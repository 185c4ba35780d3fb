"""Which texts the model scores: those that the first pass cannot rule out of the top.

The first pass estimates each logit up to a constant of the query. Texts are scored in the order of their estimates,
and the constant is what the model gave so far, less the estimates. When the next estimate plus that constant plus a
margin stays below the lowest logit of the top, no later text is expected to enter it, since estimates only fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Item = TypeVar("_Item")
FEATURES = ("cosine", "words", "phrases", "best match", "mean match", "length")
"""What the first pass knows of a text, in order."""
KEY = "cascade"
"""Where a model's manifest keeps it."""
_AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSettings:
    """How a model's first pass is read, and how far it is trusted; fitted by `semantic_ranker.cascade.fitting`.

    Attributes:
        weights: Logits for one unit of each feature of the first pass.
        margin: Logits by which a text may be better than its estimate.
    """

    weights: tuple[float, ...]
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    def estimates(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the estimates of texts, float64 (n,), from their features (n, features)."""
        found: NDArray[np.float64] = features @ np.asarray(self.weights)
        return found


def cascade_of(manifest: Mapping[str, Any] | None) -> CascadeSettings | None:
    """Read the cascade of a model folder's manifest, None where there is none.

    Raises:
        ModelLoadError: It is not one number for each feature and a margin.
    """
    found = (manifest or {}).get(KEY)
    if found is None:
        return None
    try:
        weights, margin = tuple(map(float, found["weights"])), float(found["margin"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"Cannot read {KEY} in the model's manifest ({error!r}): fit it again.") from error
    if len(weights) != len(FEATURES) or not all(map(math.isfinite, (*weights, margin))) or margin < 0:
        raise ModelLoadError(
            f"Expected {len(FEATURES)} finite weights and a margin of 0 or more as {KEY} in the model's manifest, got "
            f"{len(weights)} and {margin}: fit it again."
        )
    return CascadeSettings(weights=weights, margin=margin)


def select(
    estimates: NDArray[np.float64],
    top: int,
    margin: float,
    score: Callable[[Sequence[int]], Sequence[_Item]],
    logit: Callable[[_Item], float],
    *,
    block: int = 8,
) -> dict[int, _Item]:
    """Score texts until no other is expected to enter the top.

    Args:
        estimates: Of each text's logit, up to a constant, float64 (n,).
        top: How many texts are kept.
        margin: See `CascadeSettings`.
        score: Scores the texts at some positions.
        logit: Reads the logit off what it gives.
        block: Texts scored at a time after the first ``top`` and a few.

    Returns:
        What ``score`` gave, by position; at least ``top`` texts, if there are as many.
    """
    order = np.argsort(-estimates, kind="stable").tolist()
    found: dict[int, _Item] = {}
    logits: list[float] = []
    end = min(len(order), top + _AHEAD)
    while len(found) < end:
        rows = order[len(found) : end]
        found.update(zip(rows, score(rows), strict=True))
        logits += [logit(found[row]) for row in rows]
        if end < len(order) and _open(estimates, order, logits, top, margin):
            end = min(len(order), end + block)
    return found


def _open(estimates: NDArray[np.float64], order: list[int], logits: list[float], top: int, margin: float) -> bool:
    """Return whether the next text may enter the top."""
    constant = float(np.mean(np.asarray(logits) - estimates[order[: len(logits)]]))
    lowest = sorted(logits, reverse=True)[top - 1]
    # NaN keeps it open: the caller then scores all and finds it.
    return not estimates[order[len(logits)]] + constant + margin < lowest
