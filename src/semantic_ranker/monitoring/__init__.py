"""Says from a feedback log whether a model is to be kept, watched or trained again, without crying wolf."""

from semantic_ranker.monitoring.days import Day, by_day
from semantic_ranker.monitoring.drift import KernelMean, hashed_words, population_stability
from semantic_ranker.monitoring.monitor import Monitor, MonitorReport
from semantic_ranker.monitoring.rules import Rules, Verdict
from semantic_ranker.monitoring.signals import Signal

__all__ = [
    "Day",
    "KernelMean",
    "Monitor",
    "MonitorReport",
    "Rules",
    "Signal",
    "Verdict",
    "by_day",
    "hashed_words",
    "population_stability",
]
