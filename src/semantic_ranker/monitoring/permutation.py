"""A test of one window of days against a baseline of days: would other days, called the window, look as odd?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 2_000
_FIRST = 200
_PRECISION = 2  # times as many permutations as the level needs at least: one that is as odd by chance is forgiven
_ENOUGH = 10  # as odd or odder: then the p value is known well enough, and it is large

Statistic = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
"""From float64 (k, days), 1 where a day counts as the window's and 0 where as the baseline's, to float64 (k,)."""


def days_p(statistic: Statistic, days: int, window: int, *, alpha: float, seed: int) -> float:
    """Return the one-sided p value of the last days against the earlier ones.

    Days are permuted and not interactions, because interactions of one day resemble each other: what varies from day
    to day anyway is no alarm. Permutations are drawn until ten are as extreme as what was observed, or until ``alpha``
    can be reached (Besag and Clifford, Biometrika 78, 1991): a quiet day costs a few hundred.

    Args:
        statistic: Large where window and baseline differ.
        days: How many there are.
        window: How many of them, the last, are the window.
        alpha: Level that the p value will be compared with.
        seed: Of the permutations.
    """
    observed_member = np.zeros((1, days))
    observed_member[0, -window:] = 1.0
    observed = float(statistic(observed_member)[0]) - 1e-12
    most = math.ceil(_PRECISION / alpha)
    rng = np.random.default_rng(seed)
    drawn = extreme = 0
    while drawn < most:
        size = min(_FIRST if drawn == 0 else _AT_ONCE, most - drawn)
        hits = np.flatnonzero(statistic(_members(rng, size, days, window)) >= observed)
        if extreme + len(hits) >= _ENOUGH:
            return _ENOUGH / (drawn + int(hits[_ENOUGH - extreme - 1]) + 1)
        extreme += len(hits)
        drawn += size
    return (extreme + 1) / (drawn + 1)


def can_reach(alpha: float, days: int, window: int) -> bool:
    """Return whether there are enough ways to choose the window for a p value below ``alpha``."""
    return window < days and 1.0 / math.comb(days, window) < alpha


def least_baseline(alpha: float, window: int) -> int:
    """Return how many days of baseline a window of so many days needs."""
    return next(days for days in range(1, 100_000) if can_reach(alpha, days + window, window))


def _members(rng: np.random.Generator, size: int, days: int, window: int) -> NDArray[np.float64]:
    chosen = np.argpartition(rng.random((size, days)), window - 1, axis=1)[:, :window]
    members = np.zeros((size, days))
    np.put_along_axis(members, chosen, 1.0, axis=1)
    return members
