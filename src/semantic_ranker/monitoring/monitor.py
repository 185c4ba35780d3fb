"""The monitor: a baseline that was good, a window to look at, six signals, one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.monitoring import signals
from semantic_ranker.monitoring.drift import KernelMean
from semantic_ranker.monitoring.permutation import can_reach, least_baseline
from semantic_ranker.monitoring.rules import Rules, Verdict
from semantic_ranker.monitoring.signals import Signal, Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from semantic_ranker.monitoring.days import Day

_ORDER: tuple[Verdict, ...] = ("keep", "watch", "retrain")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport:
    """What one look says.

    Attributes:
        verdict: The strongest of the signals: ``keep``, ``watch`` or ``retrain``.
        signals: One entry a signal.
        baseline: First and last day of the baseline, ISO 8601.
        window: First and last day of the window.
        baseline_interactions: How many there were.
        window_interactions: How many there were.
        alpha: Level of each signal's test.
        watch_alpha: Level of the test that nDCG@10 fell by more than its threshold.
    """

    verdict: Verdict
    signals: tuple[Signal, ...]
    baseline: tuple[str, str]
    window: tuple[str, str]
    baseline_interactions: int
    window_interactions: int
    alpha: float
    watch_alpha: float

    def __getitem__(self, name: str) -> Signal:
        for signal in self.signals:
            if signal.name == name:
                return signal
        raise KeyError(name)

    @property
    def reasons(self) -> list[str]:
        """The words of the signals that say more than keep."""
        return [signal.reason for signal in self.signals if signal.state in ("watch", "retrain")]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {**asdict(self), "reasons": self.reasons}


class Monitor:
    """Compares windows of days with a baseline.

    False alarms are controlled over a year of looks, not over one: see `Rules.alpha` and `Rules.watch_alpha`. A change
    must last most of a window before it can be significant, so that a shift is seen about a window after it begins, not
    the next day; outages are for other alarms. A fall of nDCG@10 says watch some days before it can say retrain.

    Args:
        baseline: Days on which the model was known to be good; take new ones after each change of model or index.
        rules: Thresholds.

    Raises:
        InvalidInputError: The baseline has too few days for the rules.
    """

    def __init__(self, baseline: Sequence[Day], rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.baseline = sorted(baseline, key=lambda day: day.date)
        days, window = len(self.baseline), self.rules.window_days
        if not can_reach(self.rules.alpha, days + window, window):
            raise InvalidInputError(
                f"Expected a baseline of {least_baseline(self.rules.alpha, window)} days with traffic or more for a "
                f"window of {window} days, got {days}: name a longer baseline, or wait."
            )
        embedded = [day.queries for day in self.baseline if day.queries.size]
        self._kernel = KernelMean.fit(np.concatenate(embedded), seed=self.rules.seed) if embedded else None
        self._totals: dict[int, tuple[Day, NDArray[np.float64]]] = {}

    def look(self, window: Sequence[Day]) -> MonitorReport:
        """Judge a window.

        Args:
            window: Its days with traffic; best as many as the rules say.

        Raises:
            InvalidInputError: There are none, or one is a day of the baseline.
        """
        days = sorted(window, key=lambda day: day.date)
        if not days:
            raise InvalidInputError("Expected days with traffic in the window, got none.")
        if days[0].date <= self.baseline[-1].date and {day.date for day in days} & {day.date for day in self.baseline}:
            raise InvalidInputError(f"Expected a window apart from the baseline, got {days[0].date} in both.")
        found = (
            self._ndcg(days),
            self._scores(days),
            self._queries(days),
            self._documents(days),
            self._cache(days),
            self._latency(days),
        )
        return MonitorReport(
            verdict=max(
                (signal.state for signal in found if signal.state != "unknown"), key=_ORDER.index, default="keep"
            ),
            signals=found,
            baseline=(self.baseline[0].date.isoformat(), self.baseline[-1].date.isoformat()),
            window=(days[0].date.isoformat(), days[-1].date.isoformat()),
            baseline_interactions=sum(day.interactions for day in self.baseline),
            window_interactions=sum(day.interactions for day in days),
            alpha=self.rules.alpha,
            watch_alpha=self.rules.watch_alpha,
        )

    def _split(self, window: Sequence[Day], known: Callable[[Day], bool]) -> Split:
        return Split.of(self.baseline, window, self.rules, known)

    def _ndcg(self, window: Sequence[Day]) -> Signal:
        split = self._split(window, lambda day: bool(day.ndcg))
        if not split.is_enough:
            return _unknown("nDCG@10", split, "judged queries", "review answers, or give --judged.")
        signal, before, now, (low, high) = signals.ndcg_drop(split)
        # Proved to be above the limit, but not at the level that says retrain.
        unproved = signal.state == "watch" and (signal.change or 0.0) > (signal.threshold or 0.0)
        sure = f"{_change(signal)}{', not yet so surely that it says retrain,' if unproved else ''}"
        words = f"{sure} from {before:.3f} to {now:.3f}: a drop of {signal.change:.1%} [{low:.1%}, {high:.1%}]"
        return _worded(signal, words, before, now, low=low, high=high)

    def _scores(self, window: Sequence[Day]) -> Signal:
        split = self._split(window, lambda day: bool(day.top_scores.size))
        if not split.is_enough:
            return _unknown("scores", split, "scores", "log the retrieved documents with their scores.")
        signal = signals.score_shift(split)
        return _worded(signal, f"{_change(signal)}: population stability index {signal.change:.3f} of the best score")

    def _queries(self, window: Sequence[Day]) -> Signal:
        split = self._split(window, lambda day: bool(day.queries.size))
        if not split.is_enough or self._kernel is None:
            return _unknown("queries", split, "queries", "log the queries.")
        signal = signals.query_shift(split, np.stack([self._total(day) for day in split.days]))
        return _worded(signal, f"{_change(signal)}: squared MMD {signal.change:.4f} above that of other days")

    def _documents(self, window: Sequence[Day]) -> Signal:
        split = self._split(window, lambda day: bool(day.documents))
        if not split.is_enough:
            return _unknown("new documents", split, "results", "log the retrieved documents.")
        signal, usual, now = signals.new_documents(split)
        words = f"{_change(signal)}: {now:.1%} of the results were never shown in the baseline, usual are {usual:.1%}"
        return _worded(signal, words, usual, now)

    def _cache(self, window: Sequence[Day]) -> Signal:
        split = self._split(window, lambda day: day.cache_hits + day.cache_misses > 0)
        if not split.is_enough:
            return _unknown("cache", split, "look-ups", "log the cache's hits and misses, if there is one.")
        signal, before, now = signals.cache_drop(split)
        return _worded(signal, f"{_change(signal)}: hit rate from {before:.1%} to {now:.1%}", before, now)

    def _latency(self, window: Sequence[Day]) -> Signal:
        split = self._split(window, lambda day: day.latency_p95_ms is not None)
        if not split.is_enough:
            return _unknown("latency p95", split, "times", "log latency_ms.")
        signal, before, now = signals.latency_rise(split)
        return _worded(
            signal, f"{_change(signal)}: from {before:.0f} ms to {now:.0f} ms ({signal.change:+.0%})", before, now
        )

    def _total(self, day: Day) -> NDArray[np.float64]:
        known = self._totals.get(id(day))
        if known is None or known[0] is not day:
            if self._kernel is None:
                raise AssertionError("a day with queries and no kernel")
            known = self._totals[id(day)] = (day, self._kernel.total(day.queries))
        return known[1]


def _change(signal: Signal) -> str:
    if signal.state != "keep":
        return f"{signal.name} changed"
    # Above its limit, but so few days or queries could be chance: to call that unchanged would be untrue.
    over = signal.threshold and signal.change is not None and signal.change > signal.threshold
    return f"{signal.name} {'may have changed' if over else 'unchanged'}"


def _worded(
    signal: Signal,
    words: str,
    baseline: float | None = None,
    current: float | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Signal:
    limit = "" if signal.threshold is None else f" (limit {signal.threshold:g})"
    return replace(signal, reason=f"{words}{limit}.", baseline=baseline, current=current, low=low, high=high)


def _unknown(name: str, split: Split, what: str, advice: str) -> Signal:
    before = len(split.days) - split.window
    reason = f"{name} unknown: {what} on {before} days of the baseline and {split.window} of the window; {advice}"
    return Signal(name=name, state="unknown", reason=reason)
