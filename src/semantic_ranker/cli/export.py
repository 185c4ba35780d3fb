"""``semantic-ranker export``: write a model folder that runs without torch."""

from __future__ import annotations

import argparse
import importlib

from semantic_ranker.cli._output import write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    export = commands.add_parser("export", help="write a model folder that runs without torch")
    export.add_argument("model", metavar="MODEL", help="folder with safetensors, or hub id")
    export.add_argument("out", metavar="OUT", help="folder to write")
    export.add_argument(
        "--precisions",
        nargs="+",
        default=["fp32", "int8"],
        choices=["fp32", "int8"],
        help="graphs to keep (default: both)",
    )
    export.add_argument("--overwrite", action="store_true", help="replace a model folder at OUT")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    with requires_extra("training"):
        # By name, so that the core never imports training.
        export = importlib.import_module("semantic_ranker_training.export")
        report = export.export_model(
            options.model, options.out, precisions=options.precisions, overwrite=options.overwrite
        )
    write(f"Wrote {options.out}")
    write(report.summary())
    return 0
