"""``semantic-ranker index`` and ``query``: a folder of documents into an index, questions out of it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import count, size_text, snippet, write

if TYPE_CHECKING:
    from semantic_ranker.documents.redaction import FindNames
    from semantic_ranker.indexes.ingest import Ingested
    from semantic_ranker.pipeline import RAGPipeline
    from semantic_ranker.retrieval import Retrieval

_NONE = "none"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    index = commands.add_parser("index", help="make an index of a folder of documents, or bring one up to date")
    index.add_argument("documents", metavar="DOCS", help="folder or file: .txt .md .rst .html .pdf")
    index.add_argument(
        "--out", required=True, metavar="DIR", help="the index; if it is there, only what changed is read"
    )
    index.add_argument("--embedder", metavar="M", help="model that embeds (default: the bundled one)")
    index.add_argument("--reranker", metavar="M", help="model that reranks, or 'none' (default: the bundled one)")
    index.add_argument("--language", metavar="L", help="of the words: english, spanish, ... (default: english)")
    index.add_argument(
        "--source-weight", type=float, metavar="W", help="share of its document in a passage's score (default: 0)"
    )
    index.add_argument("--min-tokens", type=count, default=200, metavar="N", help="of a passage (default: 200)")
    index.add_argument("--max-tokens", type=count, default=600, metavar="N", help="of a passage (default: 600)")
    index.add_argument("--overlap", type=int, default=0, metavar="N", help="tokens repeated (default: 0)")
    index.add_argument(
        "--precompute",
        action="store_true",
        help="keep what the reranker needs of each passage, some 400 bytes a token: queries then take milliseconds",
    )
    index.add_argument("--redact", action="store_true", help="take personal data out before anything is stored")
    index.add_argument(
        "--names",
        metavar="LANG",
        help="the same with people's names, by Presidio: en, es, or LANG:MODEL of spaCy",
    )
    index.add_argument("--json", action="store_true", help="print JSON")
    index.set_defaults(run=_index)
    query = commands.add_parser("query", help="ask an index")
    query.add_argument("index", metavar="INDEX", help="folder that `index` made")
    query.add_argument("query")
    query.add_argument("--top-k", type=count, metavar="N", help="how many passages (default: 5)")
    query.add_argument("--where", metavar="JSON", help='which passages count, such as {"source": "leave.md"}')
    query.add_argument("--context", action="store_true", help="print the context for a language model")
    query.add_argument("--max-tokens", type=count, metavar="N", help="of the context")
    query.add_argument("--json", action="store_true", help="print JSON")
    query.set_defaults(run=_query)


def _index(options: argparse.Namespace) -> int:
    from semantic_ranker.documents import ChunkConfig, Redactor

    start = time.perf_counter()
    config = ChunkConfig(
        min_tokens=min(options.min_tokens, options.max_tokens),
        max_tokens=options.max_tokens,
        overlap_tokens=options.overlap,
    )
    redactor = Redactor(names=_names(options)) if options.redact or options.names else None
    report = _pipeline(options).index_folder(options.documents, options.out, config=config, redactor=redactor)
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in Path(options.out).rglob("*") if file.is_file())
    if options.json:
        print(json.dumps({**report.to_dict(), "seconds": round(seconds, 3), "size_bytes": size}, indent=2))
    else:
        _print_report(report, seconds, size, options.out)
    return 0


def _names(options: argparse.Namespace) -> FindNames | None:
    from semantic_ranker.documents import presidio_names

    if not options.names:
        return None
    language, _, model = options.names.partition(":")
    return presidio_names(language, model=model or None)


def _pipeline(options: argparse.Namespace) -> RAGPipeline:
    from semantic_ranker.pipeline import BUNDLED, RAGPipeline

    if (Path(options.out) / "pipeline.json").exists():
        return _opened(options)
    reranker = None if options.reranker == _NONE else options.reranker or BUNDLED
    return RAGPipeline(
        options.embedder or BUNDLED,
        reranker,
        language=options.language or "english",
        source_weight=options.source_weight,
        precompute=options.precompute,
    )


def _opened(options: argparse.Namespace) -> RAGPipeline:
    """Open the index that is there; what it was made with may be said again, but not otherwise."""
    from semantic_ranker._arguments import check_source_weight
    from semantic_ranker.errors import InvalidInputError
    from semantic_ranker.pipeline import RAGPipeline

    pipeline = RAGPipeline.load(options.out)
    made_with = {**pipeline.models, "language": pipeline.index.language}
    for name, own in made_with.items():
        given = getattr(options, name)
        if given is not None and os.path.normpath(given) != os.path.normpath(own or ""):
            raise InvalidInputError(
                f"Expected --{name} {own}, with which the index in {options.out!r} was made, got {given}: choose "
                "another folder for another one."
            )
    pipeline.precompute = pipeline.precompute or options.precompute
    if options.source_weight is not None:
        pipeline.retriever.source_weight = check_source_weight(options.source_weight)
    return pipeline


def _print_report(report: Ingested, seconds: float, size: int, out: str) -> None:
    read = report.added + report.changed
    write(
        f"{report.added} documents added, {report.changed} changed, {report.deleted} deleted, "
        f"{report.unchanged} unchanged"
    )
    for reason, number in report.to_dict()["skipped"].items():
        write(f"  left out {number}: {reason}")
    if report.redacted:
        write("  redacted " + ", ".join(f"{number} {kind}" for kind, number in report.redacted.items()))
    rate = f", {read / seconds:.0f} documents/s" if read else ""
    write(f"{report.passages:,} passages, {size_text(size)} in {out} ({seconds:.1f} s{rate})")


def _query(options: argparse.Namespace) -> int:
    from semantic_ranker.pipeline import RAGPipeline

    where = _where(options.where)
    pipeline = RAGPipeline.load(options.index, read_only=True)
    if options.context:
        context = pipeline.context_for(options.query, options.top_k, options.max_tokens, where=where)
        shown = {"query": options.query, "tokens": context.tokens, "cut": context.cut, "context": context.text}
        for line in [json.dumps(shown, indent=2)] if options.json else context.text.split("\n"):
            write(line)
        return 0
    found = pipeline.retrieve(options.query, options.top_k, where=where)
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        _print_results(found)
    return 0


def _where(text: str | None) -> dict[str, Any] | None:
    from semantic_ranker.errors import InvalidInputError

    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f'Expected JSON for --where, such as {{"source": "leave.md"}}, got {text!r}.'
        ) from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"Expected an object for --where, got {text!r}.")
    return found


def _print_results(found: Retrieval) -> None:
    if found.degraded:
        print(f"semantic-ranker: second best: {found.degraded}", file=sys.stderr)
    if not len(found):
        print("semantic-ranker: nothing was found", file=sys.stderr)
        return
    width = max(40, shutil.get_terminal_size().columns)
    write("rank   score  source")
    for place, item in enumerate(found, start=1):
        write(f"{place:>4}  {item.score:.4f}  {snippet(item.passage.citation, width - 16)}")
        write(f"{'':14}{snippet(item.passage.text, width - 16)}")
