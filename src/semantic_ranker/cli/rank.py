"""``semantic-ranker rank``: order documents by how well they answer a query."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, snippet, write

if TYPE_CHECKING:
    from semantic_ranker.ranking import RankedText


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    rank = commands.add_parser("rank", help="order documents by how well they answer a query")
    rank.add_argument("query")
    rank.add_argument(
        "--docs", required=True, metavar="FILE", help='one document a line, or .jsonl with "text"; - is standard input'
    )
    rank.add_argument("--top-k", type=count, metavar="N", help="how many to print (default: all)")
    rank.add_argument("--model", metavar="M", help="model folder or hub id (default: the bundled model)")
    rank.add_argument("--json", action="store_true", help="print JSON")
    rank.set_defaults(run=_rank)


def _rank(options: argparse.Namespace) -> int:
    from semantic_ranker._documents import read_documents
    from semantic_ranker.cross_encoder import CrossEncoder

    documents = read_documents(options.docs)
    encoder = CrossEncoder(options.model)
    ranked = encoder.rank(options.query, documents, options.top_k)
    if options.json:
        results = [
            {
                "rank": place,
                "index": item.index,
                "relevance_score": item.relevance_score,
                "logit": item.logit,
                "truncated": item.truncated,
                "span": item.span,
                "degraded": item.degraded,
                "text": item.text,
            }
            for place, item in enumerate(ranked, start=1)
        ]
        # ASCII, so that no terminal's encoding and no lone surrogate in a document can break it.
        print(json.dumps({"query": options.query, "model": encoder.model_name, "results": results}, indent=2))
    else:
        _print_ranking(ranked)
    return 0


def _print_ranking(ranked: Sequence[RankedText]) -> None:
    if not ranked:
        print("semantic-ranker: there are no documents", file=sys.stderr)
        return
    if ranked[0].degraded:
        print(f"semantic-ranker: not scored, kept in order: {ranked[0].degraded}", file=sys.stderr)
    write("rank   score  text")
    width = shutil.get_terminal_size().columns - 15
    for place, item in enumerate(ranked, start=1):
        write(f"{place:>4}  {item.relevance_score:.4f}  {snippet(item.text, max(20, width))}")
