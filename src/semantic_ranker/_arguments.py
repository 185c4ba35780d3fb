"""The arguments of a `CrossEncoder`, checked without opening anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import Precision

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "precision": ("auto", "fp32", "fp16", "bf16", "int8"),
    "backend": ("auto", "onnx", "torch"),
    "activation": (None, "identity", "sigmoid"),
    "long_text": ("truncate", "windows"),
    "on_error": ("raise", "skip"),
    "other_languages": ("keep_order", "score"),
    "mode": ("full", "cascade"),
    "device": ("cpu", "cuda"),
}
# Four specials, and room for a few tokens of query and text.
DEFAULT_CACHE_BYTES = 64_000_000
_LEAST = {"max_length": 8, "threads": 1, "token_budget": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """See `CrossEncoder` for what each field means.

    Raises:
        InvalidInputError: A value is not one of those allowed.
    """

    model: str | None = None
    precision: Precision | Literal["bf16"] = "auto"
    backend: Literal["auto", "onnx", "torch"] = "auto"
    max_length: int | None = None
    threads: int | None = None
    token_budget: int | None = None
    activation: Literal["identity", "sigmoid"] | None = None
    long_text: Literal["truncate", "windows"] = "truncate"
    on_error: Literal["raise", "skip"] = "raise"
    other_languages: Literal["keep_order", "score"] = "keep_order"
    cache_bytes: int = DEFAULT_CACHE_BYTES
    states: str | None = None
    mode: Literal["full", "cascade"] = "full"
    device: Literal["cpu", "cuda"] = "cpu"
    source_weight: float | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                expected = ", ".join(map(repr, choices))
                raise InvalidInputError(f"Expected {name} to be one of {expected}, got {value!r}.")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidInputError(f"Expected {name} to be None or an int of {least} or more, got {value!r}.")
        size = self.cache_bytes
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidInputError(f"Expected cache_bytes to be an int of 0 or more, got {size!r}.")
        check_source_weight(self.source_weight)
        self._check_torch()

    @property
    def stored(self) -> Precision:
        """Precision of the file that is looked for; torch halves what it reads by itself."""
        return "auto" if self.precision == "bf16" or self.device == "cuda" else self.precision

    def _check_torch(self) -> None:
        if self.device == "cuda" and (self.backend == "onnx" or self.precision == "int8"):
            raise InvalidInputError(
                "Expected backend 'torch' and precision 'fp32', 'fp16' or 'bf16' with device='cuda', got "
                f"{self.backend!r} and {self.precision!r}."
            )
        if self.device == "cpu" and self.backend == "torch" and self.precision not in ("auto", "fp32"):
            raise InvalidInputError(f"Expected precision 'fp32' with backend='torch', got {self.precision!r}.")
        if self.device == "cpu" and self.precision == "bf16":
            raise InvalidInputError(
                "Expected precision 'fp32' or 'int8' on a CPU, got 'bf16': it is for device='cuda'."
            )

    def changed(self) -> dict[str, object]:
        """Return the options that differ from their defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


def check_source_weight(weight: object) -> float | None:
    """Return a caller's ``source_weight``.

    Raises:
        InvalidInputError: It is neither None nor a number from 0 to 1.
    """
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0.0 <= weight <= 1.0:
        raise InvalidInputError(f"Expected source_weight to be None or a number from 0 to 1, got {weight!r}.")
    return float(weight)


def folder_of(states: object) -> str | None:
    """Return a caller's ``states`` as a string; None stays None.

    Raises:
        InvalidInputError: It is no path, or an empty one.
    """
    if states is None:
        return None
    if not isinstance(states, (str, os.PathLike)) or not isinstance(path := os.fspath(states), str) or not path:
        raise InvalidInputError(f"Expected states to be a folder or None, got {states!r}.")
    return path


def path_of(model: object) -> str | None:
    """Return a caller's ``model`` as a string; None stays None.

    Raises:
        InvalidInputError: It is no path, or an empty one.
    """
    if model is None:
        return None
    if not isinstance(model, (str, os.PathLike)) or not isinstance(path := os.fspath(model), str) or not path:
        raise InvalidInputError(f"Expected model to be a folder, a hub id or None, got {model!r}.")
    return path


def check_query(query: object, index: int | None = None) -> None:
    """Refuse a query that is not a string.

    Raises:
        InvalidInputError: It is not; ``.index`` is the one given.
    """
    if not isinstance(query, str):
        place = "" if index is None else f" at index {index}"
        raise InvalidInputError(f"Expected the query{place} to be a str, got {type(query).__name__}.", index)


def pair_of(pair: Any, index: int) -> tuple[str, Any]:
    """Return a (query, text) pair; the text is checked elsewhere, since it may be skipped.

    Raises:
        InvalidInputError: It is no pair, or its query is not a string.
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InvalidInputError(f"Expected a (query, text) pair at index {index}, got {type(pair).__name__}.", index)
    check_query(pair[0], index)
    return pair[0], pair[1]


def items_of(name: str, values: Any) -> list[Any]:
    """Return the values as a list.

    Raises:
        InvalidInputError: They are a lone string, or a collection without an order of its own.
    """
    if isinstance(values, (str, bytes, Mapping, AbstractSet)) or not isinstance(values, Iterable):
        raise InvalidInputError(f"Expected {name} to be a list, got {type(values).__name__}.")
    return list(values)
