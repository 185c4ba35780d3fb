"""What a user wants, of the intents of an ``intents.json``: the nearest example by meaning, or none of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.assistant.parameters import Parameter, Value
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.indexes.filters import check_where

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.indexes.embedder import IndexEmbedder

_USUAL_THRESHOLD = 0.5
_LEAST_THRESHOLD = 0.2  # below, texts have little to do with each other in any model
# As chatbots' intents.json names them elsewhere.
_ALIASES = {"tag": "name", "patterns": "examples", "responses": "reply"}
_KEYS = {"name", "examples", "parameters", "reply", "where", "description"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something that users want.

    Attributes:
        name: Its name in answers and logs.
        examples: Messages that want it.
        parameters: What it wants to know.
        reply: A fixed answer, without passages and model; None asks them.
        where: Which passages count for it, see `indexes.filters`.
    """

    name: str
    examples: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    reply: str | None = None
    where: Mapping[str, Any] | None = None

    @classmethod
    def of_record(cls, record: Any, place: int) -> Self:
        """Read one of ``intents.json``.

        Raises:
            InvalidInputError: A key is missing, unknown, or of another kind.
        """
        if not isinstance(record, dict):
            raise InvalidInputError(f"Expected intents[{place}] to be an object, got {type(record).__name__}.")
        known: dict[str, Any] = {_ALIASES.get(str(key), str(key)): value for key, value in record.items()}
        if unknown := sorted(set(known) - _KEYS):
            raise InvalidInputError(f"Expected {', '.join(sorted(_KEYS))} in intents[{place}], got {unknown[0]!r}.")
        name, examples, reply = known.get("name"), known.get("examples"), known.get("reply")
        reply = reply[0] if isinstance(reply, list) and reply else reply
        if not isinstance(name, str) or not name or not isinstance(reply, (str, type(None))):
            raise InvalidInputError(f"Expected intents[{place}] to have a name, and a reply that is text, if any.")
        if not isinstance(examples, list) or not examples or not all(_is_text(example) for example in examples):
            raise InvalidInputError(f"Expected examples of intent {name!r} to be a list of texts, got none.")
        parameters = known.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidInputError(f"Expected parameters of intent {name!r} to be an object.")
        return cls(
            name=name,
            examples=tuple(examples),
            parameters=tuple(Parameter.of_record(key, value) for key, value in parameters.items()),
            reply=reply,
            where=check_where(known.get("where")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentMatch:
    """What a message wants.

    Attributes:
        name: Of the intent; None is unknown.
        score: Cosine of the message and the nearest example of any intent.
        nearest: Name of that intent, known or not.
        parameters: What the message says.
        missing: Names of parameters that it does not say.
        reply: A fixed answer, or the question for the first missing parameter that has one; None otherwise.
        where: Which passages count for it.
    """

    name: str | None
    score: float
    nearest: str | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    reply: str | None = None
    where: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "score": round(self.score, 4),
            "nearest": self.nearest,
            "parameters": dict(self.parameters),
            "missing": list(self.missing),
        }


class IntentMatcher:
    """Finds the intent of a message among examples.

    Args:
        intents: With examples.
        embedder: Embeds examples and messages, both as queries.
        threshold: Least cosine of the nearest example; None takes the one that best tells an intent's examples among
            themselves from those of the others, see `fitted_threshold`.

    Raises:
        InvalidInputError: There is no intent, two have one name, or the threshold is out of range.

    Example:
        >>> from semantic_ranker.testing import FakeEmbedder
        >>> intents = [Intent(name="password", examples=("reset my password",)), Intent(name="bye", examples=("bye",))]
        >>> matcher = IntentMatcher(intents, FakeEmbedder(), threshold=0.5)
        >>> matcher.match("please reset the password").name, matcher.match("what is for lunch").name
        ('password', None)
    """

    def __init__(self, intents: Sequence[Intent], embedder: IndexEmbedder, *, threshold: float | None = None) -> None:
        self.intents = tuple(intents)
        names = [intent.name for intent in self.intents]
        if not names or len(set(names)) < len(names):
            raise InvalidInputError("Expected intents of different names, got none or two of one name.")
        if threshold is not None and (isinstance(threshold, bool) or not 0 <= threshold <= 1):
            raise InvalidInputError(f"Expected threshold from 0 to 1, got {threshold!r}.")
        self._embedder = embedder
        examples = [example for intent in self.intents for example in intent.examples]
        self._owner = np.repeat(np.arange(len(names)), [len(intent.examples) for intent in self.intents])
        self._vectors = _unit(embedder.embed_queries(examples))
        self.threshold = fitted_threshold(self._vectors, self._owner) if threshold is None else float(threshold)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], embedder: IndexEmbedder) -> Self:
        """Open an ``intents.json``.

        Raises:
            InvalidInputError: There is none, or it holds something else.
        """
        intents, threshold = read_intents(path)
        return cls(intents, embedder, threshold=threshold)

    def match(self, message: str) -> IntentMatch:
        """Return what a message wants; unknown where no example is near enough."""
        vector = _unit(self._embedder.embed_queries([message]))[0]
        similarities = self._vectors @ vector
        best = int(similarities.argmax())
        score, intent = float(similarities[best]), self.intents[self._owner[best]]
        if not vector.any() or score < self.threshold:
            return IntentMatch(name=None, score=score, nearest=intent.name if vector.any() else None)
        found = {parameter.name: parameter.find(message) for parameter in intent.parameters}
        missing = tuple(name for name, value in found.items() if value is None)
        asked = [parameter.ask for parameter in intent.parameters if parameter.name in missing and parameter.ask]
        return IntentMatch(
            name=intent.name,
            score=score,
            nearest=intent.name,
            parameters={name: value for name, value in found.items() if value is not None},
            missing=missing,
            reply=asked[0] if asked else intent.reply,
            where=intent.where,
        )


def read_intents(path: str | os.PathLike[str]) -> tuple[list[Intent], float | None]:
    """Return intents and threshold of an ``intents.json``: ``{"threshold": 0.6, "intents": [...]}``.

    Raises:
        InvalidInputError: There is no such file, or it holds something else.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InvalidInputError(f"Cannot read intents from {str(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"Cannot read intents from {str(path)!r}: it is not JSON.") from error
    records = content.get("intents") if isinstance(content, dict) else content
    threshold = content.get("threshold") if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise InvalidInputError(f'Expected {{"intents": [...]}} in {str(path)!r}, got something else.')
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, (int, float))):
        raise InvalidInputError(f"Expected threshold in {str(path)!r} to be a number, got another kind.")
    return [Intent.of_record(record, place) for place, record in enumerate(records)], threshold


def fitted_threshold(vectors: NDArray[np.float32], owner: NDArray[np.intp]) -> float:
    """Return the cosine that best parts known from unknown messages.

    Every example is once a known message, held against the other examples of its intent, and once an unknown one,
    held against those of the other intents. The threshold with the best mean of both shares is taken, in the middle
    between two scores. Without two examples of an intent, or a second intent, it is 0.5.

    Args:
        vectors: Examples of length 1, float32 (n, dim).
        owner: Their intents, (n,).
    """
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    same = owner[:, None] == owner[None, :]
    known = np.where(same, similarities, -np.inf).max(axis=1)
    unknown = np.where(same, -np.inf, similarities).max(axis=1)
    known, unknown = known[np.isfinite(known)], unknown[np.isfinite(unknown)]
    if not len(known) or not len(unknown):
        return _USUAL_THRESHOLD
    scores = np.unique(np.concatenate([known, unknown]))
    cuts = (scores[1:] + scores[:-1]) / 2
    if not len(cuts):
        return _USUAL_THRESHOLD
    worth = [float((known >= cut).mean() + (unknown < cut).mean()) for cut in cuts]
    return max(_LEAST_THRESHOLD, float(cuts[int(np.argmax(worth))]))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
