"""What a training run leaves behind: the model folder with card and manifest, histories, curves, evaluation."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker._files import write_atomically
from semantic_ranker._machine import default_threads
from semantic_ranker._staging import staged_folder
from semantic_ranker.evaluation import RankerEvaluator, RerankTask, evaluate, interval
from semantic_ranker.model_folder import ModelFolder
from semantic_ranker_training.calibration import fit_platt, fit_temperature
from semantic_ranker_training.card import model_card
from semantic_ranker_training.cross_encoder.evaluator import METRICS, PRIMARY, TrainedScorer
from semantic_ranker_training.manifest import Metric, ModelMetadata, build_manifest, write_manifest
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from semantic_ranker_training.cross_encoder.config import Calibration

HISTORY = "training_history.json"
EVALUATION = "evaluation_results.json"
_PACKAGES = ("semantic-ranker", "torch", "transformers", "sentence-transformers", "peft", "tokenizers", "numpy")
_GUIDE_NAMES = {"loss": "train_loss", f"eval_{PRIMARY}": PRIMARY, "learning_rate": "learning_rates"}


def write_history(folder: Path, log: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, list[float]]:
    """Write ``training_history.json`` and the learning curves as SVG and HTML; return the history by name.

    Args:
        folder: Of the run.
        log: The trainer's log.
        facts: Shown above the curves.
    """
    from semantic_ranker.reports import Page
    from semantic_ranker.reports.plots import learning_curves

    history: dict[str, list[float]] = {name: [] for name in _GUIDE_NAMES.values()}
    for entry in log:
        for key, name in _GUIDE_NAMES.items():
            if key in entry:
                history[name].append(float(entry[key]))
    write_atomically(folder / HISTORY, _json({**history, "log_history": list(log)}))
    figure = learning_curves(log)
    page = Page("Training", "Learning curves").facts(dict(facts))
    page.plot(figure, "Loss, measures on held-out queries, learning rate", "Curves by training step")
    page.write(folder / "learning_curves.html")
    figure.savefig(folder / "learning_curves.svg", metadata={"Date": None})
    return history


def write_evaluation(folder: Path, model: CrossEncoder, task: RerankTask, start: Mapping[str, float]) -> list[Metric]:
    """Measure the model, write ``evaluation_results.json`` and return the figures for card and manifest.

    Args:
        folder: Of the run.
        model: The trained model.
        task: Held-out queries and their candidates.
        start: The same measures before training.
    """
    report = RankerEvaluator(TrainedScorer(model)).evaluate(task, METRICS)
    values = evaluate(report.run, task.qrels, METRICS).per_query
    metrics = []
    for found in report.metrics:
        low, high = interval(list(values[found.metric].values()))
        baselines = {"BM25": found.first_stage, "best order": found.ceiling}
        if found.metric in start:
            baselines["before training"] = float(start[found.metric])
        metrics.append(
            Metric(
                collection="held-out queries",
                name=found.metric,
                value=found.reranked,
                low=low,
                high=high,
                baselines=baselines,
            )
        )
    content = {**report.to_dict(), "intervals": {metric.name: [metric.low, metric.high] for metric in metrics}}
    write_atomically(folder / EVALUATION, _json({**content, "before_training": dict(start)}))
    return metrics


def calibrate(model: CrossEncoder, task: RerankTask | None, how: Calibration) -> dict[str, Any]:
    """Fit ``relevance = sigmoid(scale * logit + bias)`` on the candidates of held-out queries.

    Returns:
        ``scale``, ``bias``, ``method`` and the number of texts. Where nothing can be fitted (no held-out queries, one
        class, or logits that fall with relevance) the method is ``none`` and says why.
    """
    if task is None or how == "none":
        return {"scale": 1.0, "bias": 0.0, "method": "none", "why": "not asked for" if task else "no held-out queries"}
    queries = [query for query in task.candidates if query in task.qrels]
    texts = [[task.corpus[document] for document in task.candidates[query]] for query in queries]
    scores = TrainedScorer(model).score_many([task.queries[query] for query in queries], texts)
    logits = np.concatenate(scores)
    relevant = np.array(
        [task.qrels[query].get(document, 0) > 0 for query in queries for document in task.candidates[query]], dtype=bool
    )
    if relevant.all() or not relevant.any():
        return {"scale": 1.0, "bias": 0.0, "method": "none", "why": "one class among the candidates"}
    scale, bias = fit_platt(logits, relevant) if how == "platt" else (fit_temperature(logits, relevant), 0.0)
    if not scale > 0:
        return {"scale": 1.0, "bias": 0.0, "method": "none", "why": "logits do not rise with relevance"}
    return {"scale": scale, "bias": bias, "method": how, "texts": len(logits), "relevant": int(relevant.sum())}


def save_model(model: CrossEncoder, folder: Path, metadata: ModelMetadata) -> None:
    """Write a model folder whole or not at all: safetensors, tokenizer, card, manifest.

    Args:
        model: A plain model, without adapters.
        folder: Where to; a model that is there is replaced.
        metadata: What card and manifest say.
    """
    with staged_folder(folder, overwrite=True) as staged:
        with quiet_library():
            model.save_pretrained(str(staged), create_model_card=False)
        opened = ModelFolder.open(staged).settings
        settings = replace(
            opened,
            name=metadata.name,
            max_length=metadata.max_length or opened.max_length,
            max_query_tokens=metadata.max_query_tokens or opened.max_query_tokens,
            activation="identity",
            scale=metadata.scale,
            bias=metadata.bias,
            languages=metadata.languages,
        )
        (staged / "README.md").write_text(model_card(metadata, None, ()), encoding="utf-8")
        write_manifest(staged, build_manifest(staged, metadata, settings, parity={}))


def environment() -> dict[str, Any]:
    """Return versions and hardware, as JSON values."""
    import torch

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "versions": {"python": sys.version.split()[0], **found},
        "hardware": {"device": device, "threads": default_threads(), "system": platform.system()},
    }


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, default=float) + "\n"
