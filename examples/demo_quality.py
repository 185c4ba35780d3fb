"""Asks all questions with the core alone, and measures both orders against the judgments."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staff_handbook import STEMMERS, Question, Section

from semantic_ranker import BM25Index, CrossEncoder, compare

METRICS = ("nDCG@10", "Success@1")
CANDIDATES = 20
GROUPS = {"English": ("en",), "Spanish": ("es",), "together": ("en", "es")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Both orders of one question: section ids with scores, best first."""

    question: Question
    before: Mapping[str, float]
    after: Mapping[str, float]
    rerank_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One metric over one group of questions; `low` and `high` bound the difference (95 %)."""

    group: str
    count: int
    metric: str
    before: float
    after: float
    difference: float
    low: float
    high: float


def ask_all(encoder: CrossEncoder, sections: Sequence[Section], questions: Sequence[Question]) -> list[Outcome]:
    """Retrieve in the question's language, rerank, and time the reranking."""
    outcomes = []
    for language, stemmer in STEMMERS.items():
        part = [section for section in sections if section.language == language]
        index = BM25Index([section.text for section in part], language=stemmer)
        asked = [question for question in questions if question.language == language]
        outcomes += [_ask(encoder, index, part, question) for question in asked]
    return outcomes


def _ask(encoder: CrossEncoder, index: BM25Index, sections: Sequence[Section], question: Question) -> Outcome:
    hits = index.search(question.text, CANDIDATES)
    candidates = [sections[place] for place, _ in hits]
    start = time.perf_counter()
    ranking = encoder.rank(question.text, [section.text for section in candidates])
    rerank_ms = 1000 * (time.perf_counter() - start)
    return Outcome(
        question=question,
        before={sections[place].id: score for place, score in hits},
        after={candidates[ranked.index].id: ranked.logit for ranked in ranking},
        rerank_ms=rerank_ms,
    )


def quality(outcomes: Sequence[Outcome], judgments: Mapping[str, Mapping[str, int]]) -> list[QualityRow]:
    """Compare both orders, for each language and for all questions together."""
    rows = []
    for group, languages in GROUPS.items():
        rows += _rows(group, [outcome for outcome in outcomes if outcome.question.language in languages], judgments)
    return rows


def _rows(group: str, outcomes: Sequence[Outcome], judgments: Mapping[str, Mapping[str, int]]) -> list[QualityRow]:
    before = {outcome.question.id: outcome.before for outcome in outcomes}
    after = {outcome.question.id: outcome.after for outcome in outcomes}
    comparison = compare(before, after, {question_id: judgments[question_id] for question_id in before}, METRICS)
    return [
        QualityRow(
            group=group,
            count=len(outcomes),
            metric=metric,
            before=comparison[metric].mean_a,
            after=comparison[metric].mean_b,
            difference=comparison[metric].difference,
            low=comparison[metric].low,
            high=comparison[metric].high,
        )
        for metric in METRICS
    ]


def median_ms(outcomes: Sequence[Outcome]) -> float:
    """Return the median time that reranking one question took, in milliseconds."""
    return statistics.median(outcome.rerank_ms for outcome in outcomes)
