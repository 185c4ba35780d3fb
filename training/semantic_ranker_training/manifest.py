"""``semantic_ranker.json``: what a model folder says about itself, with the hash of each of its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from semantic_ranker._settings import MANIFEST, SCHEMA_VERSION
from semantic_ranker._staging import file_entries
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker._settings import ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """One data set that a model learnt from.

    Attributes:
        name: Its name.
        license: SPDX identifier, or the words of its owner.
        use: What was taken from it and how, in one sentence.
        sha256: Hash of what was taken, in hex; empty when unknown.
    """

    name: str
    license: str
    use: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measured figure.

    Attributes:
        collection: What it was measured on.
        name: Canonical name, such as ``nDCG@10``.
        value: The figure.
        low: Lower end of its 95 % interval, or None.
        high: Upper end, or None.
        baselines: The same figure of others on the same candidates, by their names.
    """

    collection: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figure, its interval and the baselines as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high, "baselines": dict(self.baselines)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What a model folder says about its model; the rest of the manifest is measured or computed.

    Attributes:
        name: Name for reports.
        version: Version of the weights.
        base_model: What it was trained from.
        license: SPDX identifier of the weights.
        languages: ISO 639-1 codes that it was made for; empty when unknown.
        max_length: Tokens of one input, specials included; None takes the source's.
        max_query_tokens: Tokens kept of a query; None takes the source's.
        activation: What `CrossEncoder.predict` applies; None takes the source's.
        scale: Calibration, ``relevance = sigmoid(scale * logit + bias)``; above 0.
        bias: See ``scale``.
        description: What it is and what it is for, in a few sentences.
        recipe: How it was trained, in a few sentences.
        data: What it learnt from.
        seen: Data that the base model had already been trained on.
        limits: What it is known to do badly.
        metrics: What was measured.
        training: Further facts for machines: recipe, data hashes, log; JSON values.

    Raises:
        InvalidInputError: The name is empty or the calibration would not keep the order.
    """

    name: str
    version: str = "1.0.0"
    base_model: str = ""
    license: str = "unknown"
    languages: tuple[str, ...] = ()
    max_length: int | None = None
    max_query_tokens: int | None = None
    activation: Literal["identity", "sigmoid"] | None = None
    scale: float = 1.0
    bias: float = 0.0
    description: str = ""
    recipe: str = ""
    data: tuple[DataSource, ...] = ()
    seen: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InvalidInputError("Expected a model name, got an empty one.")
        if not (self.scale > 0 and math.isfinite(self.scale) and math.isfinite(self.bias)):
            raise InvalidInputError(
                f"Expected a calibration with a scale above 0 and finite numbers, got {self.scale!r}, {self.bias!r}."
            )

    @classmethod
    def of_source(cls, settings: ModelSettings, config: Mapping[str, Any], manifest: Mapping[str, Any] | None) -> Self:
        """Read what a source folder says; a folder without a manifest says little."""
        known = manifest or {}
        return cls(
            name=settings.name,
            version=str(known.get("version", "1.0.0")),
            base_model=str(known.get("base_model") or config.get("_name_or_path") or settings.name),
            license=str(known.get("license", "unknown")),
            languages=settings.languages,
            scale=settings.scale,
            bias=settings.bias,
            metrics=tuple(_metrics(known.get("metrics"))),
            training=dict(known.get("training") or {}),
        )


def build_manifest(
    folder: Path,
    metadata: ModelMetadata,
    settings: ModelSettings,
    *,
    parity: Mapping[str, Any],
    canary: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the content of ``semantic_ranker.json`` for a folder whose other files are complete.

    Args:
        folder: The model folder; every file below it is hashed.
        metadata: What is said of the model.
        settings: How it is scored: layout, lengths, activation, calibration.
        parity: The parity report, as JSON values.
        canary: ``{"query", "text", "logit": {precision: float}}`` each.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for metric in metadata.metrics:
        metrics.setdefault(metric.collection, {})[metric.name] = metric.to_dict()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "reranker",
        "name": metadata.name,
        "version": metadata.version,
        "base_model": metadata.base_model,
        "input_layout": settings.layout,
        "max_length": settings.max_length,
        "max_query_tokens": settings.max_query_tokens,
        "activation": settings.activation,
        "calibration": {"scale": settings.scale, "bias": settings.bias},
        "source_weight": settings.source_weight,
        "languages": list(metadata.languages),
        "license": metadata.license,
        "files": file_entries(folder),
        "canary": [dict(pair) for pair in canary],
        "metrics": metrics,
        "parity": dict(parity),
        "training": dict(metadata.training),
    }


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``semantic_ranker.json``.

    Raises:
        InvalidInputError: A value is NaN, infinite, or nothing that JSON knows.
    """
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Expected finite JSON values in the metadata of a model, got another: {error}."
        ) from error
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _metrics(stored: Any) -> list[Metric]:
    if not isinstance(stored, dict):
        return []
    return [
        Metric(collection=collection, name=name, **values)
        for collection, found in stored.items()
        for name, values in found.items()
    ]
