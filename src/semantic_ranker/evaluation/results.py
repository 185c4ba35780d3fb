"""What a retrieval pipeline returned, read as ranked document ids: strings, mappings, and framework documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from semantic_ranker.errors import EvaluationError

DocumentId: TypeAlias = Callable[[Any], str]
"""Gives the collection's id of one result, such as ``lambda document: document.metadata["source"]``."""

_ID_KEYS = ("id", "_id", "doc_id", "document_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineResult:
    """What one query gave, stage by stage; a pipeline that returns it gets a row for each stage.

    Attributes:
        stages: Results by stage name, in the order they ran; the last is the answer. Each is a list, best first, or
            scores by document id.
        latency_ms: Milliseconds by stage name.
        degraded: Whether something was missing, such as the reranker or a cache, and the result is second best.
    """

    stages: Mapping[str, Iterable[Any] | Mapping[str, float]]
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    degraded: bool = False


def ranked_ids(results: object, id_of: DocumentId) -> dict[str, float]:
    """Return scores by document id that keep the order of the results; of a repeated id the first place counts.

    Args:
        results: A list, best first, or scores by document id.
        id_of: Gives the id of a list's item.

    Raises:
        EvaluationError: It is neither, or an item has no id.
    """
    if isinstance(results, Mapping):
        return {str(document): float(score) for document, score in results.items()}
    if isinstance(results, (str, bytes)) or not isinstance(results, Iterable):
        raise EvaluationError(
            f"Expected a list of results, scores by id, or a PipelineResult, got {type(results).__name__}."
        )
    # Several chunks of one document are one result, at the place of the best.
    ids = list(dict.fromkeys(id_of(item) for item in results))
    return {document: float(len(ids) - rank) for rank, document in enumerate(ids)}


def known_id(corpus: Mapping[str, str]) -> DocumentId:
    """Return a function that finds the collection's id of a result.

    A string is an id, or the text of a document. Other objects are asked for ``id``, ``node_id``, an id in
    ``metadata``, and their text, in this order; a wrapper's ``node`` or ``document`` is looked into.

    Args:
        corpus: Text by document id.
    """
    by_text: dict[str, str] = {}

    def id_of(item: object) -> str:
        if not by_text:
            for document, text in corpus.items():
                by_text.setdefault(text, document)
        for found in _names_of(item):
            if found in corpus:
                return found
            if found in by_text:
                return by_text[found]
        raise EvaluationError(
            f"Expected a result that names a document of the collection, got {_shown(item)}: "
            "pass document_id=, a function from a result to its id."
        )

    return id_of


def _names_of(item: object) -> Iterable[str]:
    if isinstance(item, str):
        yield item
        return
    inner = getattr(item, "node", None) or getattr(item, "document", None) or item
    metadata = item if isinstance(item, Mapping) else getattr(inner, "metadata", None) or {}
    names = [getattr(inner, name, None) for name in ("id", "node_id", "id_")]
    names += [metadata.get(key) for key in _ID_KEYS]
    names += [getattr(inner, name, None) for name in ("page_content", "text")] + [metadata.get("text")]
    yield from (name for name in names if isinstance(name, str) and name)


def _shown(item: object) -> str:
    # The kind and never the text: messages end up in logs.
    return f"a {type(item).__name__}" + (f" of {len(item)} characters" if isinstance(item, str) else "")
