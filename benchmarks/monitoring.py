"""The monitor on simulated years of traffic: false alarms of quiet years, and how soon each shift is seen.

    python benchmarks/monitoring.py --quiet 8 --shifted 3

One look a day, a window of a week against the first four weeks. Quiet years are looked at whole, with all signals, at
200 and at 60 interactions a day, of which three in ten are judged; the test that says watch for nDCG@10 is also run
alone on fifteen times as many quiet years, with little traffic and with judgments that are only yes or no, which vary most.
Writes benchmarks/results/monitoring.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ranker._files import write_atomically
from semantic_ranker.monitoring import Day, Monitor, Rules, by_day, hashed_words
from semantic_ranker.monitoring.fall import fall_p

ROOT = Path(__file__).parent.parent
SIGNALS = {
    "quality": "nDCG@10",
    "queries": "queries",
    "documents": "new documents",
    "scores": "scores",
    "cache": "cache",
    "latency": "latency p95",
}
SHIFT_DAY = 60
JUDGED = 0.3
# Interactions a day, and the mean of judgments that are 0 or 1; None judges by the traffic's own nDCG@10.
JUDGMENTS = ((60, None), (20, None), (10, None), (60, 0.5), (20, 0.5), (20, 0.9), (10, 0.9), (20, 0.98))


def traffic() -> Any:
    """Return the generator that the tests use, too."""
    spec = importlib.util.spec_from_file_location("traffic", ROOT / "tests" / "core" / "monitoring" / "traffic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Traffic


def states(days: list[Day], signal: str | None, first: int = 35) -> list[str]:
    """Return what each look says, of a signal or of all, from the window that ends after ``first`` days."""
    monitor = Monitor(days[:28])
    reports = (monitor.look(days[end - 7 : end]) for end in range(first, len(days) + 1))
    return [report.verdict if signal is None else report[signal].state for report in reports]


def quiet_years(make: Any, a_day: int, years: int) -> dict[str, Any]:
    """Count the alarms of quiet years."""
    rows, seconds = [], []
    for seed in range(years):
        days = by_day(make(seed).year(a_day=a_day), hashed_words)
        start = time.process_time()
        said = states(days, None)
        seconds.append(time.process_time() - start)
        rows.append({"seed": seed, "looks": len(said), "watch": said.count("watch"), "retrain": said.count("retrain")})
        print(f"{a_day} a day, quiet year {rows[-1]}, {seconds[-1]:.1f} s", file=sys.stderr)
    return {
        "years": rows,
        "years_with_a_false_watch": sum(row["watch"] > 0 for row in rows),
        "years_with_a_false_retrain": sum(row["retrain"] > 0 for row in rows),
        "cpu_s_a_year_of_looks": float(np.median(seconds)),
    }


def quiet_judgments(make: Any, a_day: int, mean: float | None, years: int) -> dict[str, Any]:
    """Count the quiet years in which the test that says watch for nDCG@10 is wrong at one look or more."""
    rules, wrong = Rules(), 0
    sources = [make(seed) for seed in range(5)]
    for seed in range(years):
        source = sources[seed % len(sources)]
        rng = np.random.default_rng(1000 + seed)
        values = by_query(source)
        sums, counts = np.zeros(365), np.zeros(365)
        for day in range(365):
            chances = source.usual * np.exp(rng.normal(0, 0.2, source.topic_of.max() + 1))[source.topic_of]
            count = rng.binomial(rng.poisson(a_day * (0.4 if day % 7 >= 5 else 1.2)), JUDGED)
            asked = rng.choice(len(values), count, p=chances / chances.sum())
            sums[day] = (values[asked] if mean is None else rng.random(count) < mean).sum()
            counts[day] = count
        wrong += any(
            fall_p(*known(sums, counts, end), limit=rules.ndcg_drop) < rules.watch_alpha for end in range(35, 366)
        )
    found = {"interactions_a_day": a_day, "judgments": "nDCG@10" if mean is None else f"0 or 1, mean {mean}"}
    print(f"{found}: {wrong} of {years}", file=sys.stderr)
    return {**found, "years": years, "years_with_a_false_watch": wrong}


def by_query(source: Any) -> np.ndarray:
    """Return nDCG@10 of each query of the traffic, which has one relevant document each."""
    ranks = [
        [name for name, _ in hits].index(f"doc-{relevant}") + 1 if f"doc-{relevant}" in dict(hits) else np.inf
        for hits, relevant in zip(source.hits, source.relevant, strict=True)
    ]
    return 1.0 / np.log2(np.array(ranks) + 1.0)


def known(sums: np.ndarray, counts: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the judged days of the baseline and of the week that ends before ``end``."""
    days = np.r_[np.arange(28), np.arange(end - 7, end)]
    days = days[counts[days] > 0]
    return sums[days], counts[days], int((days >= 28).sum())


def delays(make: Any, shift: str, *, a_day: int, runs: int) -> list[dict[str, Any]]:
    """Return after how many days each run's shift is seen: at all, and as a reason to retrain."""
    found = []
    for seed in range(100, 100 + runs):
        stream = make(seed).year(days=SHIFT_DAY + 30, a_day=a_day, shift=shift, shift_day=SHIFT_DAY)
        said = states(by_day(stream, hashed_words), SIGNALS[shift])
        before, after = said[: SHIFT_DAY - 34], said[SHIFT_DAY - 34 :]
        seen = next((day for day, state in enumerate(after, 1) if state != "keep"), None)
        retrain = next((day for day, state in enumerate(after, 1) if state == "retrain"), None)
        early = sum(state != "keep" for state in before)
        found.append({"seed": seed, "days_until_seen": seen, "days_until_retrain": retrain, "alarms_before": early})
        print(f"{a_day} a day, {shift}: {found[-1]}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiet", type=int, default=8, help="quiet years of each traffic")
    parser.add_argument("--shifted", type=int, default=3, help="runs of each shift")
    options = parser.parse_args()
    make = traffic()
    rules = Rules()
    result = {
        "command": "python " + " ".join(["benchmarks/monitoring.py", *sys.argv[1:]]),
        "machine": {"cpu": platform.machine(), "python": platform.python_version(), "numpy": version("numpy")},
        "rules": {
            "alpha": rules.alpha,
            "watch_alpha": rules.watch_alpha,
            "window_days": rules.window_days,
            "baseline_days": rules.baseline_days,
        },
        "quiet": {f"{a_day} a day": quiet_years(make, a_day, options.quiet) for a_day in (200, 60)},
        "quiet_judgments": [quiet_judgments(make, *world, 15 * options.quiet) for world in JUDGMENTS],
        "shifted": {
            "200 a day": {shift: delays(make, shift, a_day=200, runs=options.shifted) for shift in SIGNALS},
            "60 a day": {"quality": delays(make, "quality", a_day=60, runs=4 * options.shifted)},
        },
        "fall_of_ndcg_in_shifted_quality": 0.2,
    }
    write_atomically(ROOT / "benchmarks" / "results" / "monitoring.json", json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
