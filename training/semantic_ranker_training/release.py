"""Turns a finished run into a bundled model: export, card with the measured figures, INT8 only.

python -m semantic_ranker_training.release runs/reranker-en OUT [--quality quality.json] [--precisions int8]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ranker.errors import InvalidInputError, SemanticRankerError
from semantic_ranker_training.export import ExportOptions, export_model
from semantic_ranker_training.known_base import of_base
from semantic_ranker_training.manifest import DataSource, Metric, ModelMetadata
from semantic_ranker_training.states import RaggedStates
from semantic_ranker_training.train import base_folder

_LICENSES = {
    "docstrings": "BSD-3-Clause and similar, per package",
    "debian-en": "free, per package",
    "debian-es": "free, per package",
    "medquad": "CC BY 4.0",
}
_QA_LICENSE = "CC BY-SA 4.0"
_MAX_QUERY_TOKENS = 96


def metadata_of(run: dict[str, Any], quality: dict[str, Any] | None, version: str) -> ModelMetadata:
    """Describe a run for the card and the manifest.

    Args:
        run: Content of the run's ``training.json``, of `train` or of `shallow`.
        quality: Content of ``benchmarks/results/quality.json``, or of ``languages.json`` for the model of that file, or
            None.
        version: Version of the weights.
    """
    if "teacher" not in run:
        return _head_run(run, quality, version)
    teacher, recipe = run["teacher"], run["recipe"]
    known = _head_run({**run, **teacher}, quality, version)
    layers = ", ".join(str(layer + 1) for layer in recipe["layers"])
    stages = _stages(run)
    steps = ", then ".join(f"{stage['recipe']['steps']} steps over {_texts(stage)}" for stage in stages)
    packages = sorted({name for stage in stages for name in stage["recipe"]["packages"]})
    texts = DataSource(
        name=", ".join(dict.fromkeys(Path(file).name for stage in stages for file in stage["recipe"]["files"])),
        license=f"{_QA_LICENSE}, CC BY 4.0; free, per package",
        use="passages and queries, each text alone",
    )
    code = DataSource(
        name=f"functions of {', '.join(packages)}",
        license=_LICENSES["docstrings"],
        use="functions, and first sentences of docstrings, each text alone",
    )
    return replace(
        known,
        name=recipe["name"],
        description=(
            f"A smaller and faster English reranker for CPUs: {len(recipe['layers'])} layers that give nearly the "
            f"states of all layers of {teacher['recipe']['name']}, and its head."
        ),
        recipe=(
            f"{steps}, without labels: layers {layers} of the teacher, trained to give its projected token states and "
            "pooled states (1 - cosine), and its similarities between texts. Embeddings and head are the teacher's. "
            f"The teacher: {known.recipe}"
        ),
        data=(texts, *((code,) if packages else ()), *known.data),
        training={key: run[key] for key in ("recipe", "start", "teacher", "texts", "held_out", "versions")},
    )


def _stages(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a shallow run and those that it goes on from, first one first."""
    return [*(_stages(run["start"]) if run.get("start") else []), run]


def _texts(stage: dict[str, Any]) -> str:
    counts = f"{stage['texts']['passages']:,} passages and {stage['texts']['queries']:,} queries"
    return f"{counts}, code among them" if stage["recipe"]["packages"] else counts


def _head_run(run: dict[str, Any], quality: dict[str, Any] | None, version: str) -> ModelMetadata:
    recipe = run["recipe"]
    data = tuple(
        DataSource(
            name=name,
            license=_LICENSES.get(name, _QA_LICENSE),
            use=f"{run['pairs'][name]} queries over {count} passages, without their labels",
            sha256=run["data_sha256"][name],
        )
        for name, count in run["passages"].items()
    )
    metadata = ModelMetadata(
        name=recipe["name"],
        version=version,
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        license="apache-2.0",
        languages=("en",),
        max_query_tokens=_MAX_QUERY_TOKENS,
        activation="sigmoid",
        scale=run["calibration"]["scale"],
        bias=run["calibration"]["bias"],
        description=(
            "A small English reranker for CPUs. Its six layers are all-MiniLM-L6-v2's, each side attending to "
            "itself; a head scores the interactions of the two sides' token states."
        ),
        recipe=(
            f"{recipe['steps']} steps of listwise distillation on {recipe['batch_queries']} queries with "
            f"{recipe['group_size']} candidates each. The teacher is the sum of the z-scores of {_taught_by(recipe)}. "
            "Only the head was trained; labels were used for nothing but the filter of wrong pairs and the calibration."
        ),
        data=data,
        seen=(
            "all-MiniLM-L6-v2 was trained on more than a billion pairs, MS MARCO, SQuAD, S2ORC and Stack Exchange "
            "among them: figures on other collections are not zero-shot in the strict sense.",
        ),
        limits=(
            "English only: Spanish questions are ranked worse than by BM25, so `rank` leaves other languages in the "
            "order given.",
            "Calibrated on English question answering, package descriptions and Python functions; check a threshold "
            "on your own texts.",
        ),
        metrics=_metrics(quality),
        training={key: run[key] for key in ("recipe", "pairs", "passages", "data_sha256", "held_out", "versions")},
    )
    # Runs of before there were such keys have none.
    languages = tuple(recipe.get("languages", ()))
    limits = metadata.limits[-1:]
    if set(languages) - {"en"}:
        limits = (
            f"Trained and calibrated on texts in {', '.join(languages)}, with questions in English alone; check a "
            "threshold on your own texts.",
        )
    return of_base(metadata, recipe["base"], languages=languages, limits=limits)


def _taught_by(recipe: dict[str, Any]) -> str:
    if recipe.get("teacher") == "":
        return "BM25 and the base's cosine"
    return "BM25, the base's cosine, and the cosine and token match of all-mpnet-base-v2"


def calibration_ids(states: Path, *, passages: int = 40, queries: int = 15) -> list[list[int]]:
    """Return token ids of texts that a run was trained on, of all its sources alike, drawn with seed 0.

    Args:
        states: The run's folder of states.
        passages: Of each source.
        queries: Of each source.
    """
    generator, found = np.random.default_rng(0), []
    for count, kind in ((passages, "passages"), (queries, "queries")):
        for file in sorted(states.glob(f"*.{kind}.npz")):
            texts = RaggedStates.ids_of(file)
            found += [texts[row] for row in generator.permutation(len(texts))[:count]]
    return found


def _metrics(quality: dict[str, Any] | None) -> tuple[Metric, ...]:
    if quality is None:
        return ()
    if "spanish" in quality:
        part = quality["spanish"]
        return (_metric(part["collection"], part["systems"], "multilingual", "multilingual-e5-small"),)
    tables = {name: part["systems"] for name, part in quality["collections"].items()} | {"macro": quality["macro"]}
    return tuple(_metric(name, systems, "reranker", "bi-encoder") for name, systems in tables.items())


def _metric(collection: str, systems: dict[str, Any], ours: str, bi_encoder: str) -> Metric:
    of = systems[ours]
    baselines = {name: systems[name]["mean"] for name in ("BM25", bi_encoder, "RRF")}
    return Metric(
        collection=collection, name="nDCG@10", value=of["mean"], low=of["low"], high=of["high"], baselines=baselines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a run; return the exit status."""
    parser = argparse.ArgumentParser(prog="semantic_ranker_training.release", description="Export a finished run.")
    parser.add_argument("run", type=Path, help="folder that semantic_ranker_training.train wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=Path, help="results of benchmarks/quality.py or languages.py, for the card")
    parser.add_argument("--precisions", nargs="+", default=["int8"], choices=["int8", "fp32"])
    parser.add_argument("--version", default="0.1.0", help="version of the weights")
    parser.add_argument("--compact", action="store_true", help="tables of int8 in 4 and 8 bits: 7 MB less")
    parser.add_argument("--weights", action="store_true", help="keep model.safetensors too, for `tune --base`")
    options = parser.parse_args(arguments)
    try:
        run = _read(options.run / "training.json")
        metadata = metadata_of(run, _read(options.quality) if options.quality else None, options.version)
        taught_by = run.get("teacher", run)["recipe"]
        tokenizer = base_folder(taught_by["base"]) / "tokenizer.json"
        states = Path(run["recipe"]["teacher"] if "teacher" in run else options.run) / "states"
        report = export_model(
            options.run / "model",
            options.out,
            precisions=options.precisions,
            metadata=metadata,
            tokenizer=tokenizer,
            overwrite=True,
            # Two graphs of the same weights would not fit the wheel.
            options=ExportOptions(
                segments="only",
                calibration=calibration_ids(states),
                compact=options.compact,
                weights=options.weights,
            ),
        )
    except SemanticRankerError as error:
        parser.exit(2, f"error: {error}\n")
    sys.stdout.write(report.summary() + "\n")
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InvalidInputError(f"Cannot read {path}: {error}.") from error
    return content


if __name__ == "__main__":
    sys.exit(main())
