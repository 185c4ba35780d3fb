"""Makes pairs of a query and a passage from how a document is built. Needs no labels and no language model."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from semantic_ranker_training.prepare.documents import Document
from semantic_ranker_training.prepare.text import key_phrases, passages, sentences, without, words

_QUESTION = re.compile(r"^(?:q|question|pregunta|p)\s*[:.)]\s*(.+)$", re.IGNORECASE)
_ANSWER = re.compile(r"^(?:a|answer|respuesta|r)\s*[:.)]\s*(.+)$", re.IGNORECASE)
_LEAST_WORDS, _MOST_QUERY_WORDS = 12, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query with a passage that answers it.

    Attributes:
        query: The query; its words do not stand in the passage as one run.
        positive: The passage.
        strategy: How the pair was made.
        document: Id of the document.
    """

    query: str
    positive: str
    strategy: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What strategies share.

    Attributes:
        frequencies: In how many passages each word occurs.
        most_words: Words of a passage.
        seed: Of choices; a document's choices depend on nothing but it and the seed.
    """

    frequencies: Mapping[str, int]
    most_words: int = 180
    seed: int = 13

    def chooser(self, document: Document, strategy: str) -> random.Random:
        """Return the source of chance for a document."""
        return random.Random(f"{self.seed}/{strategy}/{document.id}")


def title_pairs(document: Document, context: Context) -> Iterator[tuple[str, str]]:
    """Give the title with the beginning of the text."""
    text = "\n\n".join(section.body for section in document.sections if section.body)
    found = passages(text, context.most_words)
    title = document.title or _named(document)
    if title and found:
        yield title, found[0]


def heading_pairs(document: Document, context: Context) -> Iterator[tuple[str, str]]:
    """Give each heading below the title with its section; a heading of one word gets the title before it."""
    for section in document.sections:
        found = passages(section.body, context.most_words)
        if not found or not section.heading or section.heading == document.title or section.heading.endswith("?"):
            continue
        short = len(words(section.heading)) < 2
        yield (f"{document.title}: {section.heading}" if short and document.title else section.heading), found[0]


def faq_pairs(document: Document, context: Context) -> Iterator[tuple[str, str]]:
    """Give each heading that asks with its section, and ``Q:`` lines with the ``A:`` lines below them."""
    for section in document.sections:
        if section.heading.endswith("?") and (found := passages(section.body, context.most_words)):
            yield section.heading, found[0]
        yield from _asked(section.body, context.most_words)


def docstring_pairs(document: Document, context: Context) -> Iterator[tuple[str, str]]:
    """Give the first sentence of each docstring with the function without it."""
    yield from document.functions


def cloze_pairs(document: Document, context: Context) -> Iterator[tuple[str, str]]:
    """Give one sentence of each passage with the others (inverse cloze task, Lee et al. 2019)."""
    chooser = context.chooser(document, "cloze")
    for passage in _passages(document, context):
        of = sentences(passage)
        fit = [place for place, sentence in enumerate(of) if 6 <= len(words(sentence)) <= 25]
        if len(of) >= 3 and fit:
            place = chooser.choice(fit)
            yield of[place], " ".join(of[:place] + of[place + 1 :])


def phrase_pairs(document: Document, context: Context) -> Iterator[tuple[str, str]]:
    """Give the key phrases of each passage; the best one is taken out of the passage, so that meaning has to match."""
    for passage in _passages(document, context):
        found = key_phrases(passage, context.frequencies)
        if len(found) == 3:
            yield " ".join(found), without(passage, found[0])


STRATEGIES: Mapping[str, Callable[[Document, Context], Iterator[tuple[str, str]]]] = {
    "title": title_pairs,
    "heading": heading_pairs,
    "faq": faq_pairs,
    "docstring": docstring_pairs,
    "cloze": cloze_pairs,
    "phrases": phrase_pairs,
}


def make_pairs(document: Document, strategies: Sequence[str], context: Context) -> Iterator[Pair]:
    """Give the pairs of a document, each query taken out of its passage.

    Passages that are too short once the query is out, and queries of one word or of more than 40, give no pair.
    """
    for name in strategies:
        for query, passage in STRATEGIES[name](document, context):
            if pair := clean_pair(query, passage, name, document.id):
                yield pair


def clean_pair(query: str, passage: str, strategy: str, document: str) -> Pair | None:
    """Return a pair with the query taken out of the passage, or None where too little is left of either."""
    query = " ".join(query.split()).strip(" #:*_\"'")
    positive = without(passage, query)
    if not 2 <= len(words(query)) <= _MOST_QUERY_WORDS or len(positive.split()) < _LEAST_WORDS:
        return None
    return Pair(query=query, positive=positive, strategy=strategy, document=document)


def document_passages(document: Document, most_words: int) -> list[str]:
    """Return all passages of a document, those of its functions too."""
    text = [found for section in document.sections for found in passages(section.body, most_words)]
    return [*text, *(code for _, code in document.functions)]


def _passages(document: Document, context: Context) -> list[str]:
    return [found for section in document.sections for found in passages(section.body, context.most_words)]


def _asked(body: str, most_words: int) -> Iterator[tuple[str, str]]:
    question, answer = "", list[str]()
    for line in [*body.split("\n"), "Q: "]:
        asked, answered = _QUESTION.match(line.strip()), _ANSWER.match(line.strip())
        if asked or line == "Q: ":
            if question and answer and (found := passages("\n".join(answer), most_words)):
                yield question, found[0]
            question, answer = asked.group(1) if asked else "", []
        elif question and (answer or answered):
            answer.append(answered.group(1) if answered else line)


def _named(document: Document) -> str:
    if not any(section.heading for section in document.sections) and "#" not in document.id:
        return re.sub(r"[-_.]+", " ", PurePosixPath(document.id).stem).strip()
    return ""
