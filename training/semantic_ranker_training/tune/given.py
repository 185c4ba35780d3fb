"""What the user has beside the documents: questions, judgments, a feedback log, a generator; each as pairs."""

from __future__ import annotations

import csv
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from semantic_ranker._files import append_line
from semantic_ranker.documents import Document, chunk_document
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker.feedback import FeedbackLog
from semantic_ranker.feedback.export import to_pairs
from semantic_ranker_training.prepare.generators import Generate, generated_pairs, open_generator
from semantic_ranker_training.prepare.strategies import Pair
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.data import Data, read_again
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.first_stage import FirstStage
from semantic_ranker_training.tune.links import slug
from semantic_ranker_training.tune.measure import Task, open_cached
from semantic_ranker_training.tune.options import TuneOptions
from semantic_ranker_training.tune.passages import Corpus
from semantic_ranker_training.tune.split import Split

_LEAST_AGREE = 2
_ASKED_DEPTH = 30


@dataclass(frozen=True, slots=True)
class Judged:
    """A real question with the passages that answer it.

    Attributes:
        id: Of the question.
        text: The question.
        answers: Relevance by passage id.
    """

    id: str
    text: str
    answers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What the user gave, read.

    Attributes:
        pairs: To learn from.
        refused: Passages that a reviewer called irrelevant, by query; all on the side that is learnt from.
        tested: Judged questions that nothing is learnt from.
        notes: What a reader of the report should know.
    """

    pairs: tuple[Pair, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tested: tuple[Judged, ...] = ()
    notes: tuple[str, ...] = ()


def read_given(options: TuneOptions, data: Data, embedder: KeptEmbedder, work: Path, base: Base) -> Given:
    """Read everything that the user gave beside the documents.

    Args:
        options: Where it is.
        data: The documents.
        embedder: Of the dense search.
        work: Folder of the run, where generated queries are kept.
        base: Ranks unlabelled questions, if it is a reranker.

    Raises:
        InvalidInputError: A file cannot be used; the message says why.
    """
    pairs, tested, notes = list[Pair](), list[Judged](), list[str]()
    refused: dict[str, tuple[str, ...]] = {}
    queries = read_queries(options.queries) if options.queries else {}
    if options.feedback:
        read = read_again(data.library, options.documents)
        pairs, refused = feedback_pairs(options.feedback, data.corpus, data.split, read)
        notes.append(
            f"{len(pairs)} pairs of the feedback log are of documents that are learnt from, with "
            f"{sum(map(len, refused.values()))} passages that reviewers refused"
        )
    if options.qrels:
        judged, missing = read_judged(queries, options.qrels, data.corpus)
        found = judged_pairs(judged, data.corpus, data.split)
        learnt = {pair.query for pair in found}
        pairs, tested = [*pairs, *found], [of for of in judged if of.text not in learnt]
        if missing:
            notes.append(f"{len(missing)} judgments name nothing that is there, such as {missing[0]}")
    elif queries:
        found = _asked(list(queries.values()), data, embedder, base)
        pairs += found
        notes.append(f"of {len(queries)} questions two searches agree on the best passage of {len(found)}")
    if options.generator:
        passages = [(of.document, of.text) for of in data.corpus.passages.values() if data.split.of(of.id) == "train"]
        generate = open_generator(options.generator)
        pairs += generator_pairs(generate, passages, work / "generated.jsonl", options.generator)
    return Given(tuple(pairs), refused, tuple(tested), tuple(notes))


def _asked(queries: Sequence[str], data: Data, embedder: KeptEmbedder, base: Base) -> list[Pair]:
    """Search what is learnt from by words, by vectors and with the base, and take what two of the three agree on."""
    task = Task(name="asked", queries=dict(zip(map(str, range(len(queries))), queries, strict=True)), qrels={},
                corpus=data.texts("train"))  # fmt: skip
    runs = FirstStage(task.corpus, embedder, data.language.stemmer).runs(task.queries, _ASKED_DEPTH)
    candidates = runs["RRF"]
    with open_cached(base.folder if base.ranks else None) as model:
        scores = model.score_many(queries, [[task.corpus[key] for key in of] for of in candidates.values()])
    ranked = [
        dict(sorted(zip(of, map(float, values), strict=True), key=lambda item: -item[1]))
        for of, values in zip(candidates.values(), scores, strict=True)
    ]
    return asked_pairs(queries, [list(runs["BM25"].values()), list(runs["dense"].values()), ranked], data.corpus)


def read_queries(path: Path) -> dict[str, str]:
    """Read questions: JSON Lines with ``text`` (and ``_id``), or one a line; of several columns the last.

    Raises:
        DataFormatError: A line is broken, or there is none.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        key, text = f"q{number}", line.strip()
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            try:
                row = json.loads(line)
                key, text = str(row.get("_id", row.get("id", key))), str(row.get("text") or row["query"])
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise DataFormatError(
                    f"Expected a JSON object with 'text' in line {number} of {path.name}.", str(path), number
                ) from error
        elif "\t" in text:
            key, text = text.split("\t", 1)[0], text.rsplit("\t", 1)[1]
        if text.strip():
            found[key] = " ".join(text.split())
    if not found:
        raise DataFormatError(f"Expected questions in {path.name}, got none.", str(path))
    return found


def read_judged(queries: Mapping[str, str], path: Path, corpus: Corpus) -> tuple[list[Judged], list[str]]:
    """Read judgments of the questions; returns them and what could not be found.

    Args:
        queries: Text by id.
        path: ``query-id corpus-id score``, by tab, comma or space, perhaps with a header; TREC's four columns too. A
            corpus id is a document's path, ``path#heading`` or a passage's id.
        corpus: Whose passages.

    Raises:
        DataFormatError: A line has no such columns, or no judgment names a question and a document that are there.
    """
    by_slug = _sections(corpus)
    answers: dict[str, dict[str, int]] = {}
    missing: list[str] = []
    for number, line in enumerate(_lines(path), 1):
        row = next(csv.reader([line], delimiter="\t" if "\t" in line else "," if "," in line else " "))
        row = [cell.strip() for cell in row if cell.strip()]
        if number == 1 and row and row[0].lower() in ("query-id", "query_id", "qid"):
            continue
        if len(row) not in (3, 4) or not row[-1].lstrip("-").isdigit():
            raise DataFormatError(
                f"Expected query-id, corpus-id and a whole number in line {number} of {path.name}.", str(path), number
            )
        query, document, grade = row[0], row[-2], int(row[-1])
        ids = _named(document, corpus, by_slug)
        if query not in queries or not ids:
            missing.append(document if query in queries else query)
            continue
        if grade > 0:
            answers.setdefault(query, {}).update(dict.fromkeys(ids, grade))
    if not answers:
        raise DataFormatError(
            f"Expected judgments in {path.name} of questions and documents that are there, got none"
            + (f", but {len(missing)} of others such as {missing[0]!r}." if missing else "."),
            str(path),
        )
    return [Judged(key, queries[key], of) for key, of in answers.items()], missing


def judged_pairs(judged: Sequence[Judged], corpus: Corpus, split: Split) -> list[Pair]:
    """Return the pairs of judged questions all of whose passages are on the side that is learnt from."""
    return [
        Pair(
            query=of.text, positive=corpus.passages[key].text, strategy="judged", document=corpus.passages[key].document
        )
        for of in judged
        if all(split.of(key) == "train" for key in of.answers)
        for key in of.answers
    ]


def asked_pairs(
    queries: Sequence[str], rankings: Sequence[Sequence[Mapping[str, float]]], corpus: Corpus
) -> list[Pair]:
    """Return a pair for each question whose best passage two systems agree on: the others teach nothing that is sure.

    Args:
        queries: The questions.
        rankings: For each system and question the scores of passages, best first.
        corpus: The passages.
    """
    found = []
    for place, query in enumerate(queries):
        best = [next(iter(system[place]), "") for system in rankings]
        top = max(set(best), key=best.count)
        if top and best.count(top) >= _LEAST_AGREE:
            passage = corpus.passages[top]
            found.append(Pair(query=query, positive=passage.text, strategy="asked", document=passage.document))
    return found


def feedback_pairs(
    path: Path, corpus: Corpus, split: Split, read: Mapping[str, Document] | None = None
) -> tuple[list[Pair], dict[str, tuple[str, ...]]]:
    """Return the pairs of a feedback log, and by query what reviewers refused, on the side that is learnt from.

    Args:
        path: The log.
        corpus: The passages. The log's document ids are passage ids, paths, ``path#heading``, or ids of the chunks
            that the index of this package makes.
        split: The sides.
        read: Documents as the index reads them, for the ids of its chunks.

    Raises:
        InvalidInputError: The log cannot be read, or names no document that is there.
    """
    interactions = list(FeedbackLog(path).read())
    names = {name for item in interactions for name in (*item.review.relevant, *item.review.irrelevant)}
    places = {name: ids for name, ids in _places(names, corpus, read or {}).items() if ids}
    if names and not places:
        raise InvalidInputError(
            f"Expected the feedback log to name documents of this folder, got none of {len(names)}, such as "
            f"{min(names)!r}: ids are paths, path#heading, or those of the chunks of `semantic-ranker index`."
        )
    texts = {name: corpus.passages[ids[0]].text for name, ids in places.items()}
    document = {texts[name]: corpus.passages[ids[0]].document for name, ids in places.items()}
    learnt = {texts[name] for name, ids in places.items() if split.of(ids[0]) == "train"}
    found = [pair for pair in to_pairs(interactions, texts) if pair.positive in learnt] if texts else []
    pairs = [
        Pair(query=of.query, positive=of.positive, strategy="feedback", document=document[of.positive]) for of in found
    ]
    refused = {of.query: tuple(text for text in dict.fromkeys(of.negatives) if text in learnt) for of in found}
    return pairs, {query: of for query, of in refused.items() if of}


def generator_pairs(generate: Generate, passages: Sequence[tuple[str, str]], kept: Path, identity: str) -> list[Pair]:
    """Return the pairs of generated queries; each passage is asked of once, whatever happens in between.

    Args:
        generate: The generator.
        passages: ``(document, passage)``.
        kept: JSON Lines file of what was generated.
        identity: Of the generator.
    """
    known: dict[tuple[str, str], list[list[str]]] = {}
    for line in _lines(kept) if kept.is_file() else ():
        try:
            row = json.loads(line)
            known[row["by"], row["passage"]] = row["queries"]
        except (ValueError, KeyError):  # a line that a kill cut short
            continue
    found = []
    for document, passage in tqdm(passages, desc="generate queries", unit="passage", disable=None, delay=1):
        if (identity, passage) not in known:
            pairs = list(generated_pairs(generate, [(document, passage)]))
            known[identity, passage] = [[pair.query, pair.positive] for pair in pairs]
            row = {"by": identity, "passage": passage, "queries": known[identity, passage]}
            append_line(kept, json.dumps(row), sync=False)
        found += [
            Pair(query=query, positive=positive, strategy="generated", document=document)
            for query, positive in known[identity, passage]
        ]
    return found


def _sections(corpus: Corpus) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for passage in corpus.passages.values():
        found.setdefault((passage.document, slug(passage.heading)), []).append(passage.id)
    return found


def _named(name: str, corpus: Corpus, by_slug: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    """Return the passages that an id means."""
    if name in corpus.same_as:
        return [corpus.same_as[name]]
    path, _, heading = name.partition("#")
    path = posixpath.normpath(path) if path else path
    if heading:
        return list(by_slug.get((path, slug(heading)), ()))
    return list(corpus.of_document.get(path, ()))


def _places(names: set[str], corpus: Corpus, read: Mapping[str, Document]) -> dict[str, list[str]]:
    by_slug = _sections(corpus)
    places = {name: _named(name, corpus, by_slug) for name in names}
    if all(places.values()) or not read:
        return places
    for source, document in read.items():
        for chunk in chunk_document(document):
            if chunk.id in names:
                heading = chunk.title_path[-1] if chunk.title_path else ""
                places[chunk.id] = list(by_slug.get((source, slug(heading)), ()) or corpus.of_document.get(source, ()))
    return places


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFormatError(f"Cannot read {path.name}: {error}.", str(path)) from error
    yield from (line for line in text.split("\n") if line.strip())
