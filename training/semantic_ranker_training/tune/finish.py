"""From trained weights to a model folder: calibration, INT8, card and manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ranker import CrossEncoder
from semantic_ranker._files import write_atomically
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.errors import ExportParityError, InvalidInputError
from semantic_ranker.evaluation import RankerEvaluator, RerankTask
from semantic_ranker_training.calibration import fit_platt
from semantic_ranker_training.export import ExportOptions, export_model
from semantic_ranker_training.manifest import Metric, ModelMetadata, write_manifest
from semantic_ranker_training.states import bare_tokenizer, base_tokens
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.fit import METRIC
from semantic_ranker_training.tune.scoring import InteractionScorer

_FITTED_PASSAGES, _FITTED_QUERIES, _FITTED_TOKENS = 160, 60, 256
_GATE_QUERIES, _GATE_TEXTS = 12, 8


def scorer_of(fitted: Path, kind: str) -> AbstractContextManager[Any]:
    """Open trained weights as what `RankerEvaluator` takes."""
    if kind == "interaction":
        return InteractionScorer(InteractionCrossEncoder.from_folder(fitted), fitted / "tokenizer.json")
    return nullcontext(CrossEncoder(fitted, backend="torch", other_languages="score"))


def calibration(fitted: Path, kind: str, validation: RerankTask) -> tuple[float, float]:
    """Return scale and bias of ``relevance = sigmoid(scale * logit + bias)``, fitted on the validation queries.

    Where they cannot be fitted, or would turn the order round, logits stay as they are.
    """
    with scorer_of(fitted, kind) as scorer:
        run = RankerEvaluator(scorer).evaluate(validation, METRIC, resamples=100).run
    pairs = [
        (score, validation.qrels[qid].get(passage, 0) > 0) for qid, of in run.items() for passage, score in of.items()
    ]
    try:
        scale, bias = fit_platt(np.array([of for of, _ in pairs], np.float32), np.array([of for _, of in pairs]))
    except (InvalidInputError, np.linalg.LinAlgError):
        return 1.0, 0.0
    return (scale, bias) if scale > 0 and np.isfinite([scale, bias]).all() else (1.0, 0.0)


def export(
    fitted: Path, kind: str, out: Path, metadata: ModelMetadata, texts: Sequence[str], validation: RerankTask
) -> dict[str, Any]:
    """Write the model folder; int8, or float32 where int8 is too coarse for what was learnt.

    Args:
        fitted: Trained weights with their tokenizer.
        kind: ``interaction`` or ``cls``.
        out: The folder; one that is there is replaced.
        metadata: What card and manifest say.
        texts: Passages that int8 is fitted to.
        validation: Whose queries and candidates the parity gate uses.

    Returns:
        Size and precision.
    """
    pairs = _pairs(validation)
    options = ExportOptions()
    if kind == "interaction":
        options = ExportOptions(segments="only", calibration=_ids(fitted, texts, list(validation.queries.values())))
    # A folder of a run that was killed is no model folder, and could not be replaced.
    shutil.rmtree(out, ignore_errors=True)
    try:
        report = export_model(fitted, out, precisions=("int8",), pairs=pairs, metadata=metadata, options=options)
        precision = "int8"
    except ExportParityError:
        report = export_model(fitted, out, precisions=("fp32",), pairs=pairs, metadata=metadata, options=options)
        precision = "fp32"
    return {"precision": precision, "megabytes": round(report.megabytes, 1), "parity": report.parity.to_dict()}


def publish(
    model: Path,
    out: Path,
    metrics: Sequence[Metric],
    limits: Sequence[str],
    extra: Mapping[str, str],
    source_weight: float,
) -> None:
    """Put a model folder with its figures in place, whole or not at all.

    Args:
        model: The exported folder.
        out: Where to; a model folder that is there is replaced.
        metrics: What was measured.
        limits: What is to be said beside it.
        extra: Further files by name.
        source_weight: Share of the best passage of the same source in a passage's score.
    """
    with staged_folder(out, overwrite=True) as staged:
        shutil.copytree(model, staged, dirs_exist_ok=True)
        card = (staged / "README.md").read_text(encoding="utf-8")
        figures = "\n".join([_table(metrics), "", *(f"- {limit}" for limit in limits)])
        (staged / "README.md").write_text(card.replace("None measured.", figures), encoding="utf-8")
        for name, text in extra.items():
            (staged / name).write_text(text, encoding="utf-8")
        manifest = json.loads((staged / "semantic_ranker.json").read_text(encoding="utf-8"))
        kept = set(manifest["files"])
        manifest["files"] = {name: of for name, of in file_entries(staged).items() if name in kept}
        found: dict[str, dict[str, Any]] = {}
        for metric in metrics:
            found.setdefault(metric.collection, {})[metric.name] = metric.to_dict()
        write_manifest(staged, {**manifest, "metrics": found, "source_weight": source_weight})


def write_json(path: Path, content: Any) -> None:
    """Write JSON values, whole or not at all."""
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=True, default=float) + "\n")


def described(
    name: str, base: Base, language: str, pairs: Mapping[str, int], limits: Sequence[str], facts: Any
) -> ModelMetadata:
    """Return what card and manifest say of a tuned model before it is measured."""
    learnt = ", ".join(f"{count} {kind}" for kind, count in pairs.items())
    return ModelMetadata(
        name=name,
        base_model=base.name,
        license="unknown",
        languages=(language,),
        description=f"A reranker tuned from the {base.name} on a folder of documents.",
        recipe=f"`semantic-ranker tune`; learnt from {learnt} pairs. The documents' licence says who may use it.",
        limits=tuple(limits),
        activation="sigmoid",
        training=facts,
    )


def _ids(fitted: Path, texts: Sequence[str], queries: Sequence[str]) -> list[list[int]]:
    step = max(1, len(texts) // _FITTED_PASSAGES)
    chosen = [*list(texts)[::step][:_FITTED_PASSAGES], *queries[:_FITTED_QUERIES]]
    return base_tokens(bare_tokenizer(fitted), chosen, _FITTED_TOKENS)


def _pairs(validation: RerankTask) -> list[tuple[str, str]] | None:
    found = [
        (validation.queries[qid], validation.corpus[passage])
        for qid in list(validation.candidates)[:_GATE_QUERIES]
        for passage in list(validation.candidates[qid])[:_GATE_TEXTS]
    ]
    return found if len(found) >= _GATE_TEXTS else None


def _table(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return "None measured."
    others = list(metrics[0].baselines)
    lines = [["collection", "metric", "this model", *others], ["---"] * (3 + len(others))]
    for metric in metrics:
        own = f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
        lines.append(
            [metric.collection, metric.name, own, *(f"{metric.baselines.get(name, 0):.3f}" for name in others)]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
