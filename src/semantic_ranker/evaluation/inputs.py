"""Systems and judgments as people have them on disk: run files, model folders, BEIR folders; measured alike."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from semantic_ranker.bm25 import BM25Index
from semantic_ranker.collections import Collection, StrPath, load_beir
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.files import read_qrels_file, read_run_file
from semantic_ranker.evaluation.metrics import DEFAULT_METRICS, Evaluation, Qrels, evaluate
from semantic_ranker.evaluation.names import canonical_metrics
from semantic_ranker.evaluation.ranker import RankerEvaluator, RerankReport
from semantic_ranker.evaluation.tasks import RerankTask

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker.cross_encoder import CrossEncoder

_LARGEST_CHECKED = 256_000_000  # bytes of a corpus that is read only to check ids
_TIMED = 200  # queries
_EMBEDDERS = ("embedder", "static-embedder")


@dataclass(frozen=True, kw_only=True)
class JudgedData:
    """Judgments, and the texts where there are any.

    Attributes:
        path: File of judgments, or BEIR folder.
        split: Which judgments of a folder.
    """

    path: Path
    split: str = "test"

    @property
    def name(self) -> str:
        """Name of the folder or file."""
        return self.path.resolve().name

    @cached_property
    def qrels(self) -> Qrels:
        """Grades by query id, then document id."""
        return self.collection.qrels if self.collection else read_qrels_file(self.path, self.split)

    @cached_property
    def collection(self) -> Collection | None:
        """The collection, or None where there are judgments only, or too much text to read for nothing."""
        corpus = self.path / "corpus.jsonl"
        if not corpus.is_file() or corpus.stat().st_size > _LARGEST_CHECKED:
            return None
        return load_beir(self.path, self.split)

    def texts(self) -> Collection:
        """Return the collection, however large.

        Raises:
            EvaluationError: There are judgments only.
        """
        if not (self.path / "corpus.jsonl").is_file():
            raise EvaluationError(
                f"Expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/) at {self.path}: a model reads the "
                "texts; run files are measured with judgments alone."
            )
        return self.collection or load_beir(self.path, self.split)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One system's results on judged data.

    Attributes:
        name: What it is called.
        kind: ``run`` for a file or BM25, ``reranker`` or ``embedder``.
        evaluation: Its metrics.
        run: Scores by query id, then document id.
        rerank: What reranking did to its candidates, for a reranker.
        candidates: Which these were, such as ``BM25, top 100``.
        latency_ms: Milliseconds of single queries, one at a time, as far as they were timed here.
        relevance: Makes its scores calibrated relevance in [0, 1], for a reranker.
    """

    name: str
    kind: Literal["run", "reranker", "embedder"]
    evaluation: Evaluation
    run: Mapping[str, Mapping[str, float]] = field(repr=False)
    rerank: RerankReport | None = None
    candidates: str = ""
    latency_ms: Sequence[float] = field(default=(), repr=False)
    relevance: Callable[[ArrayLike], NDArray[np.float64]] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How systems are measured.

    Attributes:
        data: Judgments and texts.
        metrics: Names in any usual spelling.
        candidates: What rerankers rerank: a run file, or None for BM25.
        depth: How many candidates a query.
        seed: Of intervals.
    """

    data: JudgedData
    metrics: Sequence[str] = DEFAULT_METRICS
    candidates: StrPath | None = None
    depth: int = 100
    seed: int = 0

    def measure(self, system: str, name: str | None = None) -> Measured:
        """Measure a system.

        Args:
            system: A run file; ``bm25``; ``bundled`` for the bundled reranker; the folder of a reranker, which
                reranks the candidates, or of an embedder, which searches the collection.
            name: What to call it; None takes the file's or folder's name.

        Raises:
            EvaluationError: There is no such system, or its data cannot be used.
            ModelLoadError: The model cannot be opened.
        """
        names = canonical_metrics(self.metrics)
        path = Path(system)
        if system == "bm25" and not path.exists():
            return self._of_run(name or system, self._bm25(), names)
        if system == "bundled" and not path.exists():
            return self._reranked(name or system, None, names)
        if path.is_dir():
            kind = kind_of(path)
            called = name or path.resolve().name
            return self._embedded(called, path, names) if kind in _EMBEDDERS else self._reranked(called, path, names)
        if not path.exists():
            raise EvaluationError(
                f"Expected a run file, a model folder, 'bm25' or 'bundled', got {system!r}, which is not there."
            )
        return self._of_run(name or path.stem, read_run_file(path), names)

    def _of_run(self, name: str, run: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> Measured:
        collection = self.data.collection
        found = evaluate(run, self.data.qrels, names, corpus=collection.corpus if collection else None)
        return Measured(name=name, kind="run", evaluation=found, run=run)

    def _reranked(self, name: str, model: Path | None, names: Sequence[str]) -> Measured:
        from semantic_ranker.cross_encoder import CrossEncoder

        texts = self.data.texts()
        encoder = CrossEncoder(model)
        timed = _Timed(encoder)
        task = RerankTask(queries=texts.queries, corpus=texts.corpus, qrels=texts.qrels, candidates=self._candidates())
        report = RankerEvaluator(timed).evaluate(task, names, seed=self.seed)
        return Measured(
            name=name,
            kind="reranker",
            evaluation=evaluate(report.run, texts.qrels, names, corpus=texts.corpus),
            run=report.run,
            rerank=report,
            candidates=f"{Path(self.candidates).name if self.candidates else 'BM25'}, top {self.depth}",
            latency_ms=timed.latency_ms,
            relevance=encoder.relevance,
        )

    def _embedded(self, name: str, folder: Path, names: Sequence[str]) -> Measured:
        from semantic_ranker.embedder import Embedder
        from semantic_ranker.evaluation.embedder import EmbedderEvaluator

        report = EmbedderEvaluator(Embedder(folder)).evaluate(self.data.texts(), names, seed=self.seed)
        found = Evaluation(mean=report.mean, per_query=report.per_query, tied=report.tied)
        return Measured(name=name, kind="embedder", evaluation=found, run=report.run)

    def _candidates(self) -> dict[str, dict[str, float]]:
        if self.candidates is None:
            return self._bm25()
        run = read_run_file(self.candidates)
        return {
            qid: dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[: self.depth])
            for qid, scores in run.items()
        }

    def _bm25(self) -> dict[str, dict[str, float]]:
        texts = self.data.texts()
        documents = sorted(texts.corpus)
        index = BM25Index([texts.corpus[document] for document in documents])
        found = index.search_many(list(texts.queries.values()), self.depth)
        return {
            qid: {documents[position]: score for position, score in best}
            for qid, best in zip(texts.queries, found, strict=True)
        }


class _Timed:
    """A scorer that times the first queries, one at a time, and scores the others together."""

    def __init__(self, encoder: CrossEncoder) -> None:
        self._encoder = encoder
        self.latency_ms: list[float] = []

    def score_many(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        if len(self.latency_ms) >= _TIMED:
            return self._encoder.score_many(queries, texts_per_query)
        if not self.latency_ms:
            self._encoder.score_many(queries[:1], [texts[:1] for texts in texts_per_query[:1]])  # opens the model
        scores = []
        for query, texts in zip(queries, texts_per_query, strict=True):
            start = time.perf_counter()
            scores.append(self._encoder.score(query, texts))
            self.latency_ms.append((time.perf_counter() - start) * 1000)
        return scores


def kind_of(folder: Path) -> str:
    """Return what a model folder holds: the manifest's ``kind``, else what its layout shows."""
    manifest = _json(folder / "semantic_ranker.json")
    if isinstance(manifest, dict):
        return str(manifest.get("kind", "reranker"))
    # What sentence-transformers writes for an embedder pools token vectors; a reranker has a head instead.
    modules = _json(folder / "modules.json")
    return "embedder" if "pooling" in json.dumps(modules).lower() else "reranker"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def data_at(path: StrPath, split: str = "test") -> JudgedData:
    """Return the judged data at a path.

    Raises:
        EvaluationError: There is nothing.
    """
    found = Path(os.fspath(path))
    if not found.exists():
        raise EvaluationError(f"Expected judgments or a BEIR folder at {os.fspath(path)}, got nothing there.")
    return JudgedData(path=found, split=split)
