"""Chooses an embedding model of the catalogue for a purpose, and says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantic_ranker.catalogue import USE_CASES, ModelSpec, specs
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker.embedding.decision import RunPrecision

_UNKNOWN_RETRIEVAL = 35.0
# Weights, the runtime's copies of some, and the activations of the longest text.
_MEMORY_FACTOR = 1.5
_BEST_FIRST: tuple[RunPrecision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A model with the reasons for it.

    Attributes:
        spec: The model.
        dim: Dimension asked for, or the model's own.
        precision: Most exact precision that the memory allows; ``auto`` where no limit was given.
        reasons: Why this one.
        rejected: The other models, each with the first thing that spoke against it.
    """

    spec: ModelSpec
    dim: int
    precision: str
    reasons: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]

    @property
    def truncate_dim(self) -> int | None:
        """What `Embedder` takes to give this dimension; None for the model's own."""
        return None if self.dim == self.spec.dim else self.dim


def choose_model(
    use_case: str = "search",
    *,
    languages: Sequence[str] = ("en",),
    dim: int | None = None,
    memory: float | None = None,
    latency: float | None = None,
    download: bool = False,
    is_here: Callable[[ModelSpec], bool] | None = None,
) -> ModelChoice:
    """Return the best model of the catalogue for a purpose.

    Among the models that fit, ``bulk`` takes the fastest and everything else the one with the best published retrieval
    figures. Without ``download`` only models that can be opened on this machine now are considered.

    Args:
        use_case: ``search``, ``similarity``, ``clustering`` or ``bulk`` (very many texts, cheaply).
        languages: ISO 639-1 codes, all of which it must have been made for.
        dim: Length of its vectors, such as 384, 512, 768 or 1024.
        memory: Megabytes that the model may take while it runs.
        latency: Milliseconds that 100 tokens may take on one core.
        download: Whether models that must be installed or downloaded first may be chosen.
        is_here: Tells whether a model can be opened without a network; None looks.

    Raises:
        InvalidInputError: A value is not one of these, or no model fits; the message says what stands in the way.
    """
    wish = _Wish(use_case, tuple(_languages(languages)), dim, memory, latency)
    here = is_here or _is_here
    rejected = {}
    for spec in specs():
        against = wish.against(spec)
        if against is None and not download and not here(spec):
            against = f"not on this machine ({spec.obtained}); download=True would allow it"
        if against is not None:
            rejected[spec.name] = against
    fitting = [spec for spec in specs() if spec.name not in rejected]
    if not fitting:
        listed = "; ".join(f"{name}: {against}" for name, against in rejected.items())
        raise InvalidInputError(f"Expected a model for {wish.describe()}, none fits ({listed}).")
    best = min(fitting, key=wish.rank)
    others = [(spec.name, wish.behind) for spec in fitting if spec is not best]
    return ModelChoice(
        spec=best,
        dim=dim or best.dim,
        precision=str(_precision(best, memory)) if memory is not None else "auto",
        reasons=tuple(wish.reasons(best)),
        rejected=(*others, *rejected.items()),
    )


@dataclass(frozen=True, slots=True)
class _Wish:
    """What `choose_model` was asked for."""

    use_case: str
    languages: tuple[str, ...]
    dim: int | None
    memory: float | None
    latency: float | None

    def __post_init__(self) -> None:
        if self.use_case not in USE_CASES:
            raise InvalidInputError(f"Expected use_case out of {', '.join(USE_CASES)}, got {self.use_case!r}.")
        for name in ("dim", "memory", "latency"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                raise InvalidInputError(f"Expected {name} to be None or a number above 0, got {value!r}.")

    @property
    def behind(self) -> str:
        """What a model that fits lacks, compared with the best."""
        return "slower" if self.use_case == "bulk" else "a lower or unknown retrieval figure, or slower"

    def describe(self) -> str:
        """Return the wish in words."""
        return f"{self.use_case} in {', '.join(self.languages)}"

    def against(self, spec: ModelSpec) -> str | None:
        """Return the first thing that speaks against a model, or None."""
        if spec.unsupported:
            return spec.unsupported
        if self.use_case not in spec.use_cases:
            return f"made for {', '.join(spec.use_cases)}"
        if missing := [code for code in self.languages if not spec.speaks(code)]:
            return f"not made for {', '.join(missing)}"
        if self.dim is not None and self.dim not in spec.dimensions():
            return f"its vectors have {' or '.join(map(str, spec.dimensions()))} dimensions"
        if self.memory is not None and _precision(spec, self.memory) is None:
            return f"takes at least {min(spec.megabytes.values()) * _MEMORY_FACTOR:.0f} MB"
        if self.latency is not None and (spec.tokens_ms is None or spec.tokens_ms > self.latency):
            return f"takes about {spec.tokens_ms} ms for 100 tokens"
        return None

    def rank(self, spec: ModelSpec) -> tuple[float, float]:
        """Return what the best model has least of."""
        cost = spec.tokens_ms if spec.tokens_ms is not None else float("inf")
        quality = -(spec.retrieval if spec.retrieval is not None else _UNKNOWN_RETRIEVAL)
        return (cost, quality) if self.use_case == "bulk" else (quality, cost)

    def reasons(self, spec: ModelSpec) -> list[str]:
        """Return why a model was chosen."""
        if self.use_case == "bulk":
            order = "the fastest of the models that fit"
        elif spec.retrieval is None:
            order = "the best of the models that fit, though without a published retrieval figure"
        else:
            order = f"the best published retrieval figure of the models that fit, {spec.retrieval}"
        found = [f"{order} (about {spec.tokens_ms} ms for 100 tokens)"]
        found += [f"made for {self.describe()}", f"obtained: {spec.obtained}", f"licence {spec.licence}"]
        if self.dim is not None:
            cut = "" if self.dim == spec.dim else f", cut from {spec.dim} as it was trained to be"
            found.append(f"{self.dim} dimensions{cut}")
        if self.memory is not None:
            kind = str(_precision(spec, self.memory))
            found.append(f"{kind} weights of {spec.megabytes[kind]:.0f} MB fit into {self.memory:.0f} MB")
        if self.latency is not None:
            found.append(f"within {self.latency} ms for 100 tokens")
        return found


def _languages(languages: Sequence[str]) -> list[str]:
    if isinstance(languages, str) or not all(isinstance(code, str) and code for code in languages):
        raise InvalidInputError(f"Expected languages to be a list of ISO 639-1 codes, got {languages!r}.")
    return [code.casefold() for code in languages] or ["en"]


def _precision(spec: ModelSpec, memory: float) -> str | None:
    fits = [kind for kind in _BEST_FIRST if spec.megabytes.get(kind, float("inf")) * _MEMORY_FACTOR <= memory]
    return fits[0] if fits else None


def _is_here(spec: ModelSpec) -> bool:
    from semantic_ranker.embedding.sources import is_here

    return is_here(spec)
