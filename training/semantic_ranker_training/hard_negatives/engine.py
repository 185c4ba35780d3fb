"""Mines one block of queries: candidates, filters, teacher, choice. Writes nothing but vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker import BM25Index
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.hard_negatives.config import MiningConfig
from semantic_ranker_training.hard_negatives.dense import DenseIndex, TextEmbedder
from semantic_ranker_training.hard_negatives.select import Candidates, Choice, admissible, pick, provenance
from semantic_ranker_training.hard_negatives.teacher import score_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is mined.

    Attributes:
        queries: The questions.
        documents: Where negatives are sought.
        positives: Rows of each query's positives.
        config: Which candidates become negatives.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    positives: list[tuple[int, ...]]
    config: MiningConfig

    def check(self) -> None:
        """Raise InvalidInputError for a text that is no string, no texts, or a position out of range."""
        for name, texts in (("queries", self.queries), ("documents", self.documents)):
            if isinstance(texts, str) or not len(texts):
                raise InvalidInputError(f"Expected a list of {name} with content, got {texts!r:.40}.")
            for index, text in enumerate(texts):
                if not isinstance(text, str) or not text.strip():
                    raise InvalidInputError(f"Expected a string with content as item {index} of {name}.", index)
        for index, rows in enumerate(self.positives):
            if any(not 0 <= row < len(self.documents) for row in rows):
                raise InvalidInputError(
                    f"Expected positives of query {index} from 0 to {len(self.documents) - 1}, got {list(rows)}.", index
                )


@dataclass(frozen=True, slots=True)
class Mined:
    """What was chosen for one query.

    Attributes:
        query: Its position.
        rows: Rows of the texts: positives, hard negatives, random negatives.
        kinds: ``positive``, ``hard`` or ``random``, one a row.
        provenance: One a row.
        teacher: The teacher's scores, one a row, or None.
    """

    query: int
    rows: list[int]
    kinds: list[str]
    provenance: list[dict[str, Any]]
    teacher: list[float] | None

    def group(self, job: Job, source: str = "") -> Group:
        """Return it as a group; a query without positives has none."""
        return Group(
            job.queries[self.query],
            tuple(job.documents[row] for row in self.rows),
            tuple(float(kind == "positive") for kind in self.kinds),
            None if self.teacher is None else tuple(self.teacher),
            source,
            tuple(self.provenance),
        )


@dataclass(slots=True)
class Engine:
    """Mines a job block by block.

    Attributes:
        job: What is mined.
        embedder: Gives vectors; None without the dense retriever.
        teacher: Scores pairs, or None.
        folder: Where vectors are kept.
        counts: What became of the candidates so far.
    """

    job: Job
    embedder: TextEmbedder | None
    teacher: Any
    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    _indexes: _Indexes | None = None

    def block(self, start: int) -> list[Mined]:
        """Mine the queries from ``start`` on, as many as a block has."""
        if self._indexes is None:
            self._indexes = _Indexes(self.job, self.embedder, self.folder)
        queries = list(range(start, min(start + self.job.config.block, len(self.job.queries))))
        found = self._indexes.candidates(queries)
        chosen = [admissible(candidates, self.job.documents, self.job.config) for candidates in found]
        rows = [self._pool(query, *pair) for query, pair in zip(queries, zip(found, chosen, strict=True), strict=True)]
        scores = self._teach(queries, rows)
        return [
            self._choose(query, candidates, choice, teacher)
            for query, candidates, choice, teacher in zip(queries, found, chosen, scores, strict=True)
        ]

    def _pool(self, query: int, candidates: Candidates, choice: Choice) -> list[int]:
        """Return the rows that a teacher has to score: no more than the choice may need."""
        config = self.job.config
        most = 3 * config.negatives
        if config.pick == "sample" and len(choice.hard) > most:
            places = self._generator(query, 1).choice(len(choice.hard), most, replace=False)
            choice.hard[:] = [choice.hard[place] for place in sorted(places)]
        del choice.hard[most:]
        return [*candidates.positives, *choice.hard]

    def _teach(self, queries: list[int], rows: list[list[int]]) -> list[dict[int, float]]:
        if self.teacher is None:
            return [{} for _ in queries]
        texts = [[self.job.documents[row] for row in of] for of in rows]
        scores = score_lists(self.teacher, [self.job.queries[query] for query in queries], texts)
        return [dict(zip(of, found, strict=True)) for of, found in zip(rows, scores, strict=True)]

    def _choose(self, query: int, candidates: Candidates, choice: Choice, teacher: dict[int, float]) -> Mined:
        job = self.job
        if teacher and candidates.positives:
            highest = min(teacher[row] for row in candidates.positives) - job.config.veto_margin
            kept = [row for row in choice.hard if teacher[row] <= highest]
            choice.dropped["teacher_veto"] += len(choice.hard) - len(kept)
            choice.hard[:] = kept
        hard, others = pick(choice, candidates, job.documents, job.config, self._generator(query, 0))
        rows = [*candidates.positives, *hard, *others]
        kinds = ["positive"] * len(candidates.positives) + ["hard"] * len(hard) + ["random"] * len(others)
        scores = self._scores_of(query, rows, teacher)
        facts = [
            provenance(row, kind, candidates, choice, job.config, None if scores is None else scores[place])
            for place, (row, kind) in enumerate(zip(rows, kinds, strict=True))
        ]
        self._count(facts, choice)
        return Mined(query, rows, kinds, facts, scores)

    def _scores_of(self, query: int, rows: list[int], teacher: dict[int, float]) -> list[float] | None:
        if self.teacher is None:
            return None
        lacking = [row for row in rows if row not in teacher]
        if lacking:
            texts = [self.job.documents[row] for row in lacking]
            teacher |= dict(zip(lacking, score_lists(self.teacher, [self.job.queries[query]], [texts])[0], strict=True))
        return [teacher[row] for row in rows]

    def _count(self, facts: list[dict[str, Any]], choice: Choice) -> None:
        kinds = Counter(fact["kind"] for fact in facts)
        self.counts.update({"queries": 1, "hard": kinds["hard"], "random": kinds["random"]})
        self.counts["short"] += kinds["hard"] + kinds["random"] < self.job.config.negatives
        self.counts.update({f"dropped_{reason}": count for reason, count in choice.dropped.items()})
        for fact in facts:
            if fact["kind"] == "hard":
                names = [name for name in ("bm25", "dense") if f"{name}_rank" in fact]
                self.counts[f"found_by_{'_and_'.join(names)}"] += 1

    def _generator(self, query: int, purpose: int) -> np.random.Generator:
        # A query's choices depend on nothing before it: a restart makes the same ones.
        return np.random.default_rng([self.job.config.seed, query, purpose])


class _Indexes:
    def __init__(self, job: Job, embedder: TextEmbedder | None, folder: Path) -> None:
        self._job = job
        use = job.config.retrievers
        self._bm25 = BM25Index(job.documents, language=job.config.language) if "bm25" in use else None
        self._dense = None
        if embedder is not None:
            self._dense = DenseIndex(embedder, job.documents, folder, job.config.block_documents)

    def candidates(self, queries: list[int]) -> list[Candidates]:
        texts = [self._job.queries[query] for query in queries]
        depth = self._job.config.candidates
        lexical = self._bm25.search_many(texts, depth) if self._bm25 else [[] for _ in queries]
        if self._dense is None:
            return [self._of(query, dict(found), {}, None) for query, found in zip(queries, lexical, strict=True)]
        vectors = self._dense.embed(texts)
        rows, scores = self._dense.search(vectors, depth)
        return [
            self._of(
                query,
                dict(lexical[place]),
                dict(zip(rows[place].tolist(), scores[place].tolist(), strict=True)),
                vectors[place],
            )
            for place, query in enumerate(queries)
        ]

    def _of(
        self, query: int, bm25: dict[int, float], dense: dict[int, float], vector: NDArray[np.float32] | None
    ) -> Candidates:
        positives = self._job.positives[query]
        known = None
        if vector is not None and self._dense is not None:
            rows = sorted({*bm25, *dense, *positives})
            known = dict(zip(rows, self._dense.scores(vector, rows).tolist(), strict=True))
        return Candidates(positives=positives, bm25=bm25, dense=dense, dense_of=known)
