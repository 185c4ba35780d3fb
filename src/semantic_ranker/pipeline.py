"""`RAGPipeline`: documents in, the context for a language model out; an index and a reranker behind one object."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker._files import write_atomically
from semantic_ranker.context import Context, build_context
from semantic_ranker.documents.tokens import estimate_tokens
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.indexes import Passage, PassageIndex
from semantic_ranker.indexes.filters import Where
from semantic_ranker.pipeline_settings import (
    BUNDLED,
    KIND,
    SETTINGS,
    Model,
    embedder_of,
    name_of,
    named,
    read_settings,
    reranker_of,
    reranker_with_states,
)
from semantic_ranker.retrieval import Fusion, Retrieval, TwoStageRetriever

if TYPE_CHECKING:
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.documents import ChunkConfig, Redactor
    from semantic_ranker.indexes.embedder import IndexEmbedder
    from semantic_ranker.indexes.ingest import Ingested
    from semantic_ranker.indexes.store import VectorStore

__all__ = ["BUNDLED", "RAGPipeline"]

logger = logging.getLogger(__name__)

_INDEX = "index"
_STATES = "states"
_PERCENTILES = (50, 95, 99)


class RAGPipeline:
    """Finds passages by meaning and by words, reranks them, and writes the context for a language model.

    Args:
        retriever_model: Embeds; a name, folder or hub id as `Embedder` takes it, or an embedder.
        reranker_model: Orders; a folder or hub id as `CrossEncoder` takes it, or a cross-encoder; None does not rerank.
        top_k_retrieval: Candidates of a query.
        top_k_rerank: Results of a query.
        language: Snowball stemmer of BM25, such as ``english`` or ``spanish``.
        store: Where the vectors are; None is FAISS.
        fusion: See `TwoStageRetriever`.
        deadline_s: See `TwoStageRetriever`.
        source_weight: See `TwoStageRetriever`.
        precompute: Keep the reranker's states of all passages beside the saved index, about 400 bytes a token, so that
            a query costs milliseconds. Needs a reranker that encodes passages alone, as the bundled one does.

    Raises:
        InvalidInputError: An argument is not one of these.

    Example:
        >>> from semantic_ranker.pipeline import RAGPipeline
        >>> pipeline = RAGPipeline()
        >>> pipeline.index_documents(["Cats sleep all day.", "To change a forgotten password, open Settings."])
        2
        >>> pipeline.retrieve_and_rerank("how do I reset my password", top_k_rerank=1)[0]["index"]
        1
    """

    def __init__(
        self,
        retriever_model: Model | IndexEmbedder = BUNDLED,
        reranker_model: Model | CrossEncoder | None = BUNDLED,
        top_k_retrieval: int = 50,
        top_k_rerank: int = 5,
        *,
        language: str = "english",
        store: VectorStore | None = None,
        fusion: Fusion = "none",
        deadline_s: float | None = None,
        source_weight: float | None = None,
        precompute: bool = False,
    ) -> None:
        index = PassageIndex(embedder_of(retriever_model), store=store, language=language)
        self._names = {"retriever_model": name_of(retriever_model), "reranker_model": name_of(reranker_model)}
        self.retriever = TwoStageRetriever(
            index,
            reranker_of(reranker_model),
            k=top_k_retrieval,
            top_n=top_k_rerank,
            fusion=fusion,
            deadline_s=deadline_s,
            source_weight=source_weight,
        )
        self._index = index
        self.precompute = precompute

    @property
    def precompute(self) -> bool:
        """Whether `save` keeps the reranker's states of all passages; needs a reranker."""
        return self._precompute

    @precompute.setter
    def precompute(self, wanted: bool) -> None:
        if wanted and self.retriever.reranker is None:
            raise InvalidInputError("Expected a reranker where precompute is wanted, got none.")
        self._precompute = wanted

    @property
    def index(self) -> PassageIndex:
        """The passages."""
        return self._index

    @property
    def models(self) -> dict[str, str | None]:
        """Names of ``embedder`` and ``reranker``: ``none`` where there is none, None where an object was given."""
        names = {"embedder": self._names["retriever_model"], "reranker": self._names["reranker_model"]}
        return {role: "none" if name == "" else name for role, name in names.items()}

    def index_documents(self, documents: Iterable[str | Passage]) -> int:
        """Add documents as they are, each as one passage; `index_folder` cuts files into passages.

        Args:
            documents: Texts, named by their place, or passages.

        Returns:
            How many passages there are now that were not there before.

        Raises:
            InvalidInputError: Something is neither.
            EmbeddingError: The model failed.
        """
        if isinstance(documents, (str, bytes, os.PathLike)):
            raise InvalidInputError("Expected a list of texts or passages, got one: put it in a list, or index_folder.")
        start = len(self._index)
        return self._index.add(
            Passage(id=str(start + place), text=item) if isinstance(item, str) else item
            for place, item in enumerate(documents)
        )

    def index_folder(
        self,
        documents: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        config: ChunkConfig | None = None,
        redactor: Redactor | None = None,
        count: Callable[[str], int] | None = None,
    ) -> Ingested:
        """Bring the index in line with a folder of documents, and save the pipeline.

        Args:
            documents: Folder or file of documents.
            path: Where the pipeline is saved.
            config: How long passages are; 200 to 600 tokens by default.
            redactor: Takes personal data out before anything is stored.
            count: Counts tokens; an estimate by default.

        Raises:
            InvalidInputError: There is no such folder.
            StorageError: The disk refuses.
            ModuleNotFoundError: The extra ``docs-ingest`` is not installed.
        """
        from semantic_ranker.indexes.ingest import index_folder

        index_path = Path(path) / _INDEX
        report = index_folder(self._index, documents, index_path, config=config, redactor=redactor, count=count)
        self.save(path)
        return report

    def retrieve(self, query: str, top_k: int | None = None, *, where: Where | None = None) -> Retrieval:
        """Return what one query gave, with candidates, times, and whether it is second best."""
        return self.retriever.retrieve(query, top_n=top_k, where=where)

    def retrieve_and_rerank(
        self,
        query: str,
        top_k_retrieval: int | None = None,
        top_k_rerank: int | None = None,
        return_scores: bool = False,
        *,
        where: Where | None = None,
    ) -> list[dict[str, Any]]:
        """Return the best passages for a query.

        Args:
            query: The question.
            top_k_retrieval: Candidates; None is the pipeline's.
            top_k_rerank: Results; None is the pipeline's.
            return_scores: Whether each result has its ``score``.
            where: Which passages count, see `indexes.filters`.

        Returns:
            For each, best first: ``document`` (its text), ``index`` (its place among the documents), ``id``,
            ``source``, ``citation``, ``degraded`` (None, or why the order is second best), and ``score`` if asked for.
        """
        found = self.retriever.retrieve(query, k=top_k_retrieval, top_n=top_k_rerank, where=where)
        return self._shown([found], return_scores)[0]

    def batch_retrieve_and_rerank(
        self,
        queries: Sequence[str],
        top_k_retrieval: int | None = None,
        top_k_rerank: int | None = None,
        *,
        where: Where | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Return `retrieve_and_rerank` of each query, with scores; embedded, searched and scored together."""
        found = self.retriever.retrieve_many(queries, k=top_k_retrieval, top_n=top_k_rerank, where=where)
        return self._shown(found, True)

    def get_context_for_llm(
        self,
        query: str,
        top_k: int | None = None,
        max_tokens: int | None = None,
        *,
        include_scores: bool = False,
        separator: str = "\n\n",
        where: Where | None = None,
    ) -> str:
        """Return the best passages as text for a language model, see `context_for`."""
        return self.context_for(
            query, top_k, max_tokens, include_scores=include_scores, separator=separator, where=where
        ).text

    def context_for(
        self,
        query: str,
        top_k: int | None = None,
        max_tokens: int | None = None,
        *,
        count: Callable[[str], int] = estimate_tokens,
        include_scores: bool = False,
        separator: str = "\n\n",
        where: Where | None = None,
    ) -> Context:
        """Return the best passages for a language model: in order, each once, numbered and cited.

        Args:
            query: The question.
            top_k: Passages at most; None is the pipeline's.
            max_tokens: Most tokens of all; the last passage is cut at the end of a sentence.
            count: Counts tokens; an estimate by default.
            include_scores: Whether scores are shown.
            separator: Between passages.
            where: Which passages count.
        """
        found = self.retrieve(query, top_k, where=where)
        return build_context(
            found, max_tokens=max_tokens, count=count, include_scores=include_scores, separator=separator
        )

    def benchmark(self, queries: Sequence[str], num_runs: int = 3) -> dict[str, dict[str, float]]:
        """Ask each query several times, one after the other.

        Returns:
            Milliseconds by stage (``first_stage``, ``rerank``, ``total``), then ``p50``, ``p95`` and ``p99``.

        Raises:
            InvalidInputError: There is no query, or ``num_runs`` is no int of 1 or more.
        """
        if isinstance(num_runs, bool) or not isinstance(num_runs, int) or num_runs < 1 or not queries:
            raise InvalidInputError("Expected some queries and num_runs of 1 or more, got none.")
        times: dict[str, list[float]] = {"first_stage": [], "rerank": [], "total": []}
        for _ in range(num_runs):
            for query in queries:
                found = self.retriever.retrieve(query).latency_ms
                for stage, of in times.items():
                    of.append(found[stage])
        return {
            stage: {f"p{share}": float(np.percentile(of, share)) for share in _PERCENTILES}
            for stage, of in times.items()
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write index and settings to a folder, and the states of passages where they are wanted.

        Models are named, not copied. States that are there already are kept, those of deleted passages deleted.

        Raises:
            StorageError: The disk refuses, or another process saved meanwhile.
            InvalidInputError: ``precompute`` is set, and the reranker reads query and passage together.
        """
        self._index.save(Path(path) / _INDEX)
        content = {
            "schema_version": 1,
            "kind": KIND,
            **self._names,
            "top_k_retrieval": self.retriever.k,
            "top_k_rerank": self.retriever.top_n,
            "fusion": self.retriever.fusion,
            "deadline_s": self.retriever.deadline_s,
            "source_weight": self.retriever.source_weight,
            "precompute": self.precompute,
        }
        write_atomically(Path(path) / SETTINGS, json.dumps(content, indent=1) + "\n")
        if self.precompute and self.retriever.reranker is not None:
            self._write_states(self.retriever.reranker, Path(path) / _STATES)

    def _write_states(self, reranker: CrossEncoder, path: Path) -> None:
        texts = [passage.titled_text for passage in self._index.passages.values()]
        try:
            reranker.precompute(texts, path, prune=True)
        except ModelLoadError as error:
            logger.warning("%s They are made again.", error)
            shutil.rmtree(path, ignore_errors=True)
            reranker.precompute(texts, path, prune=True)
        if name := self._names["reranker_model"]:
            self.retriever.reranker = reranker_with_states(name, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        retriever_model: Model | IndexEmbedder | None = None,
        reranker_model: Model | CrossEncoder | None = None,
        store: VectorStore | None = None,
        read_only: bool = False,
    ) -> Self:
        """Open what `save` wrote.

        Args:
            path: The folder.
            retriever_model: The embedder, where it was given as an object or has moved; None opens the one it names.
            reranker_model: The same for the reranker.
            store: Where the vectors are, if not in FAISS.
            read_only: See `PassageIndex.open`.

        Raises:
            StorageError: There is none, or it is damaged.
            SpaceMismatchError: It was built with another embedder.
            InvalidInputError: A model was given as an object, and is not given now.
        """
        settings = read_settings(Path(path) / SETTINGS)
        embedder = embedder_of(retriever_model if retriever_model is not None else named(settings, "retriever_model"))
        ranker = reranker_model
        if ranker is None and settings["reranker_model"] != "":
            ranker = named(settings, "reranker_model")
        precompute = settings.get("precompute") is True
        pipeline = cls.__new__(cls)
        pipeline._index = PassageIndex.open(Path(path) / _INDEX, embedder=embedder, store=store, read_only=read_only)
        pipeline._names = {name: settings[name] for name in ("retriever_model", "reranker_model")}
        pipeline.retriever = TwoStageRetriever(
            pipeline._index,
            reranker_with_states(ranker, Path(path) / _STATES) if precompute else reranker_of(ranker),
            k=settings["top_k_retrieval"],
            top_n=settings["top_k_rerank"],
            fusion=settings["fusion"],
            deadline_s=settings["deadline_s"],
            source_weight=settings.get("source_weight"),
        )
        pipeline.precompute = precompute
        return pipeline

    def _shown(self, found: Sequence[Retrieval], scores: bool) -> list[list[dict[str, Any]]]:
        wanted = {item.id for retrieval in found for item in retrieval}
        places = {name: place for place, name in enumerate(self._index.passages) if name in wanted}
        return [
            [
                {
                    "document": item.passage.text,
                    "index": places.get(item.id, -1),
                    "id": item.id,
                    "source": item.passage.source,
                    "citation": item.passage.citation,
                    "degraded": retrieval.degraded,
                    **({"score": item.score} if scores else {}),
                }
                for item in retrieval
            ]
            for retrieval in found
        ]
