"""What one model folder says about itself, read from its manifest and checked against its files. Opens no model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semantic_ranker._settings import MANIFEST, SCHEMA_VERSION
from semantic_ranker.errors import ModelLoadError
from semantic_ranker.model_folder import SEGMENT_WEIGHTS, WEIGHTS, sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure of a model.

    Attributes:
        collection: What it was measured on.
        metric: Name, such as ``nDCG@10``.
        value: The figure.
        low: Lower end of its 95 % interval, or None.
        high: Upper end, or None.
        baselines: The same figure of others on the same candidates, by name.
    """

    collection: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a model came from; what is not known is empty.

    Attributes:
        base_model: The weights that training began with.
        parent: The model of this registry that it was trained again from, as ``NAME@VERSION``.
        created: When, ISO 8601.
        recipe: The resolved recipe.
        data: Sha256 of each data source, in hex, by name.
        pairs: Training pairs of each data source, by name.
    """

    base_model: str = ""
    parent: str = ""
    created: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    pairs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model folder.

    Attributes:
        path: The folder.
        name: Of the model; of the folder where the manifest cannot be read.
        version: Of its weights.
        kind: ``reranker``, ``embedder`` or ``static-embedder``.
        languages: ISO 639-1 codes that it was made for, empty when unknown.
        precisions: Weights that are there.
        size_bytes: All of its files together.
        figures: What was measured.
        lineage: Where it came from.
        bundled: Whether it ships with the package.
        problem: Why it cannot be used, or None.
    """

    path: Path
    name: str
    version: str = ""
    kind: str = ""
    languages: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    size_bytes: int = 0
    figures: tuple[Figure, ...] = ()
    lineage: Lineage = field(default_factory=Lineage)
    bundled: bool = False
    problem: str | None = None

    @property
    def reference(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.name}@{self.version}" if self.version else self.name

    def figure(self, collection: str, metric: str) -> Figure | None:
        """Return one figure, or None where it was not measured."""
        found = (of for of in self.figures if (of.collection, of.metric) == (collection, metric))
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {**asdict(self), "path": str(self.path), "reference": self.reference}


def read_entry(folder: Path, *, bundled: bool = False, verify: bool = False) -> ModelEntry:
    """Describe a folder; what is wrong with it is said in the entry, not raised.

    Args:
        folder: A folder with ``semantic_ranker.json``.
        bundled: Whether it ships with the package.
        verify: Whether every file is read and compared with its hash; otherwise sizes are compared.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        if not isinstance(content, dict):
            raise ModelLoadError(f"Expected an object in {MANIFEST}, got {type(content).__name__}.")
        entry = _entry(folder, content, bundled)
        if problem := _problem_of_files(folder, content["files"], verify):
            raise ModelLoadError(problem)
    except OSError as error:
        return ModelEntry(path=folder, name=folder.name, bundled=bundled, problem=f"Cannot read it: {error.strerror}.")
    except (ValueError, RecursionError) as error:
        problem = f"{MANIFEST} is damaged: {error}."
        return ModelEntry(path=folder, name=folder.name, bundled=bundled, problem=problem)
    except ModelLoadError as error:
        name = content.get("name") if isinstance(content, dict) else None
        name = name if isinstance(name, str) and name else folder.name
        version = content.get("version", "") if isinstance(content, dict) else ""
        return ModelEntry(path=folder, name=name, version=str(version), bundled=bundled, problem=str(error))
    return entry


def version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    """Return what versions are ordered by: numbers as numbers, the rest as text."""
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in re.findall(r"\d+|[^\d.]+", version))


def _entry(folder: Path, manifest: dict[str, Any], bundled: bool) -> ModelEntry:
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ModelLoadError(
            f"Expected schema_version {SCHEMA_VERSION} in {MANIFEST}, got {manifest.get('schema_version')!r}: written "
            "by another version of semantic-ranker; export the model again."
        )
    files = _part(manifest, "files", dict)
    sizes = [entry.get("bytes") for entry in files.values() if isinstance(entry, dict)]
    if len(sizes) != len(files) or not all(isinstance(size, int) for size in sizes):
        raise ModelLoadError(f"Expected sha256 and bytes of each of the files in {MANIFEST}, found others.")
    return ModelEntry(
        path=folder,
        name=_part(manifest, "name", str, folder.name) or folder.name,
        version=str(manifest.get("version", "")),
        kind=_part(manifest, "kind", str),
        languages=tuple(map(str, _part(manifest, "languages", list, []))),
        precisions=_precisions(files),
        size_bytes=sum(size for size in sizes if size),
        figures=_figures(_part(manifest, "metrics", dict, {})),
        lineage=_lineage(manifest),
        bundled=bundled,
    )


def _precisions(files: Mapping[str, Any]) -> tuple[str, ...]:
    kinds = ("fp32", "fp16", "int8")
    found = [kind for kind in kinds if {*WEIGHTS[kind], SEGMENT_WEIGHTS.get(kind, "")} & set(files)]
    if {"vectors.npy", "scales.npy"} <= set(files):
        found.append("int8")  # a table of token vectors, each with its scale
    safetensors = any(name.endswith(".safetensors") for name in files)
    return (*found, *(["safetensors"] if safetensors else []))


def _figures(metrics: Mapping[str, Any]) -> tuple[Figure, ...]:
    figures = []
    for collection, of_collection in metrics.items():
        for metric, values in of_collection.items() if isinstance(of_collection, dict) else ():
            value: Any = values.get("value") if isinstance(values, dict) else values
            if not _is_number(value):
                raise ModelLoadError(
                    f"Expected a number for {metric} on {collection} in {MANIFEST}, got another value."
                )
            ends = values if isinstance(values, dict) else {}
            low, high = (ends.get(end) if _is_number(ends.get(end)) else None for end in ("low", "high"))
            baselines = ends.get("baselines") if isinstance(ends.get("baselines"), dict) else {}
            figures.append(
                Figure(
                    collection=collection,
                    metric=metric,
                    value=float(value),
                    low=low,
                    high=high,
                    baselines={name: of for name, of in (baselines or {}).items() if _is_number(of)},
                )
            )
    return tuple(figures)


def _lineage(manifest: Mapping[str, Any]) -> Lineage:
    training = _part(manifest, "training", dict, {})

    def known(key: str, kind: type, default: Any) -> Any:
        # Trainers keep these beside the recipe; either place is read.
        found = manifest.get(key, training.get(key, default))
        return found if isinstance(found, kind) else default

    pairs = {name: count for name, count in known("pairs", dict, {}).items() if isinstance(count, int)}
    return Lineage(
        base_model=known("base_model", str, ""),
        parent=known("parent", str, ""),
        created=known("created", str, ""),
        recipe=known("recipe", dict, {}),
        data={name: str(digest) for name, digest in known("data_sha256", dict, {}).items()},
        pairs=pairs,
    )


def _problem_of_files(folder: Path, files: Mapping[str, Any], verify: bool) -> str | None:
    for name, expected in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"{name} leaves the folder."
        if not path.is_file():
            return f"{name} is missing: copy or export the model again."
        if (size := path.stat().st_size) != expected["bytes"]:
            return f"{name} is damaged: expected {expected['bytes']} bytes, got {size}; copy or export the model again."
        if verify and sha256(path.read_bytes()) != expected.get("sha256"):
            return f"{name} is damaged or was changed: its sha256 differs; copy or export the model again."
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _part(values: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = values.get(key, default)
    if not isinstance(value, kind):
        raise ModelLoadError(f"Expected {key} in {MANIFEST} to be a {kind.__name__}, got {type(value).__name__}.")
    return value
