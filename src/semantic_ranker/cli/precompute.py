"""``semantic-ranker precompute``: encode passages before any query, so that ranking them costs next to nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from semantic_ranker.cli._output import size_text, write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "precompute",
        help="encode passages once, to rank them fast later",
        description="Writes what the model needs to know of each passage. Open it with CrossEncoder(states=DIR) or "
        "SemanticRerank(states=DIR). A killed run continues; run again after a change, it encodes what is new.",
    )
    parser.add_argument("docs", metavar="FILE", help='one passage a line, or .jsonl with "text"; - is standard input')
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the states")
    parser.add_argument("--model", metavar="M", help="model folder or hub id (default: the bundled model)")
    parser.add_argument("--prune", action="store_true", help="delete the states of passages that FILE has not")
    parser.set_defaults(run=_precompute)


def _precompute(options: argparse.Namespace) -> int:
    from semantic_ranker._documents import read_documents
    from semantic_ranker.cross_encoder import CrossEncoder

    documents = read_documents(options.docs)
    with CrossEncoder(options.model) as encoder:
        count = encoder.precompute(documents, options.out, prune=options.prune)
    size = sum(file.stat().st_size for file in Path(options.out).rglob("*") if file.is_file())
    write(f"{options.out} has the states of {count} passages, {size_text(size)}")
    return 0
