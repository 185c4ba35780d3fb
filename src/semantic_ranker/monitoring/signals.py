"""The six signals of the monitor: each compares the days of a window with those of a baseline."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from semantic_ranker.monitoring.drift import bin_counts, bin_edges, stability_of_counts
from semantic_ranker.monitoring.fall import fall_p
from semantic_ranker.monitoring.permutation import Statistic, can_reach, days_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.monitoring.days import Day
    from semantic_ranker.monitoring.rules import Rules, Verdict

State = Literal["keep", "watch", "retrain", "unknown"]
_RESAMPLES = 2_000
_LEVEL_DRAWS = 200
_MOST_DOCUMENTS = 2_000  # a sample of the documents is enough to see how many are new, and bounds the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What one signal says.

    Attributes:
        name: Of the signal.
        state: ``keep``, ``watch``, ``retrain``, or ``unknown`` where the log does not tell.
        reason: The same in words, with what to do.
        baseline: The quantity in the baseline, None where unknown.
        current: The quantity in the window.
        change: What is compared with the threshold.
        threshold: Of the rules.
        low: Lower end of the change's 95 % bootstrap interval over days, where there is one.
        high: Upper end.
        p_value: Of the permutation test over days; it counts below the rules' ``alpha``.
        limit_p_value: Of the test that nDCG@10 fell by more than the threshold; below the rules' ``watch_alpha`` it
            says watch. None of other signals.
    """

    name: str
    state: State
    reason: str
    baseline: float | None = None
    current: float | None = None
    change: float | None = None
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    limit_p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The days on which a quantity is known, baseline first.

    Attributes:
        days: All of them.
        window: How many, the last, are the window.
        rules: Of the monitor.
    """

    days: Sequence[Day]
    window: int
    rules: Rules

    @classmethod
    def of(cls, baseline: Sequence[Day], window: Sequence[Day], rules: Rules, known: Callable[[Day], bool]) -> Split:
        """Return the days that a predicate keeps."""
        kept = [day for day in window if known(day)]
        return cls([*(day for day in baseline if known(day)), *kept], len(kept), rules)

    @property
    def is_enough(self) -> bool:
        """Whether the test could ever be significant."""
        return self.window > 0 and can_reach(self.rules.alpha, len(self.days), self.window)

    @property
    def member(self) -> NDArray[np.float64]:
        """The window as float64 (1, days)."""
        member = np.zeros((1, len(self.days)))
        member[0, -self.window :] = 1.0
        return member

    def p(self, statistic: Statistic) -> float:
        """Return the p value of a statistic."""
        return days_p(statistic, len(self.days), self.window, alpha=self.rules.alpha, seed=self.rules.seed)

    def level(self, statistic: Statistic) -> float:
        """Return the mean of a statistic over random windows: what it is where nothing changed."""
        rng = np.random.default_rng(self.rules.seed)
        order = np.argsort(rng.random((_LEVEL_DRAWS, len(self.days))), axis=1)
        return float(statistic((order < self.window).astype(np.float64)).mean())

    def signal(self, name: str, statistic: Statistic, change: float, threshold: float, *, at_most: Verdict) -> Signal:
        """Return a signal without its words: ``at_most`` where the change is significant and above the threshold.

        A significant change of a signal that may say retrain, but below its threshold, says watch.
        """
        # The test is needed only where it can decide something.
        needed = change > threshold or at_most == "retrain"
        p = self.p(statistic) if needed else None
        state: State = "keep"
        if p is not None and p < self.rules.alpha:
            state = at_most if change > threshold else "watch"
        return Signal(name=name, state=state, reason="", change=change, threshold=threshold, p_value=p)


def ndcg_drop(split: Split) -> tuple[Signal, float, float, tuple[float, float]]:
    """Return the signal, both means, and the interval of the relative drop."""
    sums = np.array([math.fsum(day.ndcg) for day in split.days])
    counts = np.array([float(len(day.ndcg)) for day in split.days])

    def drop(member: NDArray[np.float64]) -> NDArray[np.float64]:
        before, now = _both_means(member, sums, counts)
        fall: NDArray[np.float64] = before - now
        return fall

    before, now = (float(mean[0]) for mean in _both_means(split.member, sums, counts))
    relative = (before - now) / before if before > 0 else 0.0
    signal = split.signal("nDCG@10", drop, relative, split.rules.ndcg_drop, at_most="retrain")
    above = fall_p(sums, counts, split.window, limit=split.rules.ndcg_drop)
    if signal.state == "keep" and above < split.rules.watch_alpha:
        signal = replace(signal, state="watch")
    return replace(signal, limit_p_value=above), before, now, _drop_interval(sums, counts, split)


def score_shift(split: Split) -> Signal:
    """Return the signal of the distribution of the best score."""
    edges = bin_edges(np.concatenate([day.top_scores for day in split.days[: -split.window]]))
    counts = np.stack([bin_counts(day.top_scores, edges) for day in split.days])

    def stability(member: NDArray[np.float64]) -> NDArray[np.float64]:
        return stability_of_counts((1 - member) @ counts, member @ counts)

    change = float(stability(split.member)[0])
    return split.signal("scores", stability, change, split.rules.score_shift, at_most="watch")


def query_shift(split: Split, totals: NDArray[np.float64]) -> Signal:
    """Return the signal of the distribution of queries, from the features' sums, float64 (days, features)."""
    counts = np.array([float(len(day.queries)) for day in split.days])
    products = totals @ totals.T

    def discrepancy(member: NDArray[np.float64]) -> NDArray[np.float64]:
        # The difference of both means is a weighting of the days' sums, of which the products are known.
        weights = member / (member @ counts)[:, None] - (1 - member) / ((1 - member) @ counts)[:, None]
        squared: NDArray[np.float64] = ((weights @ products) * weights).sum(axis=1)
        return squared

    # Two samples of one distribution are not at distance 0: that level is taken off.
    change = float(discrepancy(split.member)[0]) - split.level(discrepancy)
    return split.signal("queries", discrepancy, max(0.0, change), split.rules.query_shift, at_most="retrain")


def new_documents(split: Split) -> tuple[Signal, float, float]:
    """Return the signal, the usual share of results that other days do not show, and the window's."""
    days_shown = Counter(chain.from_iterable(day.documents for day in split.days))
    # A document that was shown on more days than the window has cannot be new in any window.
    rare = sorted((name for name, count in days_shown.items() if count <= split.window), key=_mixed)
    kept = rare[:_MOST_DOCUMENTS]
    shown = np.array([[day.documents.get(name, 0) for name in kept] for day in split.days], dtype=np.float64).T
    present = (shown > 0).astype(np.float64)
    totals = np.array([float(sum(day.documents.values())) for day in split.days])
    if len(kept) < len(rare):
        # Each day's rare results are counted in full; only which of them are new is known from the sample.
        full = np.array([float(sum(day.documents.get(name, 0) for name in rare)) for day in split.days])
        shown *= full / np.maximum(shown.sum(axis=0), 1.0)

    def share(member: NDArray[np.float64]) -> NDArray[np.float64]:
        elsewhere = present @ (1 - member).T
        new = np.where(elsewhere == 0, shown @ member.T, 0.0).sum(axis=0)
        part: NDArray[np.float64] = new / (member @ totals)
        return part

    now, usual = float(share(split.member)[0]), split.level(share)
    signal = split.signal("new documents", share, now - usual, split.rules.new_documents, at_most="retrain")
    return signal, usual, now


def cache_drop(split: Split) -> tuple[Signal, float, float]:
    """Return the signal and both hit rates."""
    hits = np.array([float(day.cache_hits) for day in split.days])
    looked_up = hits + np.array([float(day.cache_misses) for day in split.days])

    def drop(member: NDArray[np.float64]) -> NDArray[np.float64]:
        before, now = _both_means(member, hits, looked_up)
        fall: NDArray[np.float64] = before - now
        return fall

    before, now = (float(rate[0]) for rate in _both_means(split.member, hits, looked_up))
    return split.signal("cache", drop, before - now, split.rules.cache_drop, at_most="watch"), before, now


def latency_rise(split: Split) -> tuple[Signal, float, float]:
    """Return the signal, and the 95th percentile of a usual day (geometric mean over days) in both, in milliseconds."""
    slow = np.log([max(day.latency_p95_ms or 0.0, 1e-6) for day in split.days])
    ones = np.ones(len(slow))

    def rise(member: NDArray[np.float64]) -> NDArray[np.float64]:
        before, now = _both_means(member, slow, ones)
        climb: NDArray[np.float64] = now - before
        return climb

    before, now = (math.exp(mean[0]) for mean in _both_means(split.member, slow, ones))
    return split.signal("latency p95", rise, now / before - 1.0, split.rules.latency_rise, at_most="watch"), before, now


def _both_means(
    member: NDArray[np.float64], sums: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return ((1 - member) @ sums) / ((1 - member) @ counts), (member @ sums) / (member @ counts)


def _drop_interval(sums: NDArray[np.float64], counts: NDArray[np.float64], split: Split) -> tuple[float, float]:
    rng = np.random.default_rng(split.rules.seed)
    size = len(sums) - split.window
    means = []
    for days in (slice(0, size), slice(size, None)):
        there = counts[days]
        drawn = rng.integers(0, len(there), (_RESAMPLES, len(there)))
        means.append(sums[days][drawn].sum(axis=1) / there[drawn].sum(axis=1))
    before, now = means
    low, high = np.quantile(1 - now / np.where(before > 0, before, 1.0), [0.025, 0.975]).tolist()
    return low, high


def _mixed(name: str) -> tuple[int, str]:
    return zlib.crc32(name.encode("utf-8", "replace")), name
