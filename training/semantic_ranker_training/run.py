"""`run_recipe`: from a recipe and data to a finished model folder; a killed run continues where it was."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.errors import ExportParityError, InvalidInputError
from semantic_ranker_training.config import Recipe, recipe_of_values
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer, TrainingResult
from semantic_ranker_training.cross_encoder.model import check_precision
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data import Group, read_groups, split_groups, write_groups
from semantic_ranker_training.data.synthetic import synthetic_groups
from semantic_ranker_training.export import export_model
from semantic_ranker_training.known_base import of_base
from semantic_ranker_training.manifest import Metric, ModelMetadata
from semantic_ranker_training.recipe import KIND, SYNTHETIC, TINY, CrossEncoderRecipe, recipe_values

logger = logging.getLogger(__name__)

REPORTS = ("training_history.json", "evaluation_results.json", "learning_curves.svg", "learning_curves.html")
_TOO_COARSE = (
    "A model that has learnt little gives all texts nearly one logit, and int8 is too coarse for what is left: more "
    "data, epochs or layers mend it. The trained model is kept: the same command with --set 'precisions=[\"fp32\"]' "
    "writes it without training again."
)
_DOCUMENTS = (".md", ".markdown", ".rst", ".txt", ".html", ".htm")
_DATA_SETS = ("corpus.jsonl", "corpus.jsonl.gz", "collection.tsv", "collection.tsv.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a recipe made.

    Attributes:
        folder: The finished model folder.
        reports: Folder of the histories and curves, or None.
        metrics: Measured on held-out queries, with intervals.
        sizes: Bytes of each file of the model, by name.
    """

    folder: Path
    reports: Path | None
    metrics: tuple[Metric, ...]
    sizes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {
            "folder": str(self.folder),
            "reports": None if self.reports is None else str(self.reports),
            "metrics": [{"name": metric.name, **metric.to_dict()} for metric in self.metrics],
            "sizes": dict(self.sizes),
        }


def run_recipe(
    recipe: StrPath | Mapping[str, Any], *, data: StrPath | None = None, out: StrPath, overrides: Sequence[str] = ()
) -> RunResult:
    """Run a recipe of a [CLS] cross-encoder (``kind = "cross-encoder"``), the interaction model or a static embedder.

    The steps are kept in ``.NAME.run`` beside ``out`` until the model is finished, so that a run that was killed goes
    on from there.

    Args:
        recipe: A TOML file, or the values of one, such as a manifest's ``training.recipe``.
        data: File or folder of training data in any format of `read_groups`, or folder of documents. Recipes with
            ``data = "synthetic"`` need none.
        out: The model folder to write; it appears when it is complete.
        overrides: ``key=value`` of the recipe.

    Raises:
        InvalidInputError: Recipe or data cannot be used, or ``out`` has content.
        ModelLoadError: The base or a teacher cannot be opened.
        ExportParityError: The exported graph does not score like the trained model; the steps are kept.
        StorageError: The disk is full; the steps are kept.
    """
    values, target = recipe_values(recipe if isinstance(recipe, Mapping) else Path(recipe), overrides), Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(
            f"Expected a new or empty folder at {str(target)!r}, got one with content: give another."
        )
    work = target.absolute().parent / f".{target.name}.run"
    if values.get("kind") == KIND:
        result = _cross_encoder(CrossEncoderRecipe.of(values), None if data is None else Path(data), target, work)
    elif "sources" in values and "steps" in values:
        result = _interaction(values, Path(data or "."), target, work)
    elif "sources" in values and "base" in values:
        result = _static(values, Path(data or "."), target, work)
    else:
        raise InvalidInputError(
            f"Expected a recipe with kind = {KIND!r}, or one with base and [[sources]]: of the interaction model with "
            f"steps, of a static embedder without. Got the keys {', '.join(sorted(values))}."
        )
    shutil.rmtree(work, ignore_errors=True)
    return result


def _cross_encoder(recipe: CrossEncoderRecipe, data: Path | None, out: Path, work: Path) -> RunResult:
    check_precision(recipe.training)
    groups = _groups(recipe.data, data, work, recipe.training.seed)
    if recipe.max_queries is not None and len(groups) > recipe.max_queries:
        groups = random.Random(recipe.training.seed).sample(groups, recipe.max_queries)
    if recipe.validation:
        train, held_out = groups, _groups(recipe.validation, data, work, recipe.training.seed)
    else:
        train, held_out = map(list, split_groups(groups, (0.9, 0.1), seed=recipe.training.seed).parts)
    train = _mined(train, recipe, work)
    trainer = CrossEncoderTrainer(
        _base(recipe, groups, work), teacher=list(recipe.teacher) or None, config=recipe.training
    )
    result = trainer.train(train, held_out, output_dir=work / "training", metadata=_metadata(recipe))
    sizes = _published(result, recipe, out)
    reports = out / "training"
    reports.mkdir(exist_ok=True)
    for name in REPORTS:
        shutil.copyfile(result.folder / name, reports / name)
    if result.adapter is not None:
        shutil.copytree(result.adapter, out / "adapter")
    return RunResult(folder=out, reports=reports, metrics=result.metrics, sizes=sizes)


def _published(result: TrainingResult, recipe: CrossEncoderRecipe, out: Path) -> dict[str, int]:
    if recipe.precisions:
        try:
            report = export_model(result.model, out, precisions=recipe.precisions)  # type: ignore[arg-type]  # checked
        except ExportParityError as error:
            if "int8" not in str(error):
                raise
            raise ExportParityError(f"{error} {_TOO_COARSE}") from error
        return dict(report.size_bytes)
    with staged_folder(out) as staged:
        shutil.copytree(result.model, staged, dirs_exist_ok=True)
    return {name: int(entry["bytes"]) for name, entry in file_entries(out).items()}


def _interaction(values: Mapping[str, Any], data: Path, out: Path, work: Path) -> RunResult:
    from semantic_ranker_training.release import metadata_of
    from semantic_ranker_training.train import RerankerRun, base_folder

    recipe = recipe_of_values(Recipe, values)
    model = RerankerRun(recipe, data, work).run()
    run = json.loads((work / "training.json").read_text(encoding="utf-8"))
    report = export_model(
        model,
        out,
        precisions=("int8",),
        metadata=of_base(metadata_of(run, None, "1.0.0"), recipe.base),
        tokenizer=base_folder(recipe.base) / "tokenizer.json",
    )
    return RunResult(folder=out, reports=None, metrics=(), sizes=dict(report.size_bytes))


def _static(values: Mapping[str, Any], data: Path, out: Path, work: Path) -> RunResult:
    from semantic_ranker_training.static_embedder import StaticRecipe, StaticRun, release

    StaticRun(recipe_of_values(StaticRecipe, values), data, work).run()
    release(work, out, version="1.0.0")
    sizes = {name: int(entry["bytes"]) for name, entry in file_entries(out).items()}
    return RunResult(folder=out, reports=None, metrics=(), sizes=sizes)


def _groups(name: str, data: Path | None, work: Path, seed: int) -> list[Group]:
    if name == SYNTHETIC and data is None:
        logger.warning("training on made-up questions: no figure of this run means anything")
        return synthetic_groups(seed=seed)
    if data is None:
        raise InvalidInputError("Expected data to learn from: give --data FILE or FOLDER.")
    path = data / name if name and name != SYNTHETIC else data
    if not path.exists():
        raise InvalidInputError(f"Expected training data at {str(path)!r}, found none.")
    if _is_documents(path):
        path = _prepared(path, work)
    return list(read_groups(path, gather=path.is_file()))


def _is_documents(path: Path) -> bool:
    if not path.is_dir() or any((path / name).exists() for name in _DATA_SETS):
        return False
    return any(found.suffix.lower() in _DOCUMENTS for found in path.rglob("*"))


def _prepared(documents: Path, work: Path) -> Path:
    from semantic_ranker_training.prepare import prepare_documents

    prepare_documents(documents, work / "prepared")
    return work / "prepared" / "train.json"


def _mined(groups: list[Group], recipe: CrossEncoderRecipe, work: Path) -> list[Group]:
    wanted = recipe.training.group_size - 1
    if not recipe.mine or all(len(group.negatives) >= wanted or group.scores is not None for group in groups):
        return groups
    from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig

    kept = work / "mined.jsonl"
    if not kept.exists():
        config = MiningConfig(
            negatives=wanted,
            random_share=recipe.random_share,
            retrievers=recipe.mine,  # type: ignore[arg-type]  # checked by the recipe
            score_ratio=0.95 if "dense" in recipe.mine else None,
            seed=recipe.training.seed,
        )
        texts = list(dict.fromkeys(text for group in groups for text in group.texts))
        place = {text: row for row, text in enumerate(texts)}
        positives = [[place[text] for text in group.positives] for group in groups]
        mined = HardNegativeMiner(config=config).mine_groups([group.query for group in groups], texts, positives)
        write_groups(kept, [_joined(group, found) for group, found in zip(groups, mined, strict=True)], form="labelled")
    return list(read_groups(kept))


def _joined(group: Group, found: Group) -> Group:
    added = [text for text in found.negatives if text not in group.texts]
    return Group(group.query, (*group.texts, *added), (*group.labels, *[0.0] * len(added)), source=group.source)


def _base(recipe: CrossEncoderRecipe, groups: Sequence[Group], work: Path) -> str:
    if recipe.base != TINY:
        return recipe.base
    folder = work / "tiny-base"
    if not (folder / "tokenizer.json").is_file():
        texts = [text for group in groups for text in (group.query, *group.texts)]
        write_tiny_base(folder, texts, seed=recipe.training.seed)
    return str(folder)


def _metadata(recipe: CrossEncoderRecipe) -> ModelMetadata:
    return ModelMetadata(
        name=recipe.name,
        version=recipe.version,
        license=recipe.license,
        languages=recipe.languages,
        base_model=recipe.base,
        training={"recipe": recipe.to_dict()},
    )
