"""Training recipes: frozen settings, read from TOML, overridden one by one with ``key=value``."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.terms import SNOWBALL

_AnyRecipe = TypeVar("_AnyRecipe")
DISTILLATIONS = ("kl", "margin_mse", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """How much to take of one source of pairs.

    Attributes:
        file: A ``jsonl.gz`` or ``jsonl`` file below the data folder, or ``docstrings`` for functions of packages.
        source: Value of the lines' ``source`` to keep; empty keeps all.
        passages: At most so many distinct passages.
        queries: At most so many queries.
        packages: Installed packages to read, for ``docstrings``.
        language: ISO 639-1; decides the stems by which BM25 finds candidates.
    """

    file: str
    source: str = ""
    passages: int
    queries: int
    packages: tuple[str, ...] = ()
    language: str = "en"

    @property
    def name(self) -> str:
        """Short name for files and logs."""
        return self.source or Path(self.file).name.split(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run.

    Attributes:
        name: Name of the model.
        base: Bi-encoder to start from: a folder, or ``package:folder`` inside an installed package.
        teacher: Bigger bi-encoder, a sentence-transformers folder; empty trains without it.
        languages: ISO 639-1 codes that the model is for; words match by the stems of these languages.
        centre: Whether the mean of all passages' states is taken off every state: for a base such as e5, whose vectors
            all point in nearly one direction.
        joint_layers: Layers that read query and passage together, on top of the split ones.
        sources: What to train on.
        passage_tokens: Tokens kept of a passage while training.
        lexical_candidates: Candidates a query taken from BM25.
        dense_candidates: Candidates taken from the base's nearest passages.
        random_candidates: Candidates taken at random, so that easy cases are not forgotten.
        teacher_weights: Weights of the z-scores that make the teacher: BM25, base cosine, teacher cosine,
            teacher token match.
        teacher_temperature: The teacher's scores are multiplied by this.
        distillation: How the teacher is learnt from: ``"kl"``, the divergence of the softmax over a query's candidates;
            ``"margin_mse"``, the squared error of the margins to the labelled positive; ``"none"``.
        label_weight: Weight of the cross-entropy on the labelled positive beside the distillation.
        group_size: Candidates a query in one step.
        batch_queries: Queries a step.
        steps: Optimiser steps.
        learning_rate: Of the projection and the joint layers.
        head_learning_rate: Of everything else that trains.
        warmup_steps: Steps of linear warm-up before the linear decay.
        weight_decay: AdamW's.
        seed: Of sampling and initialisation.
    """

    name: str
    base: str
    teacher: str = ""
    languages: tuple[str, ...] = ("en",)
    centre: bool = False
    joint_layers: int = 0
    sources: tuple[SourceConfig, ...] = field(default=())
    passage_tokens: int = 192
    lexical_candidates: int = 10
    dense_candidates: int = 10
    random_candidates: int = 6
    teacher_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    teacher_temperature: float = 1.0
    distillation: str = "kl"
    label_weight: float = 0.0
    group_size: int = 16
    batch_queries: int = 16
    steps: int = 1000
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidInputError("Expected at least one [[sources]] table in the recipe, got none.")
        most = 1 + self.lexical_candidates + self.dense_candidates + self.random_candidates
        if not 2 <= self.group_size <= most:
            raise InvalidInputError(
                f"Expected group_size from 2 to {most} (the positive and all candidates), got {self.group_size}."
            )
        if self.steps < 1 or self.batch_queries < 1:
            raise InvalidInputError(
                f"Expected steps and batch_queries of 1 or more, got {self.steps} and {self.batch_queries}."
            )
        if not self.languages or set(self.languages) - SNOWBALL.keys():
            raise InvalidInputError(f"Expected languages out of {', '.join(SNOWBALL)}, got {list(self.languages)}.")
        if self.distillation not in DISTILLATIONS:
            raise InvalidInputError(
                f"Expected distillation to be one of {', '.join(DISTILLATIONS)}, got {self.distillation!r}."
            )
        if self.distillation == "none" and self.label_weight <= 0:
            raise InvalidInputError('Expected a label_weight above 0 with distillation "none", else nothing is learnt.')

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a recipe.

        Args:
            path: The TOML file.
            overrides: ``key=value`` strings; the value is read as TOML, else as a string.

        Raises:
            InvalidInputError: An unknown key (with the nearest known one) or an unreadable file.
        """
        return read_recipe(cls, path, overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe, as JSON types."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


def read_recipe(kind: type[_AnyRecipe], path: str | Path, overrides: Sequence[str] = ()) -> _AnyRecipe:
    """Read a recipe of any kind, with or without ``sources``; see `Recipe.from_toml`.

    Args:
        kind: Dataclass to build.
        path: The TOML file.
        overrides: ``key=value`` strings; the value is read as TOML, else as a string.

    Raises:
        InvalidInputError: An unknown key (with the nearest known one) or an unreadable file.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"Cannot read the recipe {path}: {error}.") from error
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InvalidInputError(f"Expected key=value, got {override!r}.")
        values[key.strip()] = _toml_value(text.strip())
    return recipe_of_values(kind, values)


def recipe_of_values(kind: type[_AnyRecipe], values: Mapping[str, Any]) -> _AnyRecipe:
    """Build a recipe of the values of a file; see `read_recipe`.

    Raises:
        InvalidInputError: An unknown key (with the nearest known one) or a missing one.
    """
    given = dict(values)
    if any(entry.name == "sources" for entry in fields(cast("Any", kind))):
        given["sources"] = tuple(_build(SourceConfig, source) for source in given.get("sources", []))
    recipe: _AnyRecipe = _build(kind, given)
    return recipe


def recipe_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser of what every command that runs a recipe takes: recipe, ``--data``, ``--out`` and ``--set``."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", ".")))
    parser.add_argument("--out", type=Path, required=True, help="folder that keeps every step of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    return parser


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _build(kind: Any, values: dict[str, Any]) -> Any:
    known = [entry.name for entry in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}."
            raise InvalidInputError(f"Unknown key {key!r} in the recipe{hint}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise InvalidInputError(f"The recipe lacks a key: {error}.") from error
