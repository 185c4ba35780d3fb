"""``semantic-ranker export``: write a model folder that runs without torch."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import count, write

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = ("auto", "reranker", "embedder")
_PRECISIONS = ("fp32", "fp16", "int8")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    export = commands.add_parser(
        "export",
        help="write a model folder that runs without torch",
        description="Writes ONNX graphs of a reranker or a bi-encoder beside its weights. Nothing is written unless "
        "they score like the source and, with --data, rank judged queries as well.",
    )
    export.add_argument("model", metavar="MODEL", help="folder with safetensors, or hub id")
    export.add_argument("out", metavar="OUT", help="folder to write")
    export.add_argument("--kind", choices=_KINDS, default="auto", help="what MODEL is (default: read off its files)")
    export.add_argument(
        "--precisions",
        nargs="+",
        default=["fp32", "int8"],
        choices=_PRECISIONS,
        help="graphs to keep (default: fp32 int8)",
    )
    export.add_argument("--overwrite", action="store_true", help="replace a model folder at OUT")
    export.add_argument("--pairs", metavar="FILE", help="parity on these: 'query<TAB>text' a line (default: built in)")
    _add_gate(export)
    export.add_argument("--json", action="store_true", help="print JSON")
    export.add_argument("--html", metavar="PAGE", help="write a page with plots (extra: report)")
    export.set_defaults(run=_export)


def _add_gate(export: argparse.ArgumentParser) -> None:
    gate = export.add_argument_group("quality gate")
    gate.add_argument("--data", metavar="DIR", help="BEIR folder on which int8 must rank as well as fp32")
    gate.add_argument("--split", default="test", metavar="NAME", help="its judgments (default: test)")
    gate.add_argument("--queries", type=count, metavar="N", help="the first so many (default: all)")
    gate.add_argument("--depth", type=count, default=50, metavar="N", help="BM25 candidates a query (default: 50)")
    gate.add_argument("--accept-loss", action="store_true", help="write even a worse model; its manifest says so")


def _export(options: argparse.Namespace) -> int:
    import json

    from semantic_ranker._extras import requires_extra

    with requires_extra("training"):
        # By name, so that the core never imports training.
        optimizer = importlib.import_module("semantic_ranker_training.optimizer")
        settings = importlib.import_module("semantic_ranker_training.export_options")
        importlib.import_module("semantic_ranker_training.export")
    report = optimizer.ModelOptimizer(options.model, kind=options.kind).export(
        options.out,
        options.precisions,
        pairs=_pairs(options.pairs),
        overwrite=options.overwrite,
        options=settings.ExportOptions(gate=_gate(options)),
    )
    if options.html:
        report.page().write(options.html)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        write(f"Wrote {options.out}")
        write(report.summary())
    return 0


def _gate(options: argparse.Namespace) -> Any:
    if not options.data:
        return None
    from pathlib import Path

    gates = importlib.import_module("semantic_ranker_training.quality_gate")
    return gates.QualityGate(
        data=Path(options.data),
        split=options.split,
        depth=options.depth,
        queries=options.queries,
        accept_loss=options.accept_loss,
    )


def _pairs(path: str | None) -> Sequence[tuple[str, str]] | None:
    if path is None:
        return None
    from pathlib import Path

    from semantic_ranker.errors import InvalidInputError

    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"Cannot read the pairs in {path}: {error}.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        query, tab, text = line.partition("\t")
        if line.strip() and not (tab and query.strip() and text.strip()):
            raise InvalidInputError(f"Expected 'query<TAB>text' in line {number} of {path}, got {line[:60]!r}.")
        if line.strip():
            found.append((query, text))
    return found
