"""From questions to groups: pairs, filters, hard negatives."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from semantic_ranker_training.data import read_groups
from semantic_ranker_training.data.duplicates import normalized
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig
from semantic_ranker_training.prepare import filters
from semantic_ranker_training.prepare.documents import Document
from semantic_ranker_training.prepare.strategies import Context, Pair, clean_pair, make_pairs
from semantic_ranker_training.prepare.text import document_frequencies
from semantic_ranker_training.tune.library import Library
from semantic_ranker_training.tune.options import GIVEN, TuneOptions
from semantic_ranker_training.tune.passages import NATURAL, PASSAGE_WORDS, Corpus, Question, faq_lines
from semantic_ranker_training.tune.split import Split, distinct_questions

_GENERATED = ("generated",)
"""What a model wrote may be about nothing: always filtered."""
STRUCTURAL = ("cloze", "phrases")
"""Queries that are cut out of a passage: a sentence, key phrases."""
_MADE = (*_GENERATED, *STRUCTURAL)
_MOST_OVERLAP, _CONSISTENT_WITHIN = 0.8, 20
_LEAST_SYNTHETIC = 400


@dataclass(frozen=True, slots=True)
class Learnt:
    """Pairs to learn from.

    Attributes:
        pairs: The pairs.
        made: How many of each kind there were.
        dropped: How many were left out, by filter.
    """

    pairs: list[Pair]
    made: dict[str, int]
    dropped: dict[str, int]


def learning_pairs(
    library: Library, corpus: Corpus, split: Split, given: Sequence[Pair], options: TuneOptions, stemmer: str
) -> Learnt:
    """Return the pairs of one side, filtered, what people wrote first.

    Args:
        library: The documents.
        corpus: Their passages and questions.
        split: Whose side ``train`` is learnt from.
        given: Pairs of what the user gave; of passages of the side.
        options: Filters, seed, how many.
        stemmer: Of the filter that searches.
    """
    asked = distinct_questions(split.questions(corpus, "train"))[: 2 * options.most_pairs]
    natural = [_pair(of, corpus.passages[of.answers[0]].text) for of in asked]
    made = list(islice(_structural(library, corpus, split, options.seed), 2 * options.most_pairs))
    tested = {normal(of.text) for of in split.questions(corpus, "test")}
    every = [pair for pair in [*given, *natural, *made] if normal(pair.query) not in tested]
    counts = Counter(pair.strategy for pair in every)
    dropped: Counter[str] = Counter()
    kept = filters.distinct(_without_copies(every, dropped), dropped)
    kept = _filtered(kept, _MADE if options.filters else _GENERATED, dropped, stemmer)
    kept = _with_other_answers(kept, {of.text: of for of in asked}, corpus)
    return Learnt(_chosen(kept, options.most_pairs, options.seed), dict(counts), dict(dropped))


def mined(
    learnt: Sequence[Pair],
    texts: Sequence[str],
    folder: Path,
    embedder: Any,
    teacher: Any,
    options: TuneOptions,
    stemmer: str,
) -> list[Group]:
    """Return groups with negatives, kept in a folder so that a killed run goes on.

    Args:
        learnt: The pairs.
        texts: Where negatives are sought: passages of the side that is learnt from.
        folder: Of the stage.
        embedder: Of the dense half of the candidates.
        teacher: Scores pairs; vetoes negatives, and its scores are kept. None for none.
        options: How many, of what kind.
        stemmer: Of BM25.
    """
    every = list(dict.fromkeys([*texts, *(pair.positive for pair in learnt)]))
    rows = {text: row for row, text in enumerate(every)}
    answers: dict[str, list[int]] = {}
    for pair in learnt:
        answers.setdefault(pair.query, []).append(rows[pair.positive])
    hybrid = options.negatives_from == "hybrid"
    config = MiningConfig(
        negatives=min(options.negatives, max(1, len(every) - 1)),
        random_share=1.0 if options.negatives_from == "random" else 0.15,
        retrievers=("bm25", "dense") if hybrid else ("bm25",),
        score_ratio=0.95 if hybrid else None,
        language=stemmer,
        seed=options.seed,
    )
    source = {pair.query: pair.strategy for pair in reversed(learnt)}
    out = folder / "groups.jsonl"
    if not out.exists():
        miner = HardNegativeMiner(embedder, teacher=teacher, config=config)
        miner.mine_file(list(answers), every, [list(dict.fromkeys(of)) for of in answers.values()], out)
    return [
        Group(group.query, group.texts, group.labels, group.scores, source=source.get(group.query, ""))
        for group in read_groups(out)
        if group.negatives
    ]


def with_refused(groups: Sequence[Group], refused: Mapping[str, Sequence[str]]) -> list[Group]:
    """Return groups whose negatives are first of all what reviewers refused, beside as many mined ones.

    Args:
        groups: With mined negatives.
        refused: Passages by query.
    """
    return [_refusing(group, refused[group.query]) if refused.get(group.query) else group for group in groups]


def _refusing(group: Group, refused: Sequence[str]) -> Group:
    known = dict(zip(group.texts, group.scores or (), strict=False))
    own = [text for text in dict.fromkeys(refused) if text not in group.positives]
    mined = [text for text in group.negatives if text not in own]
    texts = (*group.positives, *own, *mined[: len(own)])
    labels = tuple(float(text in group.positives) for text in texts)
    # A teacher that never saw a refused passage is taken to like it no better than any other.
    scores = tuple(known.get(text, min(known.values())) for text in texts) if known else None
    return Group(group.query, texts, labels, scores, source=group.source)


def _pair(question: Question, answer: str) -> Pair:
    return Pair(query=question.text, positive=answer, strategy=question.kind, document=question.document)


def _with_other_answers(pairs: Sequence[Pair], asked: Mapping[str, Question], corpus: Corpus) -> list[Pair]:
    """Add the further passages of a section that a question of the documents is answered by."""
    found = []
    for pair in pairs:
        found.append(pair)
        question = asked.get(pair.query)
        if question is not None and pair.strategy == question.kind:
            texts = [corpus.passages[of].text for of in question.answers[1:]]
            found += [_pair(question, text) for text in dict.fromkeys(texts) if text != pair.positive]
    return found


def normal(query: str) -> str:
    """Return a query's words, by which it is told whether it is the same one."""
    return normalized(query)


def _without_copies(pairs: Sequence[Pair], dropped: Counter[str]) -> list[Pair]:
    """Leave out what was copied out of a passage that still has it; what people wrote was not copied."""
    copied = [pair for pair in pairs if pair.strategy in _MADE]
    left = set(map(id, copied)) - set(map(id, filters.without_leaks(copied, dropped)))
    return [pair for pair in pairs if id(pair) not in left]


def _filtered(pairs: Sequence[Pair], doubted: Sequence[str], dropped: Counter[str], stemmer: str) -> list[Pair]:
    """Leave out pairs of some kinds that are too literal, or whose passage is not found among those of all pairs."""
    apart = filters.not_literal([pair for pair in pairs if pair.strategy in doubted], _MOST_OVERLAP, dropped)
    others = [pair for pair in pairs if pair.strategy not in doubted]
    if not apart:
        return others
    found = set(map(id, filters.consistent([*others, *apart], _CONSISTENT_WITHIN, Counter(), language=stemmer)))
    kept = [pair for pair in pairs if pair.strategy not in doubted or id(pair) in found]
    if lost := len(others) + len(apart) - len(kept):
        dropped["inconsistent"] += lost
    return kept


def _structural(library: Library, corpus: Corpus, split: Split, seed: int) -> Iterator[Pair]:
    """Give the pairs that no person wrote a query for, and question lines, of the documents that are learnt from."""
    frequencies = document_frequencies(passage.text for passage in corpus.passages.values())
    context = Context(frequencies=frequencies, most_words=PASSAGE_WORDS, seed=seed)
    for document in sorted(library.documents.values(), key=lambda of: _drawn(of.id, seed)):
        learnt = _of_side(document, corpus, split)
        yield from make_pairs(learnt, STRUCTURAL, context)
        for query, answer in faq_lines(learnt):
            if pair := clean_pair(query, answer, "faq", document.id):
                yield pair


def _of_side(document: Document, corpus: Corpus, split: Split) -> Document:
    """Return a document with those of its sections that are learnt from."""
    sections = tuple(
        section
        for number, section in enumerate(document.sections)
        if split.of(corpus.same_as.get(f"{document.id}#{number}.0", "")) == "train"
        and (split.by_section or split.side.get(document.id) == "train")
    )
    return replace(document, sections=sections, functions=())


def _drawn(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "replace")).digest()


def _chosen(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """Keep what people wrote, and as many others, drawn by their words so that a change elsewhere moves nothing."""
    first = [pair for pair in pairs if pair.strategy in GIVEN or pair.strategy in NATURAL]
    others = sorted(
        (pair for pair in pairs if pair.strategy not in GIVEN and pair.strategy not in NATURAL),
        key=lambda pair: _drawn(pair.query, seed),
    )
    kept = first[:most] if len(first) > most else first
    room = min(most - len(kept), max(_LEAST_SYNTHETIC, 3 * len(kept)))
    return [*kept, *others[:room]]
