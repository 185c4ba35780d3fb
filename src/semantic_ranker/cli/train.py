"""``semantic-ranker train``: a recipe and data in, a model folder out."""

from __future__ import annotations

import argparse
import importlib
import json
import logging

from semantic_ranker.cli._output import write


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    train = commands.add_parser(
        "train",
        help="train a reranker by a recipe",
        description="Train a reranker by a recipe; the same command continues a run that was killed.",
    )
    train.add_argument("recipe", metavar="RECIPE", help="TOML file, such as training/recipes/prototype.toml")
    train.add_argument("--data", metavar="PATH", help="file or folder of training data, or a folder of documents")
    train.add_argument("--out", metavar="FOLDER", required=True, help="model folder to write")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe; may be repeated"
    )
    train.add_argument("--json", action="store_true", help="print JSON")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    # Progress and warnings go to standard error; what was made goes to standard output.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("semantic_ranker_training").setLevel(logging.INFO)
    # Not by a level: the package sets its own when it is imported, which is later.
    logging.getLogger("bm25s").addFilter(_is_warning)
    with requires_extra("training"):
        # By name, so that the core never imports training.
        run = importlib.import_module("semantic_ranker_training.run")
        result = run.run_recipe(options.recipe, data=options.data, out=options.out, overrides=options.set)
    if options.json:
        write(json.dumps(result.to_dict(), indent=2))
        return 0
    write(f"Wrote {result.folder}")
    for name, size in result.sizes.items():
        write(f"{name}  {size / 1e6:.1f} MB")
    for metric in result.metrics:
        others = ", ".join(f"{name} {value:.3f}" for name, value in metric.baselines.items())
        interval = "" if metric.low is None else f" [{metric.low:.3f}, {metric.high:.3f}]"
        write(f"{metric.name} on {metric.collection}: {metric.value:.3f}{interval} ({others})")
    if (result.folder / "adapter").is_dir():
        write(f"Adapter: {result.folder / 'adapter'}, merged into the model above")
    if result.reports is not None:
        write(f"Curves: {result.reports / 'learning_curves.html'}")
    return 0


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
