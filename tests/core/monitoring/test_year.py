"""A year of daily looks: a shift is caught within two weeks, quality with a warning before; a quiet year is quiet."""

import pytest

from semantic_ranker.monitoring import Monitor, by_day, hashed_words

DELAY = 14


def first_alarm(days, *, signal=None, states=("watch", "retrain")):
    """Return the place of the last day of the first window that says one of the states, and its report."""
    monitor = Monitor(days[:28])
    for end in range(35, len(days) + 1):
        report = monitor.look(days[end - 7 : end])
        if (report.verdict if signal is None else report[signal].state) in states:
            return end - 1, report
    return None, report


@pytest.mark.parametrize(("seed", "a_day"), [(0, 100), (1, 60)])
def test_a_quiet_year_raises_no_alarm(traffic_of, seed, a_day):
    days = by_day(traffic_of(seed).year(a_day=a_day), hashed_words)
    assert len(days) == 365
    day, report = first_alarm(days)
    assert day is None, report.reasons
    assert all(signal.state == "keep" for signal in report.signals)


def test_a_fall_of_quality_in_the_middle_of_a_year_says_watch_and_then_retrain(traffic_of):
    days = by_day(traffic_of(3).year(shift="quality", shift_day=200, days=200 + DELAY), hashed_words)
    warned, report = first_alarm(days)
    assert 200 <= warned < 200 + DELAY
    assert (report.verdict, report["nDCG@10"].state) == ("watch", "watch")
    day, report = first_alarm(days, states=("retrain",))
    assert warned < day < 200 + DELAY
    signal = report["nDCG@10"]
    assert signal.state == "retrain"
    assert 0 < signal.low < signal.change < signal.high
    assert signal.baseline > signal.current
    assert "nDCG@10" in report.reasons[0]


@pytest.mark.parametrize(
    ("shift", "signal", "verdict"),
    [
        ("queries", "queries", "retrain"),
        ("documents", "new documents", "retrain"),
        ("scores", "scores", "watch"),
        ("cache", "cache", "watch"),
        ("latency", "latency p95", "watch"),
    ],
)
def test_each_shift_is_caught_by_its_signal(traffic_of, shift, signal, verdict):
    days = by_day(traffic_of(4).year(shift=shift, shift_day=60, days=60 + DELAY), hashed_words)
    day, report = first_alarm(days, signal=signal)
    assert 60 <= day < 60 + DELAY
    assert report[signal].state == verdict
    assert report[signal].p_value < report.alpha
