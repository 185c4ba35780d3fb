"""From a model's folder to the ways of running it, each with the space that it gives."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantic_ranker.backends.static import KIND as STATIC_KIND
from semantic_ranker.backends.static import StaticBackend
from semantic_ranker.embedding.backend import OpenedBackend
from semantic_ranker.embedding.decision import PrecisionDecision, RunPrecision
from semantic_ranker.embedding.encoder import Encoder
from semantic_ranker.embedding.folder import EmbedderFolder, kind_of
from semantic_ranker.embedding.ladder import Rung
from semantic_ranker.embedding.machine import Machine
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.spaces import EmbeddingSpace

if TYPE_CHECKING:
    from semantic_ranker.embedding.options import EmbedderOptions
    from semantic_ranker.embedding.sources import Source


@dataclass(frozen=True, slots=True)
class Ways:
    """How a model can be run here.

    Attributes:
        rungs: Best first.
        decision: Why that one is first.
    """

    rungs: tuple[Rung, ...]
    decision: PrecisionDecision


def ways(source: Source, options: EmbedderOptions, machine: Machine | None = None) -> Ways:
    """Return the ways to run a model, best first; nothing is opened yet.

    Args:
        source: Where it is.
        options: What the caller asked for.
        machine: What it is to run on; None looks at this one.

    Raises:
        ModelLoadError: The folder cannot be used, or has no weights for what was asked.
    """
    if source.path is None:
        return _only("use", "fp32", functools.partial(_open_use, source, options), options)
    if kind_of(source.path) == STATIC_KIND:
        return _only("static", "int8", functools.partial(_open_static, source, options), options)
    rungs, decision = Encoder(source, EmbedderFolder.open(source.path, source.name), options).ways(machine)
    return Ways(tuple(rungs), decision)


def _only(
    name: str, precision: RunPrecision, opens: functools.partial[OpenedBackend], options: EmbedderOptions
) -> Ways:
    if options.precision not in ("auto", precision) or options.backend != "auto":
        raise ModelLoadError(
            f"Expected precision {precision!r} and backend 'auto' for a model that runs in numpy ({name}), got "
            f"{options.precision!r} and {options.backend!r}."
        )
    reason = f"{precision} is all there is"
    return Ways((Rung(f"{name} {precision}", opens),), PrecisionDecision(precision=precision, reasons=(reason,)))


def _open_static(source: Source, options: EmbedderOptions) -> OpenedBackend:
    backend = StaticBackend(source.path)
    if options.max_length not in (None, backend.max_length):
        raise InvalidInputError(f"Expected max_length None for a static embedder, got {options.max_length}.")
    prompts = backend.manifest.get("prompts") or {}
    space = EmbeddingSpace(
        model=str(backend.manifest.get("name", source.name)),
        weights=backend.weights_sha256,
        tokenizer=backend.tokenizer_sha256,
        dim=backend.dim,
        backend="static",
        precision="int8",
        pooling="sum",
        max_length=backend.max_length,
        query_prompt=str(prompts.get("query", "")),
        document_prompt=str(prompts.get("document", "")),
    )
    return OpenedBackend(backend, options.applied_to(space, source.dimensions))


def _open_use(source: Source, options: EmbedderOptions) -> OpenedBackend:
    from semantic_ranker.embedding.use import UseEmbedder

    backend = UseEmbedder()
    space = EmbeddingSpace(
        model=source.name,
        weights=backend.weights_sha256,
        tokenizer=backend.tokenizer_sha256,
        dim=backend.dim,
        backend=f"use {backend.version}",
        pooling="model",
        max_length=0,
    )
    return OpenedBackend(backend, options.applied_to(space, source.dimensions))
