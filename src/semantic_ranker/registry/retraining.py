"""Runs the recipe in a model's manifest again, on the same data or newer, into a folder of a new version."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker._extras import requires_extra
from semantic_ranker._files import write_atomically
from semantic_ranker._settings import MANIFEST
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.registry.entries import ModelEntry, read_entry, version_key

if TYPE_CHECKING:
    from semantic_ranker.registry.catalog import ModelRegistry

_STEPS = ("recipe", "pairs", "passages", "data_sha256", "held_out", "versions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """A model that was trained again.

    Attributes:
        parent: The model whose recipe was run.
        entry: The new version.
        same: Data sources that are the same as the parent's, byte for byte.
        changed: Data sources that differ from the parent's, or that it did not have.
    """

    parent: ModelEntry
    entry: ModelEntry
    same: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What is known of the data, in words."""
        if not self.same and not self.changed:
            return "its hashes were not recorded"
        parts = [("the same", self.same), ("changed", self.changed)]
        return "; ".join(f"{', '.join(names)} {word}" for word, names in parts if names)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {
            "parent": self.parent.reference,
            "model": self.entry.to_dict(),
            "same": list(self.same),
            "changed": list(self.changed),
        }


def retrain_entry(
    registry: ModelRegistry,
    parent: ModelEntry,
    *,
    data: str | Path,
    out: str | Path | None,
    overrides: Sequence[str],
) -> Retraining:
    """Return what `ModelRegistry.retrain` promises, of an entry."""
    recipe = _with_overrides(_recipe(parent), overrides)
    if not Path(data).is_dir():
        raise InvalidInputError(f"Expected a folder of data at {str(data)!r}, found none.")
    version = next_version([entry.version for entry in [parent, *registry.entries()] if entry.name == parent.name])
    target = Path(out) if out is not None else registry.root / f"{parent.name}-{version}"
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(
            f"Expected a new or empty folder at {str(target)!r}, found content: give another --out."
        )
    # The steps of a killed run are kept beside the result, so that the next one goes on from there.
    steps = target.parent / f".{target.name}.run"
    with requires_extra("training"):
        if "teacher_weights" in recipe:
            _run_interaction(parent, recipe, Path(data), steps, target, version)
        else:
            importlib.import_module("semantic_ranker_training.run").run_recipe(recipe, data=Path(data), out=target)
    _stamp(target, parent, version)
    shutil.rmtree(steps, ignore_errors=True)
    entry = read_entry(target)
    if entry.problem:
        raise ModelLoadError(f"The new version in {str(target)!r} cannot be used: {entry.problem}")
    old, new = parent.lineage.data, entry.lineage.data
    return Retraining(
        parent=parent,
        entry=entry,
        same=tuple(name for name, digest in new.items() if old.get(name) == digest),
        changed=tuple(name for name, digest in new.items() if old.get(name) != digest),
    )


def next_version(versions: Sequence[str]) -> str:
    """Return the version after the highest: its second number plus one, the rest 0."""
    highest = max(versions, key=version_key, default="")
    numbers = [part for _, part in version_key(highest) if isinstance(part, int)][:2]
    major, minor = (*numbers, 0, 0)[:2]
    return f"{major}.{minor + 1}.0"


def _recipe(parent: ModelEntry) -> dict[str, Any]:
    if not parent.lineage.recipe:
        raise InvalidInputError(
            f"Expected a recipe in the manifest of {parent.reference}, found none: train it with a recipe of this "
            "project once, which records it."
        )
    recipe: dict[str, Any] = json.loads(json.dumps(parent.lineage.recipe))
    return recipe


def _with_overrides(recipe: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or key not in recipe:
            raise InvalidInputError(
                f"Expected KEY=VALUE with a key of the recipe ({', '.join(recipe)}), got {override!r}."
            )
        try:
            recipe[key] = json.loads(text)
        except ValueError:
            recipe[key] = text  # a word needs no quotes
    return recipe


def _run_interaction(
    parent: ModelEntry, recipe: Mapping[str, Any], data: Path, steps: Path, target: Path, version: str
) -> None:
    config, train, export, manifest = (
        importlib.import_module(f"semantic_ranker_training.{name}")
        for name in ("config", "train", "export", "manifest")
    )
    write_atomically(steps / "recipe.toml", _toml(recipe))
    resolved = config.Recipe.from_toml(steps / "recipe.toml")
    model = train.RerankerRun(resolved, data, steps / "run").run()
    run = json.loads((steps / "run" / "training.json").read_text(encoding="utf-8"))
    said = json.loads((parent.path / MANIFEST).read_text(encoding="utf-8"))
    metadata = manifest.ModelMetadata(
        name=parent.name,
        version=version,
        base_model=parent.lineage.base_model,
        license=said.get("license", "unknown"),
        languages=parent.languages,
        max_query_tokens=said.get("max_query_tokens"),
        activation=said.get("activation"),
        scale=run["calibration"]["scale"],
        bias=run["calibration"]["bias"],
        description=f"{parent.reference}, trained again by its own recipe.",
        recipe=f"{resolved.steps} steps of listwise distillation; the recipe is in {MANIFEST}.",
        data=tuple(
            manifest.DataSource(
                name=name, license="as its files say", use=f"{count} queries", sha256=run["data_sha256"][name]
            )
            for name, count in run["pairs"].items()
        ),
        limits=("Not measured yet: compare it with its parent on judged queries before it is used.",),
        training={key: run[key] for key in _STEPS},
    )
    kept = [kind for kind in ("fp32", "int8") if kind in parent.precisions] or ["int8"]
    tokenizer = train.base_folder(resolved.base) / "tokenizer.json"
    export.export_model(model, target, precisions=kept, metadata=metadata, tokenizer=tokenizer)


def _stamp(folder: Path, parent: ModelEntry, version: str) -> None:
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8"))
    content["version"] = version
    content["parent"] = parent.reference
    content["created"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _toml(recipe: Mapping[str, Any]) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's, too.
    lines = [f"{key} = {json.dumps(value)}" for key, value in recipe.items() if key != "sources"]
    for source in recipe.get("sources", []):
        lines += ["[[sources]]", *(f"{key} = {json.dumps(value)}" for key, value in source.items())]
    return "\n".join(lines) + "\n"
