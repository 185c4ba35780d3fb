"""`SemanticRerankRetriever`: any retriever or vector store with reranking behind it, in one line."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import Runnable
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from pydantic import ConfigDict, Field

from semantic_ranker._shared import checked_count
from semantic_ranker_langchain._settings import PositiveCount
from semantic_ranker_langchain.rerank import SemanticRerank


class SemanticRerankRetriever(BaseRetriever):
    """Asks a first stage for `fetch_k` documents and returns the best `k` of them after reranking.

    A vector store is asked for `fetch_k` documents, and so is its `as_retriever()` unless that was given a
    `k` of its own. Any other retriever returns what it returns; the first `fetch_k` are reranked.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from langchain_core.vectorstores import InMemoryVectorStore
        >>> store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
        >>> ids = store.add_texts(["Cats sleep all day.", "To change a forgotten password, open Settings."])
        >>> SemanticRerankRetriever(base=store, k=1).invoke("how do I reset my password")[0].page_content
        'To change a forgotten password, open Settings.'
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    base: VectorStore | Runnable[str, list[Document]]
    """The first stage: a vector store, a retriever, or any Runnable from query to documents."""
    k: PositiveCount = 4
    """How many documents to return; `invoke(query, k=...)` overrides it."""
    fetch_k: PositiveCount = 50
    """How many documents to rerank, never fewer than `k`."""
    reranker: SemanticRerank = Field(default_factory=SemanticRerank)
    """The reranker; its `top_n` is replaced by `k`."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = self.k if k is None else checked_count("k", k)
        first_stage, options = self._first_stage(max(k, self.fetch_k))
        found = first_stage.invoke(query, {"callbacks": run_manager.get_child()}, **options)
        found = found[: max(k, self.fetch_k)]
        return self.reranker.compress_documents(found, query, run_manager.get_child(), top_n=k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = self.k if k is None else checked_count("k", k)
        first_stage, options = self._first_stage(max(k, self.fetch_k))
        found = await first_stage.ainvoke(query, {"callbacks": run_manager.get_child()}, **options)
        found = found[: max(k, self.fetch_k)]
        return await self.reranker.acompress_documents(found, query, run_manager.get_child(), top_n=k)

    def _first_stage(self, fetch_k: int) -> tuple[Runnable[str, list[Document]], dict[str, Any]]:
        if isinstance(self.base, VectorStore):
            return self.base.as_retriever(search_kwargs={"k": fetch_k}), {}
        if isinstance(self.base, VectorStoreRetriever) and "k" not in self.base.search_kwargs:
            return self.base, {"k": fetch_k}
        return self.base, {}

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Name the first stage's store and embedding in traces, next to our own name."""
        params = super()._get_ls_params(**kwargs)
        first_stage, _ = self._first_stage(self.fetch_k)
        return {**first_stage._get_ls_params(), **params} if isinstance(first_stage, BaseRetriever) else params
