"""The monitor on simulated years of traffic: false alarms of quiet years, and how soon each shift is seen.

    python benchmarks/monitoring.py --quiet 12 --shifted 3

One look a day, a window of a week against the first four weeks. Writes benchmarks/results/monitoring.json.
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


def traffic() -> Any:
    """Return the generator that the tests use, too."""
    spec = importlib.util.spec_from_file_location("traffic", ROOT / "tests" / "core" / "monitoring" / "traffic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Traffic


def alarms(days: list[Day], signal: str | None) -> tuple[list[int], int]:
    """Return the days on which a look says more than keep, and how many looks there were."""
    monitor, found = Monitor(days[:28]), []
    ends = range(35, len(days) + 1)
    for end in ends:
        report = monitor.look(days[end - 7 : end])
        if (report.verdict if signal is None else report[signal].state) != "keep":
            found.append(end - 1)
            if signal is not None and end - 1 >= SHIFT_DAY:
                break
    return found, len(ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiet", type=int, default=12, help="quiet years")
    parser.add_argument("--shifted", type=int, default=3, help="runs of each shift")
    options = parser.parse_args()
    make = traffic()
    quiet, seconds = [], []
    for seed in range(options.quiet):
        days = by_day(make(seed).year(), hashed_words)
        start = time.process_time()
        found, looks = alarms(days, None)
        seconds.append(time.process_time() - start)
        quiet.append({"seed": seed, "looks": looks, "alarms": len(found)})
        print(f"quiet year {seed}: {len(found)} alarms in {looks} looks, {seconds[-1]:.1f} s", file=sys.stderr)
    shifted: dict[str, list[dict[str, Any]]] = {}
    for shift, signal in SIGNALS.items():
        for seed in range(100, 100 + options.shifted):
            stream = make(seed).year(days=SHIFT_DAY + 30, shift=shift, shift_day=SHIFT_DAY)
            found, _ = alarms(by_day(stream, hashed_words), signal)
            delay = next((day - SHIFT_DAY + 1 for day in found if day >= SHIFT_DAY), None)
            early = sum(day < SHIFT_DAY for day in found)
            shifted.setdefault(shift, []).append({"seed": seed, "days_until_seen": delay, "alarms_before": early})
            print(f"{shift} {seed}: seen after {delay} days, {early} alarms before", file=sys.stderr)
    rules = Rules()
    result = {
        "command": "python " + " ".join(["benchmarks/monitoring.py", *sys.argv[1:]]),
        "machine": {"cpu": platform.machine(), "python": platform.python_version(), "numpy": version("numpy")},
        "queries_a_day": 200,
        "rules": {"alpha": rules.alpha, "window_days": rules.window_days, "baseline_days": rules.baseline_days},
        "quiet": quiet,
        "quiet_alarms": sum(row["alarms"] for row in quiet),
        "cpu_s_a_year_of_looks": float(np.median(seconds)),
        "shifted": shifted,
    }
    write_atomically(ROOT / "benchmarks" / "results" / "monitoring.json", json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
