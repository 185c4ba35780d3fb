"""Are an answer's citations real, and do the cited passages hold its words. No language model is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.words import content_words, sentences, words

# [1], [1, 2], [1-3], [^1], [guide.md]; right after a word only what is surely one, for code has a[0] and x[key].
_BRACKET = re.compile(
    r"(?<![\]\w])\[([^\[\]\n]{1,80})\](?!\()"
    r"|(?:(?<=\w\w)|(?<=[\u3002\]]))\[(\^?\d[\d\s,;\u2013-]*|[^\[\]\s]{2,80})\](?!\()"
)
_BEFORE_MARK = re.compile(r"\s+(?=[.,;:!?])")
_RANGE = re.compile(r"(\d+)\s*[-\u2013]\s*(\d+)")
_LOOKS_NAMED = re.compile(r"[^\s]*[./#:_][^\s]*|\S+-\d+")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_LONGEST_RANGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """One citation of one sentence.

    Attributes:
        label: What stands in the brackets, such as ``1`` or ``guide.md``.
        sentence: Position of its sentence in the answer.
        exists: Whether the context has a passage of that label.
        support: Share of the sentence's content words, 0 to 1, that the cited passage holds; 0 where there is none.
        supported: Whether ``support`` reaches the threshold and every number of the sentence stands in a passage
            that the sentence cites.
    """

    label: str
    sentence: int
    exists: bool
    support: float
    supported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationFigures:
    """How an answer cites its context.

    Attributes:
        citations: Every citation, in order.
        sentences: The answer's sentences that say something, with their citations cut off.
        existing: Share of the citations whose passage exists; 1 without citations.
        precision: Share of the citations that are supported; 1 without citations.
        coverage: Share of the sentences with at least one supported citation; 1 for an empty answer.
        uncited: Positions of the sentences without any citation.
    """

    citations: tuple[Citation, ...]
    sentences: tuple[str, ...]
    existing: float
    precision: float
    coverage: float
    uncited: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers that JSON can hold."""
        return {
            **asdict(self),
            "citations": [asdict(of) for of in self.citations],
            "sentences": list(self.sentences),
            "uncited": list(self.uncited),
        }


def check_citations(
    answer: str, context: Sequence[str] | Mapping[str, str], *, threshold: float = 0.6
) -> CitationFigures:
    """Check every citation of an answer against the context that it was written from.

    A sentence is supported by what it cites when the cited passages hold ``threshold`` of its different content words
    (lower case, English endings cut off, function words left out) and all of its numbers. Several citations of one
    sentence share the work: each is supported if their passages together reach the threshold and its own
    passage holds at least a word that no other cited passage holds, or reaches the threshold alone.
    This is a lexical measure. It finds invented sources, swapped numbers and unrelated passages; it does not notice
    a negation, and it asks a paraphrase to keep most of its source's words.

    Args:
        answer: Text with citations such as ``[1]``, ``[1, 3]``, ``[2-4]``, ``[^1]`` or ``[guide.md]``. Links and
            code are no citations.
        context: The passages; those of a list are ``1``, ``2`` and so on, those of a mapping have its keys.
        threshold: Share of the words, above 0 up to 1.

    Raises:
        EvaluationError: ``threshold`` is out of range, or the context is one string.
    """
    if isinstance(context, str) or not 0 < threshold <= 1:
        raise EvaluationError(
            f"Expected passages and threshold above 0 up to 1, got a {type(context).__name__} and {threshold!r}."
        )
    passages = (
        dict(context) if isinstance(context, Mapping) else {str(n): text for n, text in enumerate(context, start=1)}
    )
    found: list[Citation] = []
    claims: list[str] = []
    for sentence in sentences(_CODE.sub(" ", answer)):
        labels = _labels(sentence, passages)
        claim = _without(sentence, passages)
        if words(claim):
            claims.append(claim)
            found.extend(_judged(labels, claim, len(claims) - 1, passages, threshold))
        elif labels and claims:  # citations that stand alone belong to the sentence before
            found.extend(_judged(labels, claims[-1], len(claims) - 1, passages, threshold))
        else:
            found.extend(
                Citation(label=of, sentence=0, exists=of in passages, support=0.0, supported=False) for of in labels
            )
    return _figures(found, claims)


def _figures(found: Sequence[Citation], claims: Sequence[str]) -> CitationFigures:
    supported = {citation.sentence for citation in found if citation.supported}
    cited = {citation.sentence for citation in found}
    return CitationFigures(
        citations=tuple(found),
        sentences=tuple(claims),
        existing=sum(of.exists for of in found) / len(found) if found else 1.0,
        precision=sum(of.supported for of in found) / len(found) if found else 1.0,
        coverage=len(supported) / len(claims) if claims else 1.0,
        uncited=tuple(index for index in range(len(claims)) if index not in cited),
    )


def _judged(
    labels: Sequence[str], claim: str, sentence: int, passages: Mapping[str, str], threshold: float
) -> list[Citation]:
    wanted, numbers = content_words(claim), _numbers(claim)
    held = {label: content_words(passages[label]) & wanted for label in labels if label in passages}
    together = set().union(*held.values())
    stated = set().union(*(_numbers(passages[label]) for label in held))
    enough = bool(wanted) and len(together) >= threshold * len(wanted) and numbers <= stated
    return [
        Citation(
            label=label,
            sentence=sentence,
            exists=label in passages,
            support=len(held[label]) / len(wanted) if label in held and wanted else 0.0,
            supported=enough and label in held and _adds(label, held, threshold * len(wanted)),
        )
        for label in labels
    ]


def _adds(label: str, held: Mapping[str, set[str]], needed: float) -> bool:
    others = set().union(*(words for other, words in held.items() if other != label))
    return len(held[label]) >= needed or bool(held[label] - others)


def _labels(sentence: str, passages: Mapping[str, str]) -> list[str]:
    labels: list[str] = []
    for match in _BRACKET.finditer(sentence):
        labels.extend(_split(match[1] or match[2], passages))
    return list(dict.fromkeys(labels))


def _split(inside: str, passages: Mapping[str, str]) -> list[str]:
    """Return the labels between two brackets; none where the brackets are an aside such as ``[sic]``."""
    inside = inside.strip().removeprefix("^")
    if inside in passages:
        return [inside]
    labels: list[str] = []
    for part in re.split(r"\s*[,;]\s*", inside):
        part = part.removeprefix("^")
        span = _RANGE.fullmatch(part)
        if span and 0 <= int(span[2]) - int(span[1]) < _LONGEST_RANGE:
            labels.extend(map(str, range(int(span[1]), int(span[2]) + 1)))
        elif part in passages or part.isdecimal() or _LOOKS_NAMED.fullmatch(part):
            labels.append(part)
        else:
            return []
    return labels


def _without(sentence: str, passages: Mapping[str, str]) -> str:
    def cut(match: re.Match[str]) -> str:
        return "" if _split(match[1] or match[2], passages) else match[0]

    return _BEFORE_MARK.sub("", " ".join(_BRACKET.sub(cut, sentence).split()))


def _numbers(text: str) -> set[str]:
    return {word for word in words(text) if any(character.isdigit() for character in word)}
