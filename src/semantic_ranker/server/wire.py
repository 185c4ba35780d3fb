"""What clients send: JSON bodies in the shapes of Jina, Cohere, TEI and OpenAI, checked. Knows no HTTP and no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from semantic_ranker.errors import InvalidInputError

_ROLES: dict[str | None, Literal["q", "d"]] = {
    None: "d",
    "document": "d",
    "search_document": "d",
    "retrieval.passage": "d",
    "query": "q",
    "search_query": "q",
    "retrieval.query": "q",
}
_IGNORED = ("max_tokens_per_doc", "max_chunks_per_doc", "rank_fields")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A query and texts to order.

    Attributes:
        query: The question.
        texts: The candidates.
        top_n: How many to return; None is all.
        return_texts: Whether each result has its text.
        raw_scores: Whether scores are logits instead of relevance.
        warnings: What was asked for and is not done.
    """

    query: str
    texts: list[str]
    top_n: int | None = None
    return_texts: bool = False
    raw_scores: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_jina(cls, body: Mapping[str, Any], most: int, *, return_documents: bool = True) -> Self:
        """Read ``query``, ``documents`` (texts, or objects with a ``text``), ``top_n``, ``return_documents``."""
        documents = _list(body, "documents", most)
        return cls(
            query=_text(body, "query"),
            texts=[_document(document, place) for place, document in enumerate(documents)],
            top_n=_count(body, "top_n"),
            return_texts=_flag(body, "return_documents", return_documents),
            warnings=tuple(f"{name} is not used" for name in _IGNORED if body.get(name) is not None),
        )

    @classmethod
    def of_tei(cls, body: Mapping[str, Any], most: int) -> Self:
        """Read ``query``, ``texts``, ``raw_scores``, ``return_text``; longer texts are always cut."""
        return cls(
            query=_text(body, "query"),
            texts=_texts(_list(body, "texts", most), "texts"),
            return_texts=_flag(body, "return_text", False),
            raw_scores=_flag(body, "raw_scores", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """Texts to embed.

    Attributes:
        texts: The texts.
        role: ``q`` for queries, ``d`` for documents.
        base64: Whether vectors are sent as base64 of little-endian float32.
        dimensions: Length of a vector that the client expects, or None.
    """

    texts: list[str]
    role: Literal["q", "d"] = "d"
    base64: bool = False
    dimensions: int | None = None

    @classmethod
    def of_openai(cls, body: Mapping[str, Any], most: int) -> Self:
        """Read ``input``, ``encoding_format``, ``dimensions``, and the role as ``input_type`` or ``task``."""
        given = body.get("input")
        texts = [given] if isinstance(given, str) else _list(body, "input", most)
        if any(isinstance(text, (int, list)) for text in texts):
            raise InvalidInputError(
                "Expected texts as input, got numbers of tokens, which only OpenAI's models know: send the texts "
                "themselves (LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)."
            )
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise InvalidInputError(f"Expected encoding_format 'float' or 'base64', got {_shown(encoding)}.")
        kind = body.get("input_type") or body.get("task")
        if not isinstance(kind, (str, type(None))) or kind not in _ROLES:
            known = ", ".join(str(role) for role in _ROLES if role)
            raise InvalidInputError(f"Expected input_type to be one of {known}, got {_shown(kind)}.")
        return cls(
            texts=_texts(texts, "input"),
            role=_ROLES[kind],
            base64=encoding == "base64",
            dimensions=_count(body, "dimensions"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """A question to the index.

    Attributes:
        query: The question.
        top_k: Passages to return; None is the pipeline's own number.
        where: Which passages count, see `indexes.filters`.
        context: Whether to return the passages as text for a language model too.
        max_tokens: Most tokens of that text.
    """

    query: str
    top_k: int | None = None
    where: dict[str, Any] | None = None
    context: bool = False
    max_tokens: int | None = None

    @classmethod
    def of_body(cls, body: Mapping[str, Any], most: int) -> Self:
        """Read the fields; what is unknown is refused, for it is our own shape."""
        known = {"query", "top_k", "where", "context", "max_tokens"}
        if unknown := sorted(set(body) - known):
            raise InvalidInputError(f"Expected only {', '.join(sorted(known))}, got {_shown(unknown[0])}.")
        where = body.get("where")
        if where is not None and not isinstance(where, dict):
            raise InvalidInputError(f"Expected where to be an object, got {_shown(where)}.")
        top_k = _count(body, "top_k")
        if top_k is not None and top_k > most:
            raise InvalidInputError(f"Expected top_k of {most} at most, got {top_k}.")
        return cls(
            query=_text(body, "query"),
            top_k=top_k,
            where=where,
            context=_flag(body, "context", False),
            max_tokens=_count(body, "max_tokens"),
        )


def object_of(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("Expected JSON as the body, got something else.") from error
    if not isinstance(body, dict):
        raise InvalidInputError(f"Expected a JSON object as the body, got {_shown(body)}.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    if not isinstance(value := body.get(name), str):
        raise InvalidInputError(f"Expected {name} to be a string, got {_shown(value)}.")
    return value


def _list(body: Mapping[str, Any], name: str, most: int) -> list[Any]:
    if not isinstance(value := body.get(name), list):
        raise InvalidInputError(f"Expected {name} to be a list, got {_shown(value)}.")
    if len(value) > most:
        raise InvalidInputError(f"Expected {most} {name} at most, got {len(value)}: send them in parts.")
    return value


def _texts(values: Sequence[Any], name: str) -> list[str]:
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise InvalidInputError(f"Expected {name}[{place}] to be a string, got {_shown(value)}.", place)
    return list(values)


def _document(value: Any, place: int) -> str:
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise InvalidInputError(
            f"Expected documents[{place}] to be a string or an object with a text, got {_shown(value)}.", place
        )
    return text


def _count(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidInputError(f"Expected {name} to be a whole number of 1 or more, got {_shown(value)}.")
    return value


def _flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInputError(f"Expected {name} to be true or false, got {_shown(value)}.")
    return value


def _shown(value: object) -> str:
    """Return a value as a message shows it: its kind where it may be long or a user's text."""
    if value is None:
        return "nothing"
    if isinstance(value, (bool, int, float)):
        return repr(value)[:40]
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else "a long string"
    return "a list" if isinstance(value, list) else "an object"
