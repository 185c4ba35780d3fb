"""The arguments of an `Embedder`, checked without opening anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

from semantic_ranker.embedding.decision import PrecisionDecision
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import Precision
from semantic_ranker.spaces import EmbeddingSpace

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
    cpu_share: float | None = None
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
        share = self.cpu_share
        if share is not None and (isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1):
            raise InvalidInputError(f"Expected cpu_share to be None or a number above 0 and up to 1, got {share!r}.")
        if isinstance(self.floor, bool) or not isinstance(self.floor, (int, float)) or not 0 <= self.floor <= 1:
            raise InvalidInputError(f"Expected floor to be a number from 0 to 1, got {self.floor!r}.")

    def changed(self) -> dict[str, object]:
        """Return the options that differ from their defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    def applied_to(self, space: EmbeddingSpace, trained_for: Sequence[int]) -> EmbeddingSpace:
        """Return a model's own space with the caller's prompts and dimension.

        Args:
            space: The model's own.
            trained_for: Dimensions that its vectors may be cut to.

        Raises:
            InvalidInputError: ``truncate_dim`` is more than the model has, or loses what was not allowed to be lost.
        """
        space = replace(
            space,
            query_prompt=space.query_prompt if self.query_prompt is None else self.query_prompt,
            document_prompt=space.document_prompt if self.document_prompt is None else self.document_prompt,
        )
        dim = self.truncate_dim
        if dim is None or dim == space.dim:
            return space
        if dim > space.dim:
            raise InvalidInputError(f"Expected truncate_dim of at most {space.dim}, got {dim}.")
        if dim not in trained_for and not self.allow_lossy_truncation:
            can = f"can be cut to {', '.join(map(str, trained_for))}" if trained_for else "was not trained to be cut"
            raise InvalidInputError(
                f"Expected truncate_dim None for {space.model!r}, which {can}, got {dim}: vectors would lose "
                "neighbours (256 of 384 dimensions kept 80 % of the nearest ten); use allow_lossy_truncation=True if "
                "that is acceptable."
            )
        return replace(space, dim=dim, truncate_dim=dim)
