"""Documents as passages to be found, and the questions that their own structure asks."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from semantic_ranker_training.data.duplicates import near_duplicate_clusters, normalized
from semantic_ranker_training.prepare.documents import Document
from semantic_ranker_training.prepare.strategies import Context, faq_pairs
from semantic_ranker_training.prepare.text import passages, words
from semantic_ranker_training.tune.library import Library
from semantic_ranker_training.tune.links import resolve, slug

PASSAGE_WORDS = 180
NATURAL = ("heading", "title", "faq", "link", "docstring")
"""Kinds of query that a person wrote: what is tested on."""
_LEAST_WORDS, _LEAST_PASSAGE_WORDS, _MOST_QUERY_WORDS = 2, 8, 40


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of the folder as it was written, without the heading above it.

    Attributes:
        id: ``path#section.number``, stable while the section keeps its place.
        document: Path of the document.
        heading: Of its section.
        text: Plain text. Where it says again what its heading says it is left so: without these words it would be the
            one passage that lacks them, and what is learnt from that is to rank texts with the words of a query low.
    """

    id: str
    document: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A query that the structure of a document asks, with the passages that answer it.

    Attributes:
        text: The query.
        kind: One of `NATURAL`.
        document: Path of the document that answers.
        answers: Ids of the passages.
        other: Path of the document that the words come from, where that is another one.
    """

    text: str
    kind: str
    document: str
    answers: tuple[str, ...]
    other: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything that can be found.

    Attributes:
        passages: By id; of near duplicates only the first is here.
        same_as: Id of the passage that stands for each one, itself for most.
        of_document: Ids of each document's passages.
        questions: What the documents ask.
    """

    passages: Mapping[str, Passage]
    same_as: Mapping[str, str]
    of_document: Mapping[str, tuple[str, ...]]
    questions: tuple[Question, ...] = field(default=(), repr=False)

    def texts(self, documents: Sequence[str] | None = None) -> dict[str, str]:
        """Return text by id, of all passages or of those of some documents."""
        wanted = None if documents is None else set(documents)
        return {key: of.text for key, of in self.passages.items() if wanted is None or of.document in wanted}


def build_corpus(library: Library) -> Corpus:
    """Return passages and questions of a folder."""
    every, questions = list[Passage](), list[Question]()
    for document in library.documents.values():
        every += _passages(document)
    kept = [passage for passage in every if len(passage.text.split()) >= _LEAST_PASSAGE_WORDS]
    clusters = near_duplicate_clusters([passage.text for passage in kept]).tolist() if kept else []
    same_as = {passage.id: kept[first].id for passage, first in zip(kept, clusters, strict=True)}
    found = {passage.id: passage for passage in kept if same_as[passage.id] == passage.id}
    of_document: dict[str, list[str]] = {source: [] for source in library.documents}
    for passage in kept:
        of_document[passage.document].append(passage.id)
    places = _sections_of(kept)
    for document in library.documents.values():
        questions += _questions(document, places)
    questions += _link_questions(library, places)
    merged = [_merged(question, same_as) for question in questions]
    return Corpus(
        found,
        same_as,
        {source: tuple(dict.fromkeys(same_as[key] for key in ids)) for source, ids in of_document.items()},
        tuple(question for question in merged if question is not None),
    )


def title_of(document: Document) -> str:
    """Return a document's title; its file name in words where it says none."""
    return document.title or posixpath.splitext(posixpath.basename(document.id))[0].replace("-", " ").replace("_", " ")


def _passages(document: Document) -> Iterator[Passage]:
    for number, section in enumerate(document.sections):
        for place, text in enumerate(passages(section.body, PASSAGE_WORDS)):
            yield Passage(f"{document.id}#{number}.{place}", document.id, section.heading, text)
    for place, (_, code) in enumerate(document.functions):
        yield Passage(f"{document.id}#f{place}", document.id, "", code)


def _sections_of(kept: Sequence[Passage]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for passage in kept:
        places.setdefault(passage.id.rpartition(".")[0] or passage.id, []).append(passage.id)
        if passage.id.rpartition("#")[2].startswith("f"):
            places[passage.id] = [passage.id]
    return places


def _questions(document: Document, places: Mapping[str, Sequence[str]]) -> Iterator[Question]:
    title = title_of(document)
    first = next((number for number in range(len(document.sections)) if places.get(f"{document.id}#{number}")), None)
    for number, section in enumerate(document.sections):
        answers = tuple(places.get(f"{document.id}#{number}", ()))
        if not answers:
            continue
        heading = section.heading
        if number == first and (heading in ("", document.title)):
            yield Question(title, "title", document.id, answers[:1])
        elif heading:
            short = len(words(heading)) < _LEAST_WORDS
            kind = "faq" if heading.endswith("?") else "heading"
            yield Question(f"{title}: {heading}" if short else heading, kind, document.id, answers)
    for place, (query, _) in enumerate(document.functions):
        if places.get(f"{document.id}#f{place}"):
            yield Question(query, "docstring", document.id, (f"{document.id}#f{place}",))


def _link_questions(library: Library, places: Mapping[str, Sequence[str]]) -> Iterator[Question]:
    by_stem: dict[str, list[str]] = {}
    for source in library.documents:
        by_stem.setdefault(posixpath.splitext(posixpath.basename(source))[0].lower(), []).append(source)
    for source, links in library.links.items():
        for link in links:
            target = resolve(link, source, library.documents, by_stem)
            if target is None or (target == source and not link.fragment):
                continue
            document = library.documents[target]
            number = _section_named(document, link.fragment) if link.fragment else _first(document, places)
            answers = tuple(places.get(f"{target}#{number}", ()))
            if answers and normalized(link.text) != normalized(document.sections[number].heading):
                yield Question(link.text, "link", target, answers[:1], source if source != target else "")


def _section_named(document: Document, fragment: str) -> int:
    wanted = slug(fragment)
    return next((number for number, of in enumerate(document.sections) if slug(of.heading) == wanted), -1)


def _first(document: Document, places: Mapping[str, Sequence[str]]) -> int:
    return next((number for number in range(len(document.sections)) if places.get(f"{document.id}#{number}")), -1)


def _merged(question: Question, same_as: Mapping[str, str]) -> Question | None:
    text = " ".join(question.text.split()).strip(" #:*_\"'")
    if not _LEAST_WORDS <= len(words(text)) <= _MOST_QUERY_WORDS:
        return None
    answers = tuple(dict.fromkeys(same_as[key] for key in question.answers))
    return Question(text, question.kind, question.document, answers, question.other)


def faq_lines(document: Document) -> Iterator[tuple[str, str]]:
    """Give the question and the answer of lines such as ``Q:`` and ``A:`` inside sections."""
    for query, answer in faq_pairs(document, Context(frequencies={})):
        if not any(section.heading == query for section in document.sections):
            yield query, answer
