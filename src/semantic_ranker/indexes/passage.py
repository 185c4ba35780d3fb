"""What an index holds and what a search finds: passages with where they are from, and hits. Reads nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker.documents import Chunk

Value: TypeAlias = str | int | float | bool | tuple[str, ...]
"""What metadata may hold; every store can keep it."""

_FIELDS = ("source", "title")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text that can be found, ranked and cited.

    Attributes:
        id: Names it in its index; another passage with the same id takes its place.
        text: What is shown and given to a language model.
        source: The document that it is from.
        titles: The headings that it is under, highest first.
        span: First character in the document's text and the one after the last; None where unknown.
        page: Page of a PDF, from 1; else 0.
        metadata: More about it, to filter by: strings, numbers, bools and tuples of strings.

    Raises:
        InvalidInputError: A field is of another kind.
    """

    id: str
    text: str
    source: str = ""
    titles: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    page: int = 0
    metadata: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name in ("id", "text", "source"):
            if not isinstance(getattr(self, name), str):
                raise InvalidInputError(f"Expected {name} of a passage to be a str, got {getattr(self, name)!r:.60}.")
        if not self.id or len(self.id.encode("utf-8", "replace")) > 512 or "\0" in self.id:
            raise InvalidInputError("Expected an id of 1 to 512 bytes without NUL for a passage, got another.")
        object.__setattr__(self, "titles", tuple(self.titles))
        object.__setattr__(self, "span", None if self.span is None else (int(self.span[0]), int(self.span[1])))
        object.__setattr__(self, "metadata", MappingProxyType(_metadata(self.metadata)))

    @classmethod
    def of(cls, chunk: Chunk, metadata: Mapping[str, Value] | None = None) -> Passage:
        """Return a chunk of a document as a passage."""
        return cls(
            id=chunk.id,
            text=chunk.text,
            source=chunk.source,
            titles=chunk.title_path,
            span=chunk.span,
            page=chunk.page,
            metadata=metadata or {},
        )

    @property
    def titled_text(self) -> str:
        """The text below its titles, ``A > B``: what is embedded, matched by words and reranked."""
        return f"{' > '.join(self.titles)}\n\n{self.text}" if self.titles else self.text

    @property
    def citation(self) -> str:
        """Where it is from, for people: ``leave.md, Leave > Sick leave, page 2``."""
        parts = [self.source or self.id, " > ".join(self.titles), f"page {self.page}" if self.page else ""]
        return ", ".join(part for part in parts if part)

    @property
    def fields(self) -> dict[str, Value]:
        """What filters see: the metadata, ``source``, and ``title``, the titles as one line."""
        own: dict[str, Value] = {"source": self.source, "title": " > ".join(self.titles)}
        return {**own, **self.metadata}

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return {
            "id": self.id,
            "text": self.text,
            "source": self.source,
            "titles": list(self.titles),
            "span": None if self.span is None else list(self.span),
            "page": self.page,
            "metadata": {
                key: list(value) if isinstance(value, tuple) else value for key, value in self.metadata.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Passage:
        """Read what `to_dict` wrote.

        Raises:
            InvalidInputError: It is something else.
        """
        try:
            return cls(
                id=values["id"],
                text=values["text"],
                source=values["source"],
                titles=tuple(values["titles"]),
                span=values["span"],
                page=values["page"],
                metadata=values["metadata"],
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise InvalidInputError(f"Expected a passage with all its fields, got {type(error).__name__}.") from error


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found.

    Attributes:
        passage: The passage.
        score: Higher is better; on the scale of the search that found it.
    """

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates(Sequence[Hit]):
    """What a first stage found for one query, best first; a sequence of its hits.

    Attributes:
        hits: The hits.
        degraded: What was missing, such as the vectors; None where nothing was.
        latency_ms: Milliseconds by step; of a batch, the query's share.
    """

    hits: tuple[Hit, ...]
    degraded: str | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, place: Any) -> Any:
        return self.hits[place]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


def _metadata(given: Mapping[str, Any]) -> dict[str, Value]:
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"Expected metadata of a passage to be a mapping, got {type(given).__name__}.")
    return {_key(key): _value(key, value) for key, value in given.items()}


def _key(key: object) -> str:
    if not isinstance(key, str) or not key or key.startswith("$") or key in _FIELDS:
        raise InvalidInputError(
            f"Expected a key of metadata to be a word without '$' in front that is none of {', '.join(_FIELDS)}, "
            f"got {key!r:.60}."
        )
    return key


def _value(key: str, value: Any) -> Value:
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InvalidInputError(
        f"Expected metadata[{key!r:.60}] to be a str, bool, finite number or list of str, got {type(value).__name__}."
    )
