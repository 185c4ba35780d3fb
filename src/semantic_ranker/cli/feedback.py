"""``semantic-ranker feedback``: what a feedback log says, and what can be learnt from it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from semantic_ranker.cli import _review
from semantic_ranker.cli._output import snippet, write

if TYPE_CHECKING:
    from semantic_ranker.feedback import FeedbackMetrics, Reading, Share


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    feedback = commands.add_parser("feedback", help="review a feedback log, export it, or show its figures")
    actions = feedback.add_subparsers(required=True, metavar="ACTION")
    metrics = actions.add_parser("metrics", help="resolution, precision by intent, response time, out of context")
    _add_log(metrics)
    metrics.add_argument("--json", action="store_true", help="print JSON")
    metrics.add_argument("--html", metavar="PAGE", help="write a page, too (extra 'report')")
    metrics.set_defaults(run=_metrics)
    review = actions.add_parser("review", help="list interactions, show one, and say what came of it")
    _add_log(review)
    _review.add(review)
    review.set_defaults(run=_run_review)
    export = actions.add_parser("export", help="write judged queries (BEIR folder) or training pairs (JSON Lines)")
    _add_log(export)
    export.add_argument("--out", required=True, metavar="PATH", help="folder for judgments, file for pairs")
    export.add_argument(
        "--as",
        dest="kind",
        choices=["judgments", "pairs"],
        default="judgments",
        help="what to write (default: %(default)s)",
    )
    texts = export.add_mutually_exclusive_group()
    texts.add_argument("--corpus", metavar="FILE", help='texts of the documents: JSON Lines with "_id" and "text"')
    texts.add_argument("--index", metavar="INDEX", help="the same from an index; pairs need either")
    export.set_defaults(run=_export)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", help="feedback log (JSON Lines); its rotated parts are read too")
    parser.add_argument("--since", metavar="TIME", help="leave out what happened before, such as 2026-01-31")
    parser.add_argument("--until", metavar="TIME", help="leave out what happened at this time or later")
    parser.add_argument("--skip-damaged", action="store_true", help="count damaged lines instead of stopping")


def reading_of(options: argparse.Namespace) -> Reading:
    """Return the reading of a log that the options of `_add_log` ask for."""
    from semantic_ranker.feedback import FeedbackLog
    from semantic_ranker.feedback.records import time_of

    return FeedbackLog(options.log).read(
        since=time_of(options.since) if options.since else None,
        until=time_of(options.until) if options.until else None,
        on_error="skip" if options.skip_damaged else "raise",
    )


def warn_of_lost_lines(reading: Reading) -> None:
    """Say on the standard error what could not be read."""
    if reading.torn or reading.damaged:
        print(
            f"semantic-ranker: left out {reading.torn} lines that a crash cut short and {reading.damaged} damaged ones",
            file=sys.stderr,
        )


def _run_review(options: argparse.Namespace) -> int:
    from semantic_ranker.feedback import FeedbackLog

    reading = reading_of(options)
    status = _review.run(options, FeedbackLog(options.log), reading)
    warn_of_lost_lines(reading)
    return status


def _metrics(options: argparse.Namespace) -> int:
    from semantic_ranker.feedback import measure
    from semantic_ranker.feedback.page import metrics_page

    reading = reading_of(options)
    metrics = measure(reading)
    warn_of_lost_lines(reading)
    if options.html:
        metrics_page(metrics, name=options.log).write(options.html)
    if options.json:
        print(json.dumps({**metrics.to_dict(), "torn": reading.torn, "damaged": reading.damaged}, indent=2))
    else:
        _print_metrics(metrics)
    return 0


def _print_metrics(metrics: FeedbackMetrics) -> None:
    period = f", {metrics.first} to {metrics.last}" if metrics.first else ""
    write(f"{metrics.interactions} interactions{period}")
    write(f"{'':<22} {'share':>7}  {'95 % interval':<17} of")
    for name, share in (
        ("reviewed", metrics.reviewed),
        ("automatic resolution", metrics.resolution),
        ("out of context", metrics.out_of_context),
        ("precision", metrics.precision),
        ("cache hits", metrics.cache),
        ("degraded", metrics.degraded),
    ):
        write(f"{name:<22} {_share(share)}")
    if metrics.by_intent:
        write(f"\n{'intent':<22} {'precision':>9}  {'resolution':>10}  interactions")
    for intent, of in metrics.by_intent.items():
        precision, resolution = _value(of.precision), _value(of.resolution)
        write(f"{snippet(intent, 22):<22} {precision:>9}  {resolution:>10}  {of.interactions}")
    if metrics.latency:
        write(f"\n{'stage':<22} {'P50 ms':>9} {'P95 ms':>9} {'P99 ms':>9}  timed")
    for stage, times in metrics.latency.items():
        write(f"{snippet(stage, 22):<22} {times.p50:>9.1f} {times.p95:>9.1f} {times.p99:>9.1f}  {times.count}")


def _value(share: Share) -> str:
    return "unknown" if share.value is None else f"{share.value:.3f}"


def _share(share: Share) -> str:
    interval = "" if share.value is None else f"[{share.low:.3f}, {share.high:.3f}]"
    return f"{_value(share):>7}  {interval:<17} {share.of}"


def _export(options: argparse.Namespace) -> int:
    from semantic_ranker.collections import read_corpus
    from semantic_ranker.errors import InvalidInputError
    from semantic_ranker.feedback import to_judgments, to_pairs, write_judgments, write_pairs

    if options.kind == "pairs" and not (options.corpus or options.index):
        raise InvalidInputError(
            "Expected --corpus FILE or --index INDEX, got none: training pairs need the texts of the documents."
        )
    corpus = _review.texts_of(options.index) if options.index else None
    if options.corpus:
        corpus = read_corpus(options.corpus)
    reading = reading_of(options)
    if options.kind == "pairs":
        count = write_pairs(to_pairs(reading, corpus or {}), options.out)
        write(f"Wrote {count} pairs from {reading.records} interactions to {options.out}")
    else:
        found = to_judgments(reading)
        write_judgments(found, options.out, corpus)
        judged = sum(map(len, found.qrels.values()))
        write(f"Wrote {len(found.queries)} queries with {judged} judgments to {options.out}")
        if found.conflicts:
            write(f"Left out {found.conflicts} documents on which the reviews disagree")
    warn_of_lost_lines(reading)
    return 0
