"""`HardNegativeMiner`: negatives that are hard and not false, with their provenance, resumable."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.data.groups import group_line
from semantic_ranker_training.data.records import Group, Triple
from semantic_ranker_training.hard_negatives.blocks import JobFolder, digest
from semantic_ranker_training.hard_negatives.config import MiningConfig
from semantic_ranker_training.hard_negatives.dense import TextEmbedder, as_embedder
from semantic_ranker_training.hard_negatives.engine import Engine, Job, Mined
from semantic_ranker_training.hard_negatives.select import merged_positives
from semantic_ranker_training.hard_negatives.teacher import score_lists

_CANARY = "What the same model always turns into the same numbers."


class HardNegativeMiner:
    """Finds documents that look relevant to a query and are not.

    Candidates of BM25 and of a dense retriever are fused by reciprocal ranks. Judged positives, repeats of them and
    candidates that the dense retriever puts as close as the positive are dropped, a teacher may veto, and some random
    documents are added. The same input gives the same output. The texts and the BM25 index are in memory; vectors are
    on disk and are read block by block.

    Args:
        bi_encoder_model: An object with ``embed_queries`` and ``embed_documents``, a sentence-transformers model, the
            folder, hub id or name of one for `Embedder`, or None for the bundled embedder.
        teacher: A model that scores pairs, with ``score_many`` as `CrossEncoder` or with ``predict(pairs)``; it vetoes
            candidates that it puts above the positive, and its scores are kept. None vetoes nothing.
        config: Which candidates become negatives.

    Attributes:
        counts: What became of the candidates of the last run: ``queries``, ``hard``, ``random``, ``short`` (queries
            with too few negatives), ``dropped_REASON`` and ``found_by_RETRIEVER``.
    """

    def __init__(
        self, bi_encoder_model: Any = None, *, teacher: Any = None, config: MiningConfig | None = None
    ) -> None:
        self._config = config or MiningConfig()
        self._model, self._teacher = bi_encoder_model, teacher
        self._embedder: TextEmbedder | None = None
        self.counts: Counter[str] = Counter()

    @property
    def config(self) -> MiningConfig:
        """Which candidates become negatives."""
        return self._config

    def mine(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        top_k: int = 10,
        *,
        positive_pairs: Sequence[tuple[int, int]] | None = None,
    ) -> dict[int, list[str]]:
        """Return hard negatives, hardest first, by position of the query; none of them is random.

        Args:
            queries: The questions.
            documents: Where negatives are sought.
            top_k: Negatives a query, at most.
            positive_pairs: ``(position of the query, position of the document)`` of what is known to be relevant.
                Without it the best candidate of each query stands in for its positive: that is a guess, and a warning
                says so.

        Raises:
            InvalidInputError: A position is out of range, or a text is not a string.
        """
        if positive_pairs is None:
            warnings.warn(
                "No positives are known: negatives are what ranks below each query's best document, and some of them "
                "may be relevant. Give positive_pairs=[(query, document), ...].",
                stacklevel=2,
            )
        positives: dict[int, list[int]] = {}
        for query, document in positive_pairs or ():
            if not 0 <= query < len(queries):
                raise InvalidInputError(
                    f"Expected queries from 0 to {len(queries) - 1} in positive_pairs, got {query}."
                )
            positives.setdefault(query, []).append(document)
        job = self._job(queries, documents, positives, replace(self._config, negatives=top_k, random_share=0.0))
        with tempfile.TemporaryDirectory() as folder:
            mined = [found for _, block in self._blocks(job, Path(folder)) for found in block]
        return {found.query: [documents[row] for row in _of_kind(found, "hard")] for found in mined}

    def mine_groups(
        self, queries: Sequence[str], documents: Sequence[str], positives: Sequence[Sequence[int]]
    ) -> list[Group]:
        """Return groups to learn from: the positives of each query, its hard and its random negatives.

        Args:
            queries: The questions.
            documents: Where negatives are sought.
            positives: For each query the positions of the documents that answer it, one or more.

        Raises:
            InvalidInputError: A query has no positive, a position is out of range, or a text is not a string.
        """
        job = self._judged_job(queries, documents, positives)
        with tempfile.TemporaryDirectory() as folder:
            return [found.group(job) for _, block in self._blocks(job, Path(folder)) for found in block]

    def mine_file(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        positives: Sequence[Sequence[int]],
        out: StrPath,
        *,
        source: str = "",
    ) -> int:
        """Write what `mine_groups` returns to a file, and return how many groups.

        Finished blocks lie in ``OUT.partial`` until the file is complete. A run that was killed goes on after the last
        of them when it is called again with the same input, and writes the same bytes.

        Args:
            queries: The questions.
            documents: Where negatives are sought.
            positives: For each query the positions of the documents that answer it, one or more.
            out: JSON Lines file in FlagEmbedding's format with a provenance column.
            source: Source that the groups name.

        Raises:
            InvalidInputError: See `mine_groups`.
            StorageError: The file cannot be written.
        """
        job = self._judged_job(queries, documents, positives)
        folder = JobFolder(Path(f"{out}.partial"), self._identity(job, source))
        starts = range(0, len(queries), job.config.block)
        done = [folder.block(number).is_file() for number in range(len(starts))]
        skip = done.index(False) if False in done else len(done)
        for number, block in self._blocks(job, folder.path, skip, lambda number: _counts(folder.block(number))):
            lines = "".join(group_line(found.group(job, source)) + "\n" for found in block)
            write_atomically(_counts(folder.block(number)), json.dumps(self.counts))
            write_atomically(folder.block(number), lines)
        folder.publish(len(starts), Path(out))
        return len(queries)

    def mine_from_dataset(self, dataset: Sequence[Mapping[str, str]], num_negatives: int = 3) -> list[Triple]:
        """Return distinct triples for rows with ``query`` and ``positive``; negatives are sought among all positives.

        Args:
            dataset: The rows.
            num_negatives: Negatives a query.
        """
        dataset = [
            dict(pair)
            for pair in dict.fromkeys((("query", row["query"]), ("positive", row["positive"])) for row in dataset)
        ]
        rows = {text: place for place, text in enumerate(dict.fromkeys(row["positive"] for row in dataset))}
        config, self._config = self._config, replace(self._config, negatives=num_negatives)
        try:
            groups = self.mine_groups(
                [row["query"] for row in dataset], list(rows), [[rows[row["positive"]]] for row in dataset]
            )
        finally:
            self._config = config
        found = zip(dataset, groups, strict=True)
        return list(
            dict.fromkeys(
                Triple(group.query, row["positive"], text) for row, group in found for text in group.negatives
            )
        )

    def _judged_job(self, queries: Sequence[str], documents: Sequence[str], positives: Sequence[Sequence[int]]) -> Job:
        if len(positives) != len(queries):
            raise InvalidInputError(f"Expected positives for each of {len(queries)} queries, got {len(positives)}.")
        for index, rows in enumerate(positives):
            if not len(rows):
                raise InvalidInputError(f"Expected at least one positive for query {index}, got none.", index)
        return self._job(queries, documents, dict(enumerate(positives)), self._config)

    def _job(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        positives: Mapping[int, Sequence[int]],
        config: MiningConfig,
    ) -> Job:
        job = Job(queries=queries, documents=documents, positives=[()] * len(queries), config=config)
        job.check()
        job = replace(job, positives=merged_positives(queries, positives))
        job.check()
        return job

    def _blocks(
        self, job: Job, folder: Path, skip: int = 0, counts_of: Any = None
    ) -> Iterator[tuple[int, list[Mined]]]:
        engine = Engine(job, self._dense_model(job), self._teacher, folder)
        if skip:
            engine.counts.update(json.loads(counts_of(skip - 1).read_text(encoding="utf-8")))
        self.counts = engine.counts
        starts = list(range(0, len(job.queries), job.config.block))
        bar = tqdm(total=len(job.queries), initial=skip * job.config.block, desc="mine", unit="query", disable=None)
        with bar:
            for number in range(skip, len(starts)):
                yield number, engine.block(starts[number])
                bar.update(min(job.config.block, len(job.queries) - starts[number]))

    def _dense_model(self, job: Job) -> TextEmbedder | None:
        if "dense" not in job.config.retrievers:
            return None
        self._embedder = self._embedder or as_embedder(self._model)
        return self._embedder

    def _identity(self, job: Job, source: str) -> dict[str, Any]:
        """Return what the result depends on; the models are told by what they make of one text."""
        embedder = self._dense_model(job)
        vector = [] if embedder is None else [round(float(x), 4) for x in embedder.embed_documents([_CANARY])[0]]
        score = [] if self._teacher is None else score_lists(self._teacher, [_CANARY], [[_CANARY]])[0]
        return {
            "config": job.config.to_dict(),
            "queries": digest(job.queries),
            "documents": digest(job.documents),
            "positives": digest(repr(rows) for rows in job.positives),
            "embedder": vector,
            "teacher": [round(value, 4) for value in score],
            "source": source,
        }


def _of_kind(found: Mined, kind: str) -> list[int]:
    return [row for row, own in zip(found.rows, found.kinds, strict=True) if own == kind]


def _counts(block: Path) -> Path:
    return block.with_suffix(".counts.json")
