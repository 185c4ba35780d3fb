"""The arguments of an `Embedder`, checked without opening anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal

from semantic_ranker.embedding.decision import PrecisionDecision
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import Precision

Role = Literal["q", "d"]
"""``q`` for queries, ``d`` for documents."""
BackendName = Literal["auto", "onnx", "torch"]
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "precision": ("auto", "fp32", "fp16", "int8"),
    "backend": ("auto", "onnx", "torch"),
    "device": ("auto", "cpu", "cuda"),
    "on_error": ("raise", "skip"),
}
_LEAST = {"truncate_dim": 1, "max_length": 3, "threads": 1, "token_budget": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderOptions:
    """See `Embedder` for what each field means.

    Raises:
        InvalidInputError: A value is not one of those allowed.
    """

    model: str | None = None
    precision: Precision = "auto"
    backend: BackendName = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    truncate_dim: int | None = None
    allow_lossy_truncation: bool = False
    max_length: int | None = None
    threads: int | None = None
    token_budget: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    on_error: Literal["raise", "skip"] = "raise"
    fallback: bool = True
    floor: float = 0.98
    decision: PrecisionDecision | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                expected = ", ".join(map(repr, choices))
                raise InvalidInputError(f"Expected {name} to be one of {expected}, got {value!r}.")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidInputError(f"Expected {name} to be None or an int of {least} or more, got {value!r}.")
        for name in ("query_prompt", "document_prompt"):
            if (value := getattr(self, name)) is not None and not isinstance(value, str):
                raise InvalidInputError(f"Expected {name} to be None or a str, got {type(value).__name__}.")
        if self.decision is not None and self.precision not in ("auto", self.decision.precision):
            raise InvalidInputError(
                f"Expected precision 'auto' with a decision for {self.decision.precision!r}, got {self.precision!r}."
            )
        if isinstance(self.floor, bool) or not isinstance(self.floor, (int, float)) or not 0 <= self.floor <= 1:
            raise InvalidInputError(f"Expected floor to be a number from 0 to 1, got {self.floor!r}.")

    def changed(self) -> dict[str, object]:
        """Return the options that differ from their defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}
