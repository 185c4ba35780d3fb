"""What a run works on: documents as passages, questions by side, language, and the search that a reranker follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semantic_ranker.documents import Document, parse_document
from semantic_ranker.documents.files import read_bytes
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker.evaluation import RerankTask
from semantic_ranker_training.prepare.markup import Section
from semantic_ranker_training.prepare.strategies import Context, make_pairs
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.first_stage import FirstStage
from semantic_ranker_training.tune.language import Language, language_of
from semantic_ranker_training.tune.library import Library
from semantic_ranker_training.tune.measure import Task, sampled
from semantic_ranker_training.tune.options import TuneOptions
from semantic_ranker_training.tune.passages import NATURAL, PASSAGE_WORDS, Corpus, Question, build_corpus
from semantic_ranker_training.tune.split import Split, distinct_questions, split_corpus

FEWEST_TESTED, ENOUGH_TESTED = 8, 30
MOST_WATCHED, WATCHED_DEPTH = 200, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Everything that is made of the documents before anything is learnt.

    Attributes:
        library: The documents.
        corpus: Their passages and questions.
        split: Who is on which side.
        language: Of most passages.
        tested: Held-out questions.
        watched: Questions that are looked at while learning.
        notes: What a reader of the report should know.
    """

    library: Library
    corpus: Corpus
    split: Split
    language: Language
    tested: tuple[Question, ...]
    watched: tuple[Question, ...]
    notes: tuple[str, ...]

    def texts(self, *sides: str) -> dict[str, str]:
        """Return text by id of the passages of some sides."""
        return {key: of.text for key, of in self.corpus.passages.items() if self.split.of(key) in sides}

    def task(self, name: str, questions: Sequence[Question], corpus: dict[str, str]) -> Task:
        """Return questions as a task over a corpus."""
        return Task(
            name=name,
            queries={f"q{place}": of.text for place, of in enumerate(questions)},
            qrels={f"q{place}": dict.fromkeys(of.answers, 1) for place, of in enumerate(questions)},
            corpus=corpus,
            kinds={f"q{place}": of.kind for place, of in enumerate(questions)},
            sources=self.sources,
        )

    @property
    def sources(self) -> dict[str, str]:
        """The document of each passage."""
        return {key: of.document for key, of in self.corpus.passages.items()}

    def validation(self, embedder: KeptEmbedder) -> RerankTask:
        """Return the watched questions with their candidates among all passages that are not tested."""
        texts = self.texts("train", "val")
        task = self.task("validation", self.watched, texts)
        runs = FirstStage(texts, embedder, self.language.stemmer).runs(task.queries, WATCHED_DEPTH)
        return RerankTask(queries=task.queries, corpus=texts, qrels=task.judged(), candidates=runs["RRF"])


def prepare(library: Library, record: Path, options: TuneOptions) -> Data:
    """Cut, split and ask.

    Args:
        library: The documents.
        record: File that remembers which document is on which side.
        options: Seed, language, how many are tested.

    Raises:
        DataFormatError: There is too little to learn from and to test on.
    """
    corpus = build_corpus(library)
    if not corpus.passages:
        raise DataFormatError(
            f"Expected passages of some length in {str(options.documents)!r}, got none in {len(library.documents)} "
            "documents: each is shorter than a sentence or two.",
            str(options.documents),
        )
    notes = library.notes()
    language = _language(corpus, options, notes)
    split = split_corpus(corpus, record, options.seed)
    if split.by_section:
        notes.append("there are too few documents to hold some out, so sections were held out: a weaker proof")
    tested, watched = (distinct_questions(split.questions(corpus, side)) for side in ("test", "val"))
    if len(tested) < ENOUGH_TESTED:
        corpus, extra = _with_sentences(library, corpus, split, options.seed)
        if extra["test"]:
            tested, watched = [*tested, *extra["test"]], [*watched, *extra["val"]]
            notes.append(
                f"only {len(tested) - len(extra['test'])} held-out headings, titles and links, so sentences taken out "
                "of their passages are tested on too: further from people's questions than headings are"
            )
    if len(tested) < FEWEST_TESTED:
        raise DataFormatError(
            f"Expected {FEWEST_TESTED} or more held-out questions to prove anything, got {len(tested)} from "
            f"{len(library.documents)} documents with {len(corpus.passages)} passages: add documents.",
            str(options.documents),
        )
    if not watched:
        watched = distinct_questions(split.questions(corpus, "train"))
        notes.append("too few documents to watch learning on others than those that are learnt from")
    chosen, seen = sampled_questions(tested, options.most_tested), sampled_questions(watched, MOST_WATCHED)
    return Data(
        library=library,
        corpus=corpus,
        split=split,
        language=language,
        tested=tuple(chosen),
        watched=tuple(seen),
        notes=tuple(notes),
    )


def sampled_questions(questions: Sequence[Question], most: int) -> list[Question]:
    """Return at most so many, in their order; which ones depends on nothing but their texts."""
    kept = set(sampled([of.text for of in questions], most))
    return [of for of in questions if of.text in kept]


def kinds(questions: Sequence[Question]) -> dict[str, int]:
    """Return how many there are of each kind, the usual first."""
    counts = Counter(of.kind for of in questions)
    return {kind: counts[kind] for kind in (*NATURAL, "sentence") if counts[kind]}


def read_again(library: Library, folder: Path) -> dict[str, Document]:
    """Return the documents as an index reads them, which a feedback log may name the chunks of."""
    found = {}
    for source in library.documents:
        path = folder / source if folder.is_dir() else folder
        try:
            found[source] = parse_document(read_bytes(path), source)
        except InvalidInputError:  # code
            continue
    return found


def _language(corpus: Corpus, options: TuneOptions, notes: list[str]) -> Language:
    if options.language:
        return Language.named(options.language)
    found = language_of([passage.text for passage in corpus.passages.values()])
    if not found.known:
        notes.append(f"the documents seem to be in {found.code!r}, of which there is no stemmer")
    return found


def _with_sentences(
    library: Library, corpus: Corpus, split: Split, seed: int
) -> tuple[Corpus, dict[str, list[Question]]]:
    """Ask for passages by a sentence that is taken out of them; the passages of the corpus lose it."""
    passages = dict(corpus.passages)
    found: dict[str, list[Question]] = {"test": [], "val": []}
    taken = {answer for question in corpus.questions for answer in question.answers}
    context = Context(frequencies={}, most_words=PASSAGE_WORDS, seed=seed)
    for passage in list(passages.values()):
        side = split.of(passage.id)
        if side not in found or passage.id in taken:
            continue
        one = replace(
            library.documents[passage.document], sections=(Section("", 0, passage.text),), functions=(), title=""
        )
        for pair in make_pairs(one, ("cloze",), context):
            passages[passage.id] = replace(passage, text=pair.positive)
            found[side].append(Question(pair.query, "sentence", passage.document, (passage.id,)))
    return replace(corpus, passages=passages), found
