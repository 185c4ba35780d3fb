"""`SemanticRerankRetriever`: any retriever or index with reranking behind it, in one line."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import NodeWithScore, QueryBundle

from semantic_ranker._shared import checked_count
from semantic_ranker_llama_index.rerank import SemanticRerank


class SemanticRerankRetriever(BaseRetriever):
    """Asks a first stage for `fetch_k` nodes and returns the best `k` of them after reranking.

    Example:
        >>> from llama_index.core import MockEmbedding, VectorStoreIndex
        >>> from llama_index.core.schema import TextNode
        >>> texts = ["Cats sleep all day.", "To change a forgotten password, open Settings."]
        >>> index = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=MockEmbedding(embed_dim=4))
        >>> SemanticRerankRetriever(index, k=1).retrieve("how do I reset my password")[0].text
        'To change a forgotten password, open Settings.'
    """

    def __init__(
        self,
        base: BaseRetriever | BaseIndex[Any],
        *,
        k: int = 5,
        fetch_k: int = 50,
        reranker: SemanticRerank | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """Put reranking behind a first stage.

        Args:
            base: An index, which is asked for `fetch_k` nodes, or a retriever, which returns as many as it
                was built to return; of those the first `fetch_k` are reranked.
            k: How many nodes to return.
            fetch_k: How many nodes to rerank, never fewer than `k`.
            reranker: The reranker; its `top_n` is replaced by `k`. None is the bundled model.
            callback_manager: LlamaIndex's legacy callbacks.

        Raises:
            InvalidInputError: `k` or `fetch_k` is not a positive int.
        """
        super().__init__(callback_manager=callback_manager)
        self._reranker = (reranker or SemanticRerank()).model_copy(update={"top_n": checked_count("k", k)})
        self._fetch_k = max(k, checked_count("fetch_k", fetch_k))
        self._base = base.as_retriever(similarity_top_k=self._fetch_k) if isinstance(base, BaseIndex) else base

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._base.retrieve(query_bundle)
        return self._reranker.postprocess_nodes(found[: self._fetch_k], query_bundle)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = await self._base.aretrieve(query_bundle)
        return await self._reranker.apostprocess_nodes(found[: self._fetch_k], query_bundle)
