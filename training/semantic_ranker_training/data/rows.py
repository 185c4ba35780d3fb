"""From one row of named values to a group or a judged pair. Reads no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.records import Group, Record, check_label

_QUERY = ("query", "anchor", "question", "sentence1", "question1")
_DOCUMENT = ("document", "text", "passage", "answer", "sentence2", "question2")
_LABEL = ("label", "relevance", "is_duplicate", "score")
KNOWN = (
    "query, pos, neg (FlagEmbedding); query, positive, negative; query, documents, labels; "
    "query, document, label; question1, question2, is_duplicate"
)


def group_of_row(row: Mapping[str, Any]) -> Group | Record:
    """Return what a row says; its keys tell its kind, as listed in `KNOWN`.

    A row with one document and one label gives a `Record`, any other a `Group`, positives first.

    Raises:
        InvalidInputError: The keys tell no kind, or a value does not fit.
    """
    if not isinstance(row, Mapping):
        raise InvalidInputError(f"Expected an object, got {type(row).__name__}.")
    for key, build in _KINDS.items():
        if row.get(key) is not None:
            return build(row, _value(row, _QUERY))
    if any(row.get(key) is not None for key in _DOCUMENT):
        return record_of_row(row)
    raise InvalidInputError(f"Expected the keys of a known kind ({KNOWN}), got {', '.join(map(str, row)) or 'none'}.")


def record_of_row(row: Mapping[str, Any]) -> Record:
    """Return the judged pair of a row; its label may be text, as in a CSV file.

    Raises:
        InvalidInputError: A key is missing or a value does not fit.
    """
    return Record(
        query=_value(row, _QUERY),
        document=_value(row, _DOCUMENT),
        label=check_label(_number(_value(row, _LABEL))),
        query_id=_id(row, ("query_id", "qid", "qid1")),
        document_id=_id(row, ("document_id", "doc_id", "docid", "qid2")),
        score=None if row.get("teacher_score") in (None, "") else _number(row["teacher_score"]),
        source=_source(row),
    )


def _flag(row: Mapping[str, Any], query: Any) -> Group:
    positives, negatives = _texts(row, "pos"), _texts(row, "neg")
    if not positives:
        raise InvalidInputError("Expected at least one text in 'pos', got none: a query without positives.")
    scores = None
    if row.get("pos_scores") is not None or row.get("neg_scores") is not None:
        scores = (*_numbers(row, "pos_scores", len(positives)), *_numbers(row, "neg_scores", len(negatives)))
    texts = (*positives, *negatives)
    labels = (1.0,) * len(positives) + (0.0,) * len(negatives)
    if row.get("labels") is not None:
        labels = _numbers(row, "labels", len(texts))
    return Group(query, texts, labels, scores, _source(row), _provenance(row, len(texts)))


def _positive(row: Mapping[str, Any], query: Any) -> Group:
    positives = _texts(row, "positive")
    negatives = (*_texts(row, "negative"), *_texts(row, "negatives"))
    if not positives:
        raise InvalidInputError("Expected a text as 'positive', got none.")
    labels = (1.0,) * len(positives) + (0.0,) * len(negatives)
    return Group(query, (*positives, *negatives), labels, source=_source(row))


def _labelled(row: Mapping[str, Any], query: Any) -> Group:
    texts = _texts(row, "documents")
    scores = _numbers(row, "scores", len(texts)) if row.get("scores") is not None else None
    return Group(query, texts, _numbers(row, "labels", len(texts)), scores, _source(row), _provenance(row, len(texts)))


def _selected(row: Mapping[str, Any], query: Any) -> Group:
    passages = row["passages"]
    texts = passages.get("passage_text") if isinstance(passages, Mapping) else None
    if not isinstance(texts, Sequence) or isinstance(texts, str):
        raise InvalidInputError("Expected 'passages' to be an object with the lists passage_text and is_selected.")
    found: dict[str, float] = {}
    for text, label in zip(map(_hashable, texts), _numbers(passages, "is_selected", len(texts)), strict=True):
        found[text] = max(label, found.get(text, 0.0))
    order = sorted(found, key=lambda text: found[text] <= 0)
    return Group(query, tuple(order), tuple(found[text] for text in order), source=_source(row))


_KINDS: dict[str, Callable[[Mapping[str, Any], Any], Group]] = {
    "pos": _flag,
    "positive": _positive,
    "documents": _labelled,
    "passages": _selected,
}


def _value(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise InvalidInputError(f"Expected one of the keys {', '.join(names)}, got {', '.join(map(str, row)) or 'none'}.")


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence):
        raise InvalidInputError(f"Expected {key!r} to be a string or a list of strings, got {type(value).__name__}.")
    # The same text twice is one text.
    return tuple(value) if key == "documents" else tuple(dict.fromkeys(map(_hashable, value)))


def _hashable(value: Any) -> Any:
    if not isinstance(value, str):
        raise InvalidInputError(f"Expected a list of strings, got {type(value).__name__} in it.")
    return value


def _numbers(row: Mapping[str, Any], key: str, count: int) -> tuple[float, ...]:
    values = row.get(key)
    if values is None and not count:
        return ()
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != count:
        found = len(values) if isinstance(values, Sequence) and not isinstance(values, str) else type(values).__name__
        raise InvalidInputError(f"Expected {count} numbers in {key!r}, one a text, got {found}.")
    return tuple(map(_number, values))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InvalidInputError(f"Expected a number, got {value!r}.")
    try:
        return float(value)
    except ValueError:
        raise InvalidInputError(f"Expected a number, got {str(value)[:40]!r}.") from None


def _source(row: Mapping[str, Any]) -> str:
    value = row.get("source")
    return value if isinstance(value, str) else ""


def _id(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((str(row[name]) for name in names if row.get(name) is not None), "")


def _provenance(row: Mapping[str, Any], count: int) -> tuple[Mapping[str, Any], ...] | None:
    value = row.get("provenance")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != count or not all(isinstance(item, dict) for item in value):
        raise InvalidInputError(f"Expected 'provenance' to be a list of {count} objects, one a text.")
    return tuple(value)
