"""``semantic-ranker mine``: hard negatives for pairs, written as groups to learn from."""

from __future__ import annotations

import argparse
import importlib
import json
from typing import Any

from semantic_ranker.cli._output import count, write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    mine = commands.add_parser(
        "mine",
        help="find hard negatives for training pairs",
        description="Find documents that look relevant to a query and are not: candidates of BM25 and of a bi-encoder, "
        "fused, without judged positives, repeats, and candidates as close as the positive. A run that was stopped "
        "goes on where it was.",
    )
    mine.add_argument(
        "pairs", metavar="PAIRS", help="file or folder of pairs (.jsonl, .json, .csv, .tsv, BEIR, MS MARCO)"
    )
    mine.add_argument("out", metavar="OUT", help="JSON Lines to write, FlagEmbedding's format with provenance")
    mine.add_argument("--corpus", metavar="FILE", help='further documents: JSON Lines with "_id" and "text"')
    mine.add_argument("--model", metavar="M", help="bi-encoder folder or hub id (default: the bundled embedder)")
    mine.add_argument("--teacher", metavar="M", help="reranker that vetoes: a model folder, hub id, or 'bundled'")
    mine.add_argument("--negatives", type=count, default=7, metavar="N", help="a query (default: %(default)s)")
    mine.add_argument("--random-share", type=float, default=0.25, metavar="S", help="of them (default: %(default)s)")
    mine.add_argument("--candidates", type=count, default=50, metavar="N", help="a retriever (default: %(default)s)")
    mine.add_argument("--ranks", nargs=2, type=count, default=(1, 100), metavar=("FIRST", "LAST"), help="rank window")
    mine.add_argument(
        "--score-ratio",
        type=float,
        default=0.95,
        metavar="R",
        help="of the positive's dense score; 0 is off (%(default)s)",
    )
    mine.add_argument("--bm25-only", action="store_true", help="no bi-encoder")
    mine.add_argument("--sample", action="store_true", help="draw from the rank window, instead of its top")
    mine.add_argument("--language", default="english", help="stemmer of BM25 (default: %(default)s)")
    mine.add_argument("--seed", type=int, default=13, help="of all random choices (default: %(default)s)")
    mine.add_argument(
        "--on-error", choices=["raise", "skip"], default="raise", help="broken lines (default: %(default)s)"
    )
    mine.add_argument("--json", action="store_true", help="print JSON")
    mine.set_defaults(run=_mine)


def _mine(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    with requires_extra("training"):
        # By name, so that the core never imports training.
        data = importlib.import_module("semantic_ranker_training.data")
        mining = importlib.import_module("semantic_ranker_training.hard_negatives")
        config = mining.MiningConfig(**_config(options))
        reading = data.Reading(on_error=options.on_error)
        report = mining.mine_pairs(
            options.pairs,
            options.out,
            miner=mining.HardNegativeMiner(options.model, teacher=_teacher(options.teacher), config=config),
            corpus=options.corpus,
            reading=reading,
        )
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _print(report, options.out)
    return 0


def _config(options: argparse.Namespace) -> dict[str, Any]:
    first, last = options.ranks
    return {
        "negatives": options.negatives,
        "random_share": options.random_share,
        "candidates": options.candidates,
        "retrievers": ("bm25",) if options.bm25_only else ("bm25", "dense"),
        "first_rank": first,
        "last_rank": last,
        "score_ratio": None if options.bm25_only else options.score_ratio or None,
        "pick": "sample" if options.sample else "top",
        "language": options.language,
        "seed": options.seed,
    }


def _teacher(name: str | None) -> Any:
    if name is None:
        return None
    from semantic_ranker.cross_encoder import CrossEncoder

    return CrossEncoder(None if name == "bundled" else name)


def _print(report: dict[str, Any], out: str) -> None:
    counts = report["counts"]
    write(f"{counts['queries']} queries: {counts['hard']} hard and {counts['random']} random negatives")
    for name, number in sorted(counts.items()):
        if name.startswith(("found_by_", "dropped_")):
            write(f"  {name.replace('_', ' '):<28} {number:>9}")
    if counts["short"]:
        write(f"{counts['short']} queries have fewer negatives than wanted: there are too few documents")
    if report["skipped"]:
        write(f"left out {report['skipped']} broken lines, such as {report['problems'][0]}")
    write(f"Wrote {out} and {out}.report.json")
