"""When a change is large enough to act on, and how sure one has to be."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from semantic_ranker.errors import InvalidInputError

Verdict = Literal["keep", "watch", "retrain"]
SIGNALS = 6
"""How many signals a look tests, over which the false alarms are shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Thresholds of the monitor. A signal counts when it is both significant and larger than its threshold.

    Three signals say retrain: a drop of nDCG@10, new data, a new distribution of queries. The others say watch, and so
    does a drop of nDCG@10 that is above its threshold for sure but not yet proved at the level that says retrain.

    Attributes:
        baseline_days: Days of the baseline, where it is not named; whole weeks are best.
        window_days: Days that are looked at; whole weeks, so that every look holds each weekday once.
        false_alarm_rate: Probability of any false alarm in a year of daily looks, over all signals together.
        false_watch_rate: Probability that a year of looks says watch of an nDCG@10 that did not fall: a word of
            warning may be wrong more often than an order to retrain, and comes sooner.
        looks_a_year: How often the monitor runs.
        ndcg_drop: Relative drop of nDCG@10 that says retrain.
        new_documents: Rise of the share of results that the baseline never showed, that says retrain.
        query_shift: Squared MMD between the queries that says retrain; 0 takes any that is significant.
        score_shift: Population stability index of the best score that says watch: 0.1 is usually called moderate and
            0.25 major (Siddiqi, Credit Risk Scorecards, 2006).
        cache_drop: Drop of the cache's hit rate, in shares, that says watch.
        latency_rise: Relative rise of the 95th percentile of the response time that says watch.
        seed: Of the permutations; equal seeds give equal verdicts.

    Raises:
        InvalidInputError: A value is out of range.
    """

    baseline_days: int = 28
    window_days: int = 7
    false_alarm_rate: float = 0.05
    false_watch_rate: float = 0.10
    looks_a_year: int = 365
    ndcg_drop: float = 0.05
    new_documents: float = 0.10
    query_shift: float = 0.0
    score_shift: float = 0.10
    cache_drop: float = 0.10
    latency_rise: float = 0.20
    seed: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise InvalidInputError(f"Expected {entry.name} to be a number of 0 or more, got {value!r}.")
        for name in ("baseline_days", "window_days", "looks_a_year"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InvalidInputError(
                    f"Expected {name} to be a whole number of 1 or more, got {getattr(self, name)!r}."
                )
        for name in ("false_alarm_rate", "false_watch_rate"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidInputError(f"Expected {name} between 0 and 1, got {getattr(self, name)!r}.")

    @property
    def alpha(self) -> float:
        """Significance level of one signal at one look: the yearly rate shared by all of them (Bonferroni)."""
        return self.false_alarm_rate / (self.looks_a_year * SIGNALS)

    @property
    def watch_alpha(self) -> float:
        """Significance level, at one look, of the test that nDCG@10 fell by more than its threshold."""
        return self.false_watch_rate / self.looks_a_year
