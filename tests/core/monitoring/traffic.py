"""A year of traffic of an assistant, generated: queries over a small BM25 index, busy weeks and quiet weekends."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

import numpy as np

from semantic_ranker.bm25 import BM25Index
from semantic_ranker.feedback import Interaction, Retrieved, Review

START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
_SILENT = Review()
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


class Traffic:
    """Queries, documents and what BM25 makes of them; the same seed gives the same year."""

    def __init__(self, seed, *, topics=12, documents=40, queries=60):
        self.rng = np.random.default_rng(seed)
        common = self._words(80)
        self.texts, self.queries, self.relevant, self.topic_of = [], [], [], []
        for topic in range(topics):
            words = self._words(60)
            first = len(self.texts)
            for _ in range(documents):
                chosen = [*self.rng.choice(words, 25), *self.rng.choice(common, 15)]
                self.texts.append(" ".join(chosen))
            for _ in range(queries):
                target = first + int(self.rng.integers(documents))
                told = [word for word in self.texts[target].split() if word in words]
                self.queries.append(" ".join([*self.rng.choice(told, 4), *self.rng.choice(common, 2)]))
                self.relevant.append(target)
                self.topic_of.append(topic)
        hits = BM25Index(self.texts).search_many(self.queries, 10)
        self.hits = [[(f"doc-{place}", score) for place, score in found] for found in hits]
        self.reviews = [Review(relevant=(f"doc-{place}",)) for place in self.relevant]
        self.topic_of = np.array(self.topic_of)
        popularity = 1.0 / (1 + self.rng.permutation(len(self.queries))) ** 0.7
        # The last topic is not asked about before a shift brings it.
        self.usual = np.where(self.topic_of < topics - 1, popularity, 0.0)
        self.newcomer = np.where(self.topic_of == topics - 1, popularity, 0.0)
        self.usual /= self.usual.sum()
        self.newcomer /= self.newcomer.sum()

    def _words(self, count):
        return ["".join(self.rng.choice(_SYLLABLES, 3)) for _ in range(count)]

    def year(self, *, days=365, a_day=200, shift=None, shift_day=200):
        """Give the interactions; ``shift`` names what changes on ``shift_day``."""
        for day in range(days):
            weekend = day % 7 >= 5
            shifted = shift if day >= shift_day else None
            # Days differ by more than their queries do: some are busy, slow, or have a subject of the day.
            count = int(self.rng.poisson(a_day * (0.4 if weekend else 1.2)))
            slow = float(np.exp(self.rng.normal(0, 0.05)))
            chances = self.usual * np.exp(self.rng.normal(0, 0.2, self.topic_of.max() + 1))[self.topic_of]
            chances /= chances.sum()
            if shifted == "queries":
                chances = 0.7 * chances + 0.3 * self.newcomer
            yield from self._day(day, self.rng.choice(len(self.queries), count, p=chances).tolist(), shifted, slow)

    def _day(self, day, queries, shifted, slow):
        count = len(queries)
        spoiled = self.rng.random(count) < (0.3 if shifted == "quality" else 0.0)
        judged = self.rng.random(count) < 0.3
        misses = self.rng.binomial(2, 0.75 if shifted == "cache" else 0.4, count).tolist()
        waits = self.rng.lognormal(4.5, 0.4, count) * slow * (1.6 if shifted == "latency" else 1.0)
        seconds = np.sort(self.rng.integers(0, 86_400, count)).tolist()
        for place, query in enumerate(queries):
            yield Interaction(
                query=self.queries[query],
                id=f"{day}-{place}",
                time=START + timedelta(days=day, seconds=seconds[place]),
                retrieved=self._retrieved(query, shifted if shifted != "quality" or spoiled[place] else None),
                review=self.reviews[query] if judged[place] else _SILENT,
                latency_ms={"total": float(waits[place])},
                cache_hits=2 - misses[place],
                cache_misses=misses[place],
            )

    @functools.cache  # noqa: B019  the object lives as long as its test
    def _retrieved(self, query, shifted):
        names, scores = zip(*self.hits[query], strict=True)
        if shifted == "quality":
            names = names[::-1]
        if shifted == "scores":
            scores = [score * 1.3 for score in scores]
        if shifted == "documents":
            names = [f"new-{name}" if int(name[4:]) % 4 == 0 else name for name in names]
        return tuple(Retrieved(id=name, score=score) for name, score in zip(names, scores, strict=True))
