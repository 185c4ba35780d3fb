"""Checks of retrieval-augmented answers without a language model: is the context right, and is it cited rightly.

Everything here counts characters or words. Nothing here understands: a paraphrase that shares no words with its source
counts as unsupported, and a copied sentence with one changed negation as supported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.words import words

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A range of a document's characters.

    Attributes:
        document: Id of the document.
        start: First character, from 0.
        end: Where it ends, the character not in it.

    Raises:
        EvaluationError: The range is empty or negative.
    """

    document: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise EvaluationError(
                f"Expected a span with 0 <= start < end in document {self.document!r}, got {self.start} and {self.end}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFigures:
    """How a context meets the judged spans.

    With J the characters in judged spans, C those in the context, and |passages| the context's length in characters,
    where what two passages share counts twice, because it is paid for twice:

    Attributes:
        precision: ``|J and C| / |passages|``; 0 for an empty context.
        recall: ``|J and C| / |J|``.
        iou: ``|J and C| / (|passages| + |J| - |J and C|)``.
        useful_passages: Share of the passages that hold at least ``min_overlap`` of a judged span, or lie inside one.
        found_spans: Share of the judged spans of which the context holds at least ``min_overlap``.
        first_useful: 1 / rank of the first useful passage; 0 where none is.
    """

    precision: float
    recall: float
    iou: float
    useful_passages: float
    found_spans: float
    first_useful: float

    def to_dict(self) -> dict[str, float]:
        """Return a plain dict."""
        return asdict(self)


def context_figures(context: Sequence[Span], judged: Sequence[Span], *, min_overlap: float = 0.5) -> ContextFigures:
    """Measure one query's context against the spans that were judged to hold the answer.

    Args:
        context: The passages, best first, as ranges of their documents.
        judged: The relevant ranges; they may overlap.
        min_overlap: Share of a judged span, above 0 up to 1, that must be there for it to count as found.

    Raises:
        EvaluationError: There are no judged spans, or ``min_overlap`` is out of range.
    """
    if not judged or not 0 < min_overlap <= 1:
        raise EvaluationError(
            f"Expected judged spans and min_overlap above 0 up to 1, got {len(judged)} spans and {min_overlap!r}."
        )
    relevant, covered = _merged(judged), _merged(context)
    both = sum(_shared(span, covered) for span in relevant)
    wanted, paid = _length(relevant), _length(context)
    useful = [_is_useful(passage, judged, relevant, min_overlap) for passage in context]
    found = [_shared(span, covered) >= min_overlap * (span.end - span.start) for span in judged]
    return ContextFigures(
        precision=both / paid if paid else 0.0,
        recall=both / wanted,
        iou=both / (paid + wanted - both),
        useful_passages=sum(useful) / len(useful) if useful else 0.0,
        found_spans=sum(found) / len(found),
        first_useful=1 / (useful.index(True) + 1) if any(useful) else 0.0,
    )


def mean_context_figures(figures: Sequence[ContextFigures]) -> ContextFigures:
    """Return the means over queries.

    Raises:
        EvaluationError: There are none.
    """
    if not figures:
        raise EvaluationError("Expected figures of at least one query, got none.")
    columns = {name: [of.to_dict()[name] for of in figures] for name in figures[0].to_dict()}
    return ContextFigures(**{name: sum(values) / len(values) for name, values in columns.items()})


def locate(passage: str, documents: Mapping[str, str]) -> Span | None:
    """Return where a passage stands, white space apart, in the first document that holds it; None in none of them.

    Args:
        passage: Its text.
        documents: Text by document id.
    """
    pattern = re.compile(r"\s+".join(map(re.escape, passage.split())))
    if not pattern.pattern:
        return None
    for document, text in documents.items():
        if (found := pattern.search(text)) is not None:
            return Span(document, *found.span())
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redundancy:
    """How much a context repeats itself.

    Attributes:
        near_duplicates: Share of the passages that resemble an earlier one by ``threshold`` or more.
        repeated: Share of the shingles that an earlier passage, or an earlier place, held already.
        max_similarity: Highest similarity of two passages.
        mean_similarity: Mean over passages, the first left out, of the similarity to the most similar earlier one.
        pairs: The near-duplicates, each with its most similar earlier passage, as positions ``(earlier, later)``.
    """

    near_duplicates: float
    repeated: float
    max_similarity: float
    mean_similarity: float
    pairs: tuple[tuple[int, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {**asdict(self), "pairs": [list(pair) for pair in self.pairs]}


def redundancy(
    passages: Sequence[str], *, threshold: float = 0.8, shingle: int = 4, vectors: ArrayLike | None = None
) -> Redundancy:
    """Measure how much the passages of a context repeat each other.

    Two passages' similarity is containment: shared shingles (runs of ``shingle`` words) over those of the one that has
    fewer, so that an excerpt resembles the whole that it was cut from. With ``vectors`` it is the larger of that
    and the cosine.

    Args:
        passages: The texts, in the order of the context.
        threshold: From which similarity on a passage is a near-duplicate, above 0 up to 1.
        shingle: Words a shingle, 1 or more; shorter passages are one shingle.
        vectors: (n, dim) embeddings of the passages, to see paraphrases as well.

    Raises:
        EvaluationError: An option is out of range, or there is not one finite vector a passage.
    """
    if not 0 < threshold <= 1 or shingle < 1:
        raise EvaluationError(
            f"Expected threshold above 0 up to 1 and shingle of 1 or more, got {threshold!r} and {shingle!r}."
        )
    similar = _similarities([_shingles(text, shingle) for text in passages])
    if vectors is not None:
        similar = np.maximum(similar, _cosines(vectors, len(passages)))
    earlier = np.tril(similar, -1)[1:]
    nearest = earlier.max(axis=1) if len(earlier) else np.zeros(0)
    counted = [found for text in passages for found in _runs(text, shingle)]
    return Redundancy(
        near_duplicates=float((nearest >= threshold).sum()) / max(1, len(passages)),
        repeated=1 - len(set(counted)) / len(counted) if counted else 0.0,
        max_similarity=float(nearest.max(initial=0.0)),
        mean_similarity=float(nearest.mean()) if len(nearest) else 0.0,
        pairs=tuple((int(earlier[row].argmax()), row + 1) for row in range(len(nearest)) if nearest[row] >= threshold),
    )


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and merged[-1].document == span.document and span.start <= merged[-1].end:
            merged[-1] = Span(span.document, merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def _shared(span: Span, apart: Sequence[Span]) -> int:
    """Return how many characters of a span lie in spans that do not overlap each other."""
    return sum(
        max(0, min(span.end, other.end) - max(span.start, other.start))
        for other in apart
        if other.document == span.document
    )


def _length(spans: Sequence[Span]) -> int:
    return sum(span.end - span.start for span in spans)


def _is_useful(passage: Span, judged: Sequence[Span], relevant: Sequence[Span], min_overlap: float) -> bool:
    if _shared(passage, relevant) == passage.end - passage.start:
        return True
    return any(_shared(span, [passage]) >= min_overlap * (span.end - span.start) for span in judged)


def _runs(text: str, shingle: int) -> list[tuple[str, ...]]:
    found = words(text)
    return [tuple(found[start : start + shingle]) for start in range(max(1, len(found) - shingle + 1))] if found else []


def _shingles(text: str, shingle: int) -> frozenset[tuple[str, ...]]:
    return frozenset(_runs(text, shingle))


def _similarities(shingles: Sequence[frozenset[tuple[str, ...]]]) -> NDArray[np.float64]:
    found = np.zeros((len(shingles), len(shingles)))
    for later in range(len(shingles)):
        for earlier in range(later):
            fewer = min(len(shingles[later]), len(shingles[earlier]))
            if fewer:
                found[later, earlier] = len(shingles[later] & shingles[earlier]) / fewer
    return found


def _cosines(vectors: ArrayLike, expected: int) -> NDArray[np.float64]:
    matrix = np.asarray(vectors, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != expected or not np.isfinite(matrix).all():
        raise EvaluationError(f"Expected one finite vector for each of {expected} passages, got shape {matrix.shape}.")
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit = matrix / np.where(lengths > 0, lengths, 1)
    cosines: NDArray[np.float64] = unit @ unit.T
    return cosines
