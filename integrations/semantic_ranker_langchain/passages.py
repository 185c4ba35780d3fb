"""Both ways between LangChain and the core's retrieval: its stores as a first stage, our index as its retriever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker._shared import checked_count
from semantic_ranker.indexes import Candidates, Hit, Passage, PassageIndex
from semantic_ranker.indexes.filters import check_where, matches
from semantic_ranker.retrieval import Retrieval, TwoStageRetriever
from semantic_ranker_langchain._settings import PositiveCount


class LangChainFirstStage:
    """Any LangChain vector store or retriever as the first stage of a `TwoStageRetriever`.

    A vector store is asked for as many documents as are wanted; a retriever returns what it was built to return.
    Scores are reciprocal ranks: stores disagree about what a score is.

    Args:
        base: A vector store, a retriever, or any Runnable from query to documents.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from langchain_core.vectorstores import InMemoryVectorStore
        >>> from semantic_ranker import CrossEncoder, TwoStageRetriever
        >>> store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
        >>> ids = store.add_texts(["Cats sleep all day.", "To change a forgotten password, open Settings."])
        >>> retriever = TwoStageRetriever(LangChainFirstStage(store), CrossEncoder())
        >>> retriever.retrieve("how do I reset my password")[0].passage.text
        'To change a forgotten password, open Settings.'
    """

    def __init__(self, base: VectorStore | Runnable[str, list[Document]]) -> None:
        self._base = base

    def search_many(
        self, queries: Sequence[str], k: int, *, where: Mapping[str, Any] | None = None
    ) -> list[Candidates]:
        """Return up to ``k`` candidates a query; a filter is held against the documents' metadata afterwards."""
        checked = check_where(where)
        first = self._base
        if isinstance(first, VectorStore):
            first = first.as_retriever(search_kwargs={"k": k})
        return [_candidates(found, k, checked) for found in first.batch(list(queries))]


class PassageIndexRetriever(BaseRetriever):
    """A `PassageIndex` or `TwoStageRetriever` as a LangChain retriever, whatever store its vectors are in.

    Each document's metadata has the passage's own, and ``source``, ``titles``, ``span``, ``page``, ``score``, and
    ``degraded`` where the answer is second best.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    index: PassageIndex | TwoStageRetriever
    """What is asked."""
    k: PositiveCount = 4
    """How many documents to return; `invoke(query, k=...)` overrides it."""
    where: dict[str, Any] | None = None
    """Which passages count."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = self.k if k is None else checked_count("k", k)
        found: Candidates | Retrieval
        if isinstance(self.index, TwoStageRetriever):
            found = self.index.retrieve(query, top_n=k, where=self.where)
        else:
            found = self.index.search(query, k, where=self.where)
        return [_document(item.passage, item.score, found.degraded) for item in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return await run_in_scoring_thread(self._get_relevant_documents, query, run_manager=run_manager.get_sync(), k=k)


def _candidates(documents: Sequence[Document], k: int, where: Mapping[str, Any] | None) -> Candidates:
    passages = [_passage(document) for document in documents]
    kept = [passage for passage in passages if matches(where, passage.fields)][:k]
    return Candidates(hits=tuple(Hit(passage, 1 / rank) for rank, passage in enumerate(kept, start=1)))


def _passage(document: Document) -> Passage:
    text = document.page_content
    kept = {key: value for key, value in document.metadata.items() if key not in ("source", "title") and _fits(value)}
    return Passage(
        id=document.id or hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32],
        text=text,
        source=str(document.metadata.get("source", "")),
        metadata={key: value for key, value in kept.items() if isinstance(key, str) and key and key[0] != "$"},
    )


def _fits(value: object) -> bool:
    if isinstance(value, float):
        return value - value == 0
    return isinstance(value, (str, bool, int)) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    )


def _document(passage: Passage, score: float, degraded: str | None) -> Document:
    own = {"source": passage.source, "titles": list(passage.titles), "span": passage.span, "page": passage.page}
    metadata = {**passage.metadata, **own, "score": score, **({"degraded": degraded} if degraded else {})}
    return Document(id=passage.id, page_content=passage.text, metadata=metadata)
