"""``semantic-ranker tune``: a folder of documents in, a reranker with the proof out."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

from semantic_ranker.cli._output import count, snippet, write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    tune = commands.add_parser(
        "tune",
        help="tune the reranker on your documents, and prove that it helps",
        description="Learns from the structure of your documents, exports an INT8 reranker and measures it on sections "
        "that it did not see. The same command continues a run that was killed, and does again only what changed. "
        "Exit status: 0 better, 3 not shown to be better, 4 worse; 1 and 2 are errors.",
    )
    tune.add_argument("documents", metavar="FOLDER", help="documents: .md .rst .txt .html .pdf .py")
    tune.add_argument("--out", metavar="MODEL", required=True, help="model folder to write")
    _add_given(tune)
    tune.add_argument(
        "--guard", nargs="+", default=[], metavar="FOLDER", help="BEIR folders on which nothing may be lost"
    )
    tune.add_argument("--budget", default="55m", metavar="TIME", help="such as 15m or 1h (default: %(default)s)")
    tune.add_argument("--language", metavar="L", help="such as es or spanish (default: found out)")
    tune.add_argument("--seed", type=int, default=13, metavar="N", help="of all random choices (default: %(default)s)")
    tune.add_argument("--ablate", action="store_true", help="show the gain of each thing given, whatever the time")
    _add_recipe(tune)
    tune.add_argument("--json", action="store_true", help="print JSON")
    tune.set_defaults(run=_tune)


def _add_given(tune: argparse.ArgumentParser) -> None:
    tune.add_argument("--queries", metavar="FILE", help="real questions: one a line, or .jsonl with _id and text")
    tune.add_argument("--qrels", metavar="FILE", help="judgments of them: query-id, path or path#heading, grade")
    tune.add_argument("--feedback", metavar="LOG", help="feedback log of your pipeline")
    tune.add_argument("--teacher", metavar="MODEL", help="bigger cross-encoder to learn from")
    tune.add_argument("--generator", metavar="G", help="writes queries: module:function, or a seq2seq folder")
    tune.add_argument("--base", metavar="MODEL", help="reranker or bi-encoder to start from (default: the bundled one)")


def _add_recipe(tune: argparse.ArgumentParser) -> None:
    tune.add_argument(
        "--negatives", default="hybrid", choices=["hybrid", "bm25", "random"], help="where from (default: %(default)s)"
    )
    tune.add_argument(
        "--filter",
        action="store_true",
        help="leave out sentences and key phrases that are literal or that no search finds",
    )
    tune.add_argument("--general", type=float, default=0.25, metavar="S", help="share of general pairs (%(default)s)")
    tune.add_argument(
        "--epochs", type=float, metavar="N", help="passes over the pairs, at most (one; up to three of few pairs)"
    )
    tune.add_argument(
        "--passage-tokens", type=count, default=160, metavar="N", help="read while learning (%(default)s)"
    )


def _tune(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    logging.getLogger("bm25s").addFilter(lambda record: record.levelno >= logging.WARNING)
    with requires_extra("tune"):
        # By name, so that the core never imports training.
        module = importlib.import_module("semantic_ranker_training.tune")
        asked = importlib.import_module("semantic_ranker_training.tune.options")
    wanted = module.TuneOptions(
        documents=Path(options.documents),
        out=Path(options.out),
        queries=_path(options.queries),
        qrels=_path(options.qrels),
        feedback=_path(options.feedback),
        teacher=options.teacher,
        generator=options.generator,
        base=_path(options.base),
        guards=tuple(map(Path, options.guard)),
        language=options.language,
        budget_s=asked.seconds(options.budget),
        seed=options.seed,
        ablate=options.ablate,
        negatives_from=options.negatives,
        filters=options.filter,
        general=options.general,
        passage_tokens=options.passage_tokens,
        epochs=options.epochs,
    )
    result = module.tune(wanted, _tell)
    if options.json:
        write(json.dumps(result.content, indent=2))
    else:
        _print(result)
    return int(result.status)


def _path(given: str | None) -> Path | None:
    return None if given is None else Path(given)


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        tqdm = importlib.import_module("tqdm").tqdm
        tqdm.write(f"semantic-ranker tune: {line}", file=sys.stderr)


def _print(result: Any) -> None:
    content = result.content
    if result.unchanged:
        write("Nothing has changed since the last run, of which this is the result.\n")
    for name in ("held_out", "judged"):
        if content[name] is not None:
            _table(content[name])
    write(f"{'guard collection':<20} {'queries':>7} {'before':>7} {'after':>7}  {'change':>7}  95 % interval")
    for name, of in content["guards"].items():
        change = f"{of['difference']:+7.4f}  [{of['low']:+.4f}, {of['high']:+.4f}]"
        write(f"{snippet(name, 20):<20} {of['queries']:>7} {of['base']:7.4f} {of['tuned']:7.4f}  {change}")
    for name, of in content["gains"].items():
        worth = f"{of['difference']:+.4f} [{of['low']:+.4f}, {of['high']:+.4f}]" if of["measured"] else of["why"]
        write(f"gain of {name}: {worth}")
    times = ", ".join(f"{name} {value:.0f} ms" for name, value in content["latency_ms_20_passages"].items())
    write(f"\n20 new passages: {times}; {content['export']['megabytes']} MB {content['export']['precision']}")
    for note in content["notes"]:
        write(f"Note: {snippet(note, 300)}")
    write(f"\n{content['verdict']['words']}\n{content['verdict']['recommendation']}")
    write(f"Report: {result.folder / 'tune.html'}")


def _table(found: dict[str, Any]) -> None:
    metrics = list(next(iter(found["systems"].values())))
    write(
        f"{found['name']} ({found['queries']} over {found['passages']} passages)\n"
        f"{'system':<18} " + " ".join(f"{metric:>9}" for metric in metrics) + "  95 % interval     tuned against it"
    )
    for name, of in found["systems"].items():
        low, high = of[metrics[0]]["interval"]
        line = f"{snippet(name, 18):<18} " + " ".join(f"{of[metric]['mean']:9.4f}" for metric in metrics)
        line += f"  [{low:.4f}, {high:.4f}]"
        if name in found["tuned_against"]:
            against = found["tuned_against"][name][metrics[0]]
            line += f"  {against['difference']:+.4f} [{against['low']:+.4f}, {against['high']:+.4f}]"
        write(line)
    write("")
