"""``semantic-ranker monitor``: keep, watch or retrain, from a feedback log; made for cron."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import count, write

if TYPE_CHECKING:
    from semantic_ranker.monitoring import Day, MonitorReport, Rules

_STATUS = {"keep": 0, "watch": 3, "retrain": 4}
_EPILOG = """Exit status: 0 keep, 3 watch, 4 retrain; 1 failed, 2 wrong input, such as too few days.
A fall of nDCG@10 that is surely above its limit says watch at once, and retrain when a stricter test proves it; other
signals that say watch do not become retrain. A quiet year raises a false retrain with 5 % (rule false_alarm_rate) and
a false watch for nDCG@10 with 10 % (rule false_watch_rate) at most.
For cron: 0 6 * * * semantic-ranker monitor feedback.jsonl --baseline 2026-01-01..2026-01-28 || mail ..."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    monitor = commands.add_parser(
        "monitor",
        help="say from a feedback log whether to keep, watch or retrain a model",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    monitor.add_argument("log", metavar="LOG", help="feedback log (JSON Lines); its rotated parts are read too")
    monitor.add_argument(
        "--baseline",
        metavar="PERIOD",
        help="good days to compare with: FIRST..LAST, such as 2026-01-01..2026-01-28, or another log "
        "(default: the first 28 days of LOG)",
    )
    monitor.add_argument("--judged", metavar="DIR", help="BEIR folder: judges those logged queries that are in it")
    monitor.add_argument("--at", metavar="DAY", help="last day of the window (default: the last whole day of LOG)")
    monitor.add_argument("--window-days", type=count, default=7, metavar="N", help="default: %(default)s")
    monitor.add_argument(
        "--embedder",
        default="words",
        metavar="M",
        help="what embeds queries: 'words' (hashed words: sees new words, not new meanings), 'bundled', a folder or id",
    )
    monitor.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a threshold, such as ndcg_drop=0.05, false_watch_rate=0.1, new_documents=0.1, latency_rise=0.2",
    )
    monitor.add_argument("--skip-damaged", action="store_true", help="count damaged lines instead of stopping")
    monitor.add_argument("--json", action="store_true", help="print JSON")
    monitor.add_argument("--html", metavar="FILE", help="write a page, too (extra 'report')")
    monitor.set_defaults(run=_monitor, since=None, until=None)


def _monitor(options: argparse.Namespace) -> int:
    from semantic_ranker.monitoring import Monitor

    rules = _rules(options.rule, options.window_days)
    baseline, window = _periods(options, rules)
    report = Monitor(baseline, rules).look(window)
    if options.html:
        from semantic_ranker.monitoring.page import page_of

        page_of(report, log=options.log, embedder=options.embedder).write(options.html)
    if options.json:
        print(json.dumps({**report.to_dict(), "embedder": options.embedder}, indent=2))
    else:
        _print(report)
    return _STATUS[report.verdict]


def _print(report: MonitorReport) -> None:
    write(report.verdict.upper())
    write(f"baseline {report.baseline[0]} to {report.baseline[1]}: {report.baseline_interactions} interactions")
    write(f"window   {report.window[0]} to {report.window[1]}: {report.window_interactions} interactions")
    for signal in report.signals:
        write(f"{signal.state:<8} {signal.reason}")


def _periods(options: argparse.Namespace, rules: Rules) -> tuple[list[Day], list[Day]]:
    from semantic_ranker.errors import InvalidInputError
    from semantic_ranker.monitoring.days import between

    period = _period(options.baseline)
    if period is not None:
        options.since = period[0].isoformat()  # a log of years: what lies before the baseline is not looked at
    days = _days(options, options.log)
    if not days:
        raise InvalidInputError(f"Expected interactions in {options.log!r}, got none.")
    last = _day(options.at) if options.at else _last_whole_day(days)
    window = between(days, last - timedelta(days=rules.window_days - 1), rules.window_days)
    if period is not None:
        baseline = between(days, period[0], (period[1] - period[0]).days + 1)
    elif options.baseline:
        baseline = _days(options, options.baseline)
    else:
        baseline = between(days, days[0].date, rules.baseline_days)
    return baseline, window


def _days(options: argparse.Namespace, log: str) -> list[Day]:
    from semantic_ranker.cli.feedback import reading_of, warn_of_lost_lines
    from semantic_ranker.monitoring import by_day

    reading = reading_of(argparse.Namespace(**{**vars(options), "log": log}))
    days = by_day(reading, _embed(options.embedder), _judged(options.judged))
    warn_of_lost_lines(reading)
    return days


def _last_whole_day(days: Sequence[Day]) -> date:
    # The last day of a living log is not over yet.
    return days[-1].date - timedelta(days=1) if len(days) > 1 else days[-1].date


def _judged(folder: str | None) -> dict[str, dict[str, int]] | None:
    if folder is None:
        return None
    from semantic_ranker.collections import load_beir

    collection = load_beir(folder)
    return {text: collection.qrels[qid] for qid, text in collection.queries.items()}


def _embed(name: str) -> Callable[[Sequence[str]], Any]:
    if name == "words":
        from semantic_ranker.monitoring import hashed_words

        return hashed_words
    import importlib

    embedder = importlib.import_module("semantic_ranker.embedder").Embedder(None if name == "bundled" else name)
    embed: Callable[[Sequence[str]], Any] = embedder.embed_queries
    return embed


def _rules(settings: Sequence[str], window_days: int) -> Rules:
    import difflib
    from dataclasses import fields

    from semantic_ranker.errors import InvalidInputError
    from semantic_ranker.monitoring import Rules

    names = [entry.name for entry in fields(Rules)]
    values: dict[str, Any] = {"window_days": window_days}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}."
            raise InvalidInputError(f"Expected NAME=VALUE with a known rule, got {setting!r}: {hint}")
        try:
            values[name] = int(text) if text.isdecimal() else float(text)
        except ValueError:
            raise InvalidInputError(f"Expected a number for the rule {name!r}, got {text!r}.") from None
    return Rules(**values)


def _period(text: str | None) -> tuple[date, date] | None:
    from semantic_ranker.errors import InvalidInputError

    first, separator, last = (text or "").partition("..")
    if not separator or "/" in (text or ""):
        return None  # a log, which may lie in a folder above
    period = _day(first), _day(last)
    if period[1] < period[0]:
        raise InvalidInputError(f"Expected a baseline FIRST..LAST in that order, got {text!r}.")
    return period


def _day(text: str) -> date:
    from semantic_ranker.errors import InvalidInputError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"Expected a day such as 2026-01-31, got {text!r}.") from None
