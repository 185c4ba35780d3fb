"""The types that all data sets are read into. Knows no file format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from semantic_ranker.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One judged pair of a query and a document.

    Attributes:
        query: The question.
        document: The text.
        label: Relevance, 0 for not relevant; finite, 0 or more.
        query_id: Id of the query in its source, or empty.
        document_id: Id of the document in its source, or empty.
        score: A teacher's score of the pair, or None.
        source: Where the pair comes from.

    Raises:
        InvalidInputError: A text is empty or no string, or a number is out of range.
    """

    query: str
    document: str
    label: float
    query_id: str = ""
    document_id: str = ""
    score: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        _check_text("query", self.query)
        _check_text("document", self.document)
        check_label(self.label)
        if self.score is not None:
            _check_number("score", self.score)


@dataclass(frozen=True, slots=True)
class Group:
    """A query with the texts to be ranked for it: what trainers learn from.

    Attributes:
        query: The question.
        texts: The texts, one or more.
        labels: Relevance of each text, 0 for not relevant; finite, 0 or more.
        scores: A teacher's score of each text, or None.
        source: Where the group comes from.
        provenance: What a miner knows of each text (retriever, ranks, scores, why it was kept), or None.

    Raises:
        InvalidInputError: The lengths differ, a text is empty, a number is out of range, or a text is both relevant
            and not relevant.
    """

    query: str
    texts: tuple[str, ...]
    labels: tuple[float, ...]
    scores: tuple[float, ...] | None = None
    source: str = ""
    provenance: tuple[Mapping[str, Any], ...] | None = None

    def __post_init__(self) -> None:
        _check_text("query", self.query)
        lengths = [len(part) for part in (self.labels, self.scores, self.provenance) if part is not None]
        if not self.texts or any(length != len(self.texts) for length in lengths):
            raise InvalidInputError(
                f"Expected texts, with one label, score and provenance each, got {len(self.texts)} texts and {lengths}."
            )
        for text, label in zip(self.texts, self.labels, strict=True):
            _check_text("text", text)
            check_label(label)
        for score in self.scores or ():
            _check_number("score", score)
        both = set(self.positives) & set(self.negatives)
        if both:
            raise InvalidInputError(
                f"Expected each text to be relevant or not, got {len(both)} that are listed as positive and as "
                "negative of the same query: drop one of the two."
            )

    @property
    def positives(self) -> tuple[str, ...]:
        """Texts with a label above 0."""
        return tuple(text for text, label in zip(self.texts, self.labels, strict=True) if label > 0)

    @property
    def negatives(self) -> tuple[str, ...]:
        """Texts with the label 0."""
        return tuple(text for text, label in zip(self.texts, self.labels, strict=True) if label == 0)

    def records(self) -> Iterator[Record]:
        """Give the pairs of the group."""
        for place, (text, label) in enumerate(zip(self.texts, self.labels, strict=True)):
            score = self.scores[place] if self.scores is not None else None
            yield Record(query=self.query, document=text, label=label, score=score, source=self.source)


class Triple(NamedTuple):
    """A query, a text that answers it and, where known, one that does not."""

    query: str
    positive: str
    negative: str | None = None

    def group(self, source: str = "") -> Group:
        """Return the triple as a group.

        Raises:
            InvalidInputError: A text is empty, or the positive is the negative.
        """
        texts = (self.positive,) if self.negative is None else (self.positive, self.negative)
        return Group(self.query, texts, (1.0, 0.0)[: len(texts)], source=source)


def group_records(records: Iterable[Record], *, gather: bool = False) -> Iterator[Group]:
    """Put pairs of one query together.

    Args:
        records: The pairs.
        gather: Whether pairs of a query are sought in the whole input, which is then held in memory; otherwise only
            neighbours are put together.
    """
    if gather:
        of_query: dict[str, list[Record]] = {}
        for record in records:
            of_query.setdefault(record.query, []).append(record)
        yield from (_group(found) for found in of_query.values())
        return
    run: list[Record] = []
    for record in records:
        if run and record.query != run[0].query:
            yield _group(run)
            run = []
        run.append(record)
    if run:
        yield _group(run)


def as_groups(samples: Iterable[Any]) -> list[Group]:
    """Return samples in any form that the guides use as groups; neighbours of one query become one group.

    Args:
        samples: `Group`, `Record`, `Triple`, mappings with the keys of any supported row, or tuples
            ``(query, positive, negative)`` and ``(query, document, label)``.

    Raises:
        InvalidInputError: There are none, or one of them has no known form; ``.index`` says which.
    """
    from semantic_ranker_training.data.rows import group_of_row

    groups: list[Group] = []
    pending: list[Record] = []
    for index, sample in enumerate(samples):
        try:
            form = _form(sample)
            found = group_of_row(sample) if form is None else form
        except InvalidInputError as error:
            raise InvalidInputError(f"Sample {index}: {error}", index) from error
        if isinstance(found, Record):
            if pending and pending[0].query != found.query:
                groups.append(_group(pending))
                pending = []
            pending.append(found)
            continue
        if pending:
            groups.append(_group(pending))
            pending = []
        groups.append(found)
    if pending:
        groups.append(_group(pending))
    if not groups:
        raise InvalidInputError("Expected samples to learn from, got none.")
    return groups


def check_label(label: object) -> float:
    """Return a label as a float.

    Raises:
        InvalidInputError: It is no finite number of 0 or more.
    """
    value = _check_number("label", label)
    if value < 0:
        raise InvalidInputError(f"Expected a label of 0 (not relevant) or more, got {label!r}.")
    return value


def _form(sample: Any) -> Group | Record | None:
    if isinstance(sample, (Group, Record)):
        return sample
    if isinstance(sample, Mapping):
        return None
    if not isinstance(sample, Sequence) or isinstance(sample, str) or not 2 <= len(sample) <= 3:
        raise InvalidInputError(
            "Expected a group, a mapping, (query, positive, negative) or (query, document, label), got "
            f"{type(sample).__name__}."
        )
    if len(sample) == 3 and isinstance(sample[2], (int, float)):
        return Record(query=sample[0], document=sample[1], label=float(sample[2]))
    return Triple(*sample).group()


def _group(records: Sequence[Record]) -> Group:
    # The same pair twice is one pair; with two labels it is an error, which the group finds.
    unique: dict[tuple[str, bool], Record] = {}
    for record in records:
        unique.setdefault((record.document, record.label > 0), record)
    kept = list(unique.values())
    scores = tuple(record.score for record in kept if record.score is not None)
    return Group(
        kept[0].query,
        tuple(record.document for record in kept),
        tuple(float(record.label) for record in kept),
        scores if len(scores) == len(kept) else None,
        kept[0].source,
    )


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        what = "an empty one" if isinstance(text, str) else type(text).__name__
        raise InvalidInputError(f"Expected {name} to be a string with content, got {what}.")


def _check_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInputError(f"Expected {name} to be a finite number, got {value!r}.")
    return float(value)
