"""``semantic-ranker prepare-data``: training pairs from documents, or from pairs that are there."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from typing import Any

from semantic_ranker.cli._output import count, write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    prepare = commands.add_parser(
        "prepare-data",
        help="make training pairs of documents, without labels",
        description="Make training pairs of documents, without labels and without a language model, and split them so "
        "that no query and no document is in two parts. Writes train.json, and with --split val.json and "
        "test_eval.json, beside manifest.json.",
    )
    _add_inputs(prepare)
    _add_pairs(prepare)
    output = prepare.add_mutually_exclusive_group(required=True)
    _option(output, "--output_dir", metavar="DIR", help="folder to write to")
    output.add_argument(
        "--output", metavar="FILE", help="as --output_dir with the file's folder; the name is train.json"
    )
    _option(
        prepare, "--on_error", choices=["raise", "skip"], default="raise", help="broken lines (default: %(default)s)"
    )
    prepare.add_argument("--json", action="store_true", help="print JSON")
    prepare.set_defaults(run=_prepare)


def _add_inputs(prepare: argparse.ArgumentParser) -> None:
    inputs = prepare.add_mutually_exclusive_group(required=True)
    inputs.add_argument(
        "--documents",
        metavar="PATH",
        help="folder of .txt, .md, .rst, .html, .py, .jsonl; or .txt, one document a line",
    )
    _option(inputs, "--input_dir", metavar="DIR", help="as --documents with a folder")
    _option(inputs, "--csv_file", metavar="FILE", help="CSV of query, positive and perhaps negative")
    inputs.add_argument("--input", metavar="FILE", help="pairs that are there (.json, .jsonl, .csv, .tsv), to be split")


def _add_pairs(prepare: argparse.ArgumentParser) -> None:
    _option(prepare, "--generate_pairs", action="store_true", help="make pairs of documents (what --documents means)")
    _option(prepare, "--num_pairs", type=count, metavar="N", help="how many pairs to keep (default: all)")
    _option(prepare, "--add_negatives", action="store_true", help="give each pair a negative, mined in its own part")
    prepare.add_argument("--negatives", type=count, metavar="N", help="how many negatives (with --add_negatives: 1)")
    prepare.add_argument("--split", nargs=3, type=float, metavar=("TRAIN", "VAL", "TEST"), help="such as 0.8 0.1 0.1")
    prepare.add_argument("--strategies", nargs="+", metavar="S", help="title heading faq docstring cloze phrases (all)")
    _option(
        prepare, "--max_overlap", type=float, default=0.8, help="share of a query's words in its text (%(default)s)"
    )
    prepare.add_argument(
        "--consistency", type=int, default=20, metavar="N", help="ranks in which search must find a text, 0 off (20)"
    )
    prepare.add_argument("--embedder", metavar="M", help="bi-encoder folder, to search with beside BM25 and to mine")
    prepare.add_argument("--generator", metavar="G", help="further queries: module:function, or a seq2seq folder")
    prepare.add_argument("--language", default="english", help="stemmer of BM25 (default: %(default)s)")
    prepare.add_argument("--seed", type=int, default=42, help="of all random choices (default: %(default)s)")


def _option(parser: Any, name: str, **options: Any) -> None:
    # The guides write underscores, the usual spelling has dashes.
    parser.add_argument(name, name[:2] + name[2:].replace("_", "-"), **options)


def _prepare(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    with requires_extra("training"):
        # By name, so that the core never imports training.
        prepare = importlib.import_module("semantic_ranker_training.prepare")
        reading = importlib.import_module("semantic_ranker_training.data").Reading(on_error=options.on_error)
        config = prepare.PrepareConfig(**_config(options))
    out = options.output_dir or os.path.dirname(options.output) or "."
    if documents := options.documents or options.input_dir:
        prepared = prepare.prepare_documents(documents, out, config, reading=reading)
    else:
        prepared = prepare.prepare_pairs(options.csv_file or options.input, out, config, reading=reading)
    if options.json:
        print(json.dumps(_facts(prepared), indent=2))
    else:
        _print(prepared, reading)
    return 0


def _config(options: argparse.Namespace) -> dict[str, Any]:
    found = {
        "num_pairs": options.num_pairs,
        "negatives": options.negatives or int(options.add_negatives),
        "split": tuple(options.split) if options.split else None,
        "max_overlap": options.max_overlap,
        "consistency": options.consistency or None,
        "embedder": options.embedder,
        "generator": options.generator,
        "language": options.language,
        "seed": options.seed,
    }
    return {**found, "strategies": tuple(options.strategies)} if options.strategies else found


def _facts(prepared: Any) -> dict[str, Any]:
    return {
        "files": {name: str(path) for name, path in prepared.files.items()},
        "sizes": prepared.sizes,
        "made": prepared.made,
        "dropped": prepared.dropped,
        "kept": prepared.kept,
        "leakage": prepared.leakage.to_dict(),
        "skipped": prepared.skipped,
    }


def _print(prepared: Any, reading: Any) -> None:
    write(f"{'made by':<14} {'made':>7} {'kept':>7}")
    for name, made in prepared.made.items():
        write(f"{name:<14} {made:>7} {prepared.kept.get(name, 0):>7}")
    if prepared.dropped:
        write("dropped: " + ", ".join(f"{number} {name}" for name, number in prepared.dropped.items()))
    if prepared.skipped:
        write(f"left out {prepared.skipped} broken lines, such as {reading.problems[0]}")
    write(f"{'clean split' if prepared.leakage.clean else 'LEAKAGE'}: {prepared.leakage}")
    for name, path in prepared.files.items():
        write(f"Wrote {path}" + (f" ({prepared.sizes[name]} pairs)" if name in prepared.sizes else ""))
