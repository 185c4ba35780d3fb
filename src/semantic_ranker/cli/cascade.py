"""``semantic-ranker cascade``: fit the first pass of ``mode="cascade"`` to a model, and store it with the model."""

from __future__ import annotations

import argparse
import json

from semantic_ranker.cli._output import count, write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "cascade",
        help="fit a cheap first pass to a model, for CrossEncoder(mode='cascade')",
        description="Scores the first documents of each query by BM25, and finds how far words and static vectors "
        "can be trusted to rule texts out. No judgments are needed. The result, with the share of the model's own top "
        "texts that it loses, goes into the model folder.",
    )
    parser.add_argument("model", metavar="MODEL", help="model folder with semantic_ranker.json; it is written to")
    parser.add_argument("--queries", required=True, metavar="FILE", help='one a line, or .jsonl with "text"; 100 or so')
    parser.add_argument("--docs", required=True, metavar="FILE", help='one passage a line, or .jsonl with "text"')
    parser.add_argument("--candidates", type=count, default=100, metavar="N", help="of a query (default: %(default)s)")
    parser.add_argument("--top", type=count, default=10, metavar="N", help="texts to keep right (default: %(default)s)")
    parser.add_argument(
        "--lost", type=float, default=0.02, metavar="S", help="share of them that may be lost (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_cascade)


def _cascade(options: argparse.Namespace) -> int:
    from pathlib import Path

    from semantic_ranker._documents import read_documents
    from semantic_ranker.cascade.fitting import fit_cascade, manifest_path, samples_of, store_cascade
    from semantic_ranker.cross_encoder import CrossEncoder

    manifest_path(Path(options.model))
    queries, documents = list(read_documents(options.queries)), list(read_documents(options.docs))
    with CrossEncoder(options.model, other_languages="score") as encoder:
        samples = list(samples_of(encoder, queries, documents, candidates=options.candidates))
    fit = fit_cascade(samples, top=options.top, lost=options.lost)
    store_cascade(Path(options.model), fit)
    if options.json:
        write(json.dumps(fit.to_dict(), indent=2))
        return 0
    write(f"{options.model}: {fit.scored:.0%} of the texts are scored by the model, measured on {fit.queries} queries")
    write(f"{fit.lost:.1%} of its first {fit.top} are lost, {fit.lost_high:.1%} at most (95 %)")
    return 0
