"""A test that a mean over queries fell by more than a limit: quicker than the permutations, for a word of warning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 20  # judged queries in the window: below, means are too far from normal for a test like this one
_STEPS = 4_000


def fall_p(sums: NDArray[np.float64], counts: NDArray[np.float64], window: int, *, limit: float) -> float:
    """Return the one-sided p value of a relative fall of more than ``limit``.

    Student's test of ``(1 - limit) * before - now``. The variance of one query is that of the baseline's days about
    their mean, as of a ratio estimator (Cochran, Sampling Techniques, 1977, section 6.4), so that what varies from day
    to day is in it, and no fall inflates it, as it does that of permutations. A baseline without any failure counts as
    having one, of which nobody can be sure.

    Args:
        sums: Of the judged queries' values, float64 (days,), each value in [0, 1].
        counts: How many there were, float64 (days,), 1 or more each.
        window: How many days, the last, are the window.
        limit: Relative fall that is still all right.

    Returns:
        1 where the window has fewer than 20 judged queries or the baseline fewer than two days.
    """
    before, now = sums[:-window], sums[-window:]
    asked, judged = counts[:-window], float(counts[-window:].sum())
    total = float(asked.sum())
    if len(before) < 2 or judged < _LEAST:
        return 1.0
    mean, kept = float(before.sum()) / total, 1.0 - limit
    days = len(before)
    variance = float(((before - mean * asked) ** 2).sum()) / total * days / (days - 1)
    variance = max(variance, mean**2 / (total + 1))
    if not variance:
        return 1.0
    error = math.sqrt(variance * (kept**2 / total + 1 / judged))
    return student_tail((kept * mean - float(now.sum()) / judged) / error, days - 1)


def student_tail(t: float, freedom: int) -> float:
    """Return the probability that Student's t with so many degrees of freedom, 1 or more, is above ``t``."""
    # With t = sqrt(freedom) * tan(angle), the density becomes a power of the cosine.
    start = math.atan(t / math.sqrt(freedom))
    return _power_of_cosine(start, freedom - 1) / _power_of_cosine(-math.pi / 2, freedom - 1)


def _power_of_cosine(start: float, power: int) -> float:
    step = (math.pi / 2 - start) / _STEPS
    return float((np.cos(start + step * (np.arange(_STEPS) + 0.5)) ** power).sum()) * step
