"""``semantic-ranker train-embedder``: isotropic embeddings, by a layer that is fitted or by training."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
from pathlib import Path
from typing import Any

from semantic_ranker.cli._output import count, write

_EARLY_LAYERS = 4  # what the guide's flag without a number froze
_NUMBERS: dict[str, tuple[type[int] | type[float], str]] = {
    "output_dim": (int, "width of the vectors; the base's by default"),
    "freeze_early_layers": (int, f"lowest layers that do not learn; {_EARLY_LAYERS} without a number"),
    "batch_size": (int, "pairs a step; SIGReg sees little in fewer than 64"),
    "gradient_accumulation_steps": (int, "batches an optimiser step"),
    "learning_rate": (float, "highest learning rate"),
    "base_learning_rate": (float, "the same of the base alone"),
    "projection_learning_rate": (float, "the same of the projection alone"),
    "weight_decay": (float, "AdamW's"),
    "warmup_steps": (int, "steps of warm-up; a tenth of all by default"),
    "max_length": (int, "tokens of a text"),
    "lambda_isotropy": (float, "weight of SIGReg"),
    "lambda_reg": (float, "weight of the variance term"),
    "margin": (float, "of --contrastive margin, in distances of two random texts"),
    "temperature": (float, "of --contrastive infonce"),
    "slices": (int, "random directions of SIGReg a step"),
    "predictor": (int, "hidden width of a JEPA head that is thrown away afterwards"),
    "save_interval": (int, "epochs between checkpoints"),
    "seed": (int, "of order, dropout and slices"),
}
_CHOICES = {
    "distance": ("cosine", "l2"),
    "contrastive": ("infonce", "margin"),
    "isotropy": ("sigreg", "covariance"),
    "mixed_precision": ("no", "bf16", "fp16"),
    "device": ("cpu", "cuda"),
}
_SHOWN = ("nDCG@10", "RR@10", "Recall@10", "AP@100", "average_cosine", "effective_rank")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    found = commands.add_parser(
        "train-embedder",
        help="make a bi-encoder's vectors isotropic, with training or without",
        description="Make the vectors of a bi-encoder isotropic. With --documents a layer is fitted to them, without "
        "labels and without training. With --train-data the model is trained with SIGReg; the same command continues a "
        "run that was killed.",
    )
    what = found.add_mutually_exclusive_group(required=True)
    what.add_argument("--documents", metavar="PATH", help="file or folder of documents to fit a layer to")
    what.add_argument("--train-data", "--train_data", metavar="FILE", help="pairs: query, positive, perhaps negative")
    found.add_argument("--val-data", "--val_data", metavar="FILE", help="pairs to measure on; a tenth by default")
    found.add_argument("--queries", metavar="FILE", help="with --documents: queries of users, one a line")
    found.add_argument("--power", type=float, metavar="P", help="with --documents: 0 centres, 0.5 whitens fully")
    found.add_argument(
        "--base-model", "--base_model", metavar="MODEL", help="folder, package:folder or hub id; a trained one goes on"
    )
    found.add_argument("--out", "--output_dir", "--output-dir", metavar="FOLDER", required=True, help="where to")
    found.add_argument("--epochs", "--num_epochs", "--num-epochs", type=count, help="passes over the pairs")
    found.add_argument("--freeze-base", "--freeze_base", action="store_true", help="train the projection alone")
    found.add_argument("--log-interval", "--log_interval", type=count, help="steps between entries of the log")
    for name, (kind, text) in _NUMBERS.items():
        early: dict[str, Any] = {"nargs": "?", "const": _EARLY_LAYERS} if name == "freeze_early_layers" else {}
        found.add_argument(*_spellings(name), type=kind, help=text, metavar="N", **early)
    for name, choices in _CHOICES.items():
        half: dict[str, Any] = {"nargs": "?", "const": "fp16"} if name == "mixed_precision" else {}
        found.add_argument(*_spellings(name), choices=choices, help=f"one of {', '.join(choices)}", **half)
    found.add_argument("--json", action="store_true", help="print JSON")
    found.set_defaults(run=_run)


def _spellings(name: str) -> list[str]:
    return list(dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"]))


def _run(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("semantic_ranker_training").setLevel(logging.INFO)
    with requires_extra("training"):
        # By name, so that the core never imports training.
        steps = importlib.import_module("semantic_ranker_training.gaussian.command")
        if options.documents is not None:
            return _show(steps.fit_layer(options.documents, **_fitting(options)), options)
        return _show(steps.train(options.train_data, options.val_data, **_training(options)), options)


def _fitting(options: argparse.Namespace) -> dict[str, Any]:
    from semantic_ranker.errors import InvalidInputError

    if given := sorted(_settings(options)):
        raise InvalidInputError(f"Expected --train-data with {', '.join(given)}: --documents fits a layer, untrained.")
    return {"base": options.base_model, "out": options.out, "queries": options.queries, "power": options.power}


def _training(options: argparse.Namespace) -> dict[str, Any]:
    from semantic_ranker.errors import InvalidInputError

    if options.queries is not None or options.power is not None:
        raise InvalidInputError("Expected --documents with --queries and --power.")
    return {"base": options.base_model, "out": options.out, "settings": _settings(options)}


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    found = {name: getattr(options, name) for name in (*_NUMBERS, *_CHOICES)}
    found |= {"num_epochs": options.epochs, "logging_steps": options.log_interval}
    found |= {"freeze_base": True} if options.freeze_base else {}
    return {name: value for name, value in found.items() if value is not None}


def _show(result: dict[str, Any], options: argparse.Namespace) -> int:
    if options.json:
        write(json.dumps(result, indent=2))
        return 0
    write(f"Wrote {result['model']}: vectors of {result['dim']} numbers")
    for name in _SHOWN:
        before, after = (result.get("metrics", {}).get(when, {}).get(name) for when in ("before", "after"))
        if before is not None and after is not None:
            write(f"{name:<16} {before:8.3f} before {after:8.3f} after")
    for line in result.get("notes", ()):
        write(line)
    if (log := Path(options.out) / "training.log").is_file():
        write(f"Log: {log}; curves: {log.with_name('learning_curves.html')}")
    return 0
