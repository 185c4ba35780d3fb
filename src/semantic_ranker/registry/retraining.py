"""Runs the recipe in a model's manifest again, on the same data or newer, into a folder of a new version."""

from __future__ import annotations

import hashlib
import importlib
import json
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
    data: Path | None,
    out: Path | None,
    overrides: Sequence[str],
) -> Retraining:
    """Return what `ModelRegistry.retrain` promises, of an entry."""
    if not parent.lineage.recipe:
        raise InvalidInputError(
            f"Expected a recipe in the manifest of {parent.reference}, found none: train it with a recipe of this "
            "project once, which records it."
        )
    if data is not None and not data.exists():
        raise InvalidInputError(f"Expected data to learn from at {str(data)!r}, found none.")
    version = next_version([entry.version for entry in [parent, *registry.entries()] if entry.name == parent.name])
    target = out if out is not None else registry.root / f"{parent.name}-{version}"
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(f"Expected a new or empty folder at {str(target)!r}, found content: give another.")
    recipe: dict[str, Any] = json.loads(json.dumps(parent.lineage.recipe))
    _check_keys(recipe, overrides)
    with requires_extra("training"):
        # By name, so that the core never imports training.
        run = importlib.import_module("semantic_ranker_training.run")
        run.run_recipe(recipe, data=data, out=target, overrides=overrides)
    _stamp(target, parent, version, data)
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


def _check_keys(recipe: Mapping[str, Any], overrides: Sequence[str]) -> None:
    for override in overrides:
        key, separator, _ = override.partition("=")
        if not separator or key.strip() not in recipe:
            known = ", ".join(recipe)
            raise InvalidInputError(f"Expected KEY=VALUE with a key of the recipe ({known}), got {override!r}.")


def _stamp(folder: Path, parent: ModelEntry, version: str, data: Path | None) -> None:
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"Expected {MANIFEST} in the new folder {str(folder)!r}, found none.") from error
    content["name"], content["version"], content["parent"] = parent.name, version, parent.reference
    content["created"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    training = content.setdefault("training", {})
    if data is not None and not training.get("data_sha256"):
        training["data_sha256"] = {"data": _digest(data)}
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _digest(data: Path) -> str:
    """Return the sha256, in hex, of a file, or of the names and contents of all files of a folder."""
    paths = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"" if path == data else path.relative_to(data).as_posix().encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
