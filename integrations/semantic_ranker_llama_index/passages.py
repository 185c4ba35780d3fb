"""Both ways between LlamaIndex and the core's retrieval: its indexes as a first stage, our index as its retriever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker._shared import checked_count
from semantic_ranker.indexes import Candidates, Hit, Passage, PassageIndex
from semantic_ranker.indexes.filters import check_where, matches
from semantic_ranker.retrieval import Retrieval, TwoStageRetriever


class LlamaIndexFirstStage:
    """Any LlamaIndex index or retriever as the first stage of a `TwoStageRetriever`.

    An index is asked for as many nodes as are wanted; a retriever returns what it was built to return. Scores are
    reciprocal ranks: stores disagree about what a score is.

    Args:
        base: An index or a retriever.

    Example:
        >>> from llama_index.core import MockEmbedding, VectorStoreIndex
        >>> from llama_index.core.schema import TextNode
        >>> from semantic_ranker import CrossEncoder, TwoStageRetriever
        >>> texts = ["Cats sleep all day.", "To change a forgotten password, open Settings."]
        >>> index = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=MockEmbedding(embed_dim=4))
        >>> retriever = TwoStageRetriever(LlamaIndexFirstStage(index), CrossEncoder())
        >>> retriever.retrieve("how do I reset my password")[0].passage.text
        'To change a forgotten password, open Settings.'
    """

    def __init__(self, base: BaseRetriever | BaseIndex[Any]) -> None:
        self._base = base

    def search_many(
        self, queries: Sequence[str], k: int, *, where: Mapping[str, Any] | None = None
    ) -> list[Candidates]:
        """Return up to ``k`` candidates a query; a filter is held against the nodes' metadata afterwards."""
        checked = check_where(where)
        first = self._base.as_retriever(similarity_top_k=k) if isinstance(self._base, BaseIndex) else self._base
        return [_candidates(first.retrieve(query), k, checked) for query in queries]


class PassageIndexRetriever(BaseRetriever):
    """A `PassageIndex` or `TwoStageRetriever` as a LlamaIndex retriever, whatever store its vectors are in.

    Each node's metadata has the passage's own, and ``source``, ``titles`` and ``page``; the span is the node's
    character indices. An answer that is second best has ``degraded`` in its nodes' metadata, shown to no model.
    """

    def __init__(
        self,
        index: PassageIndex | TwoStageRetriever,
        *,
        k: int = 5,
        where: dict[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """Wrap an index.

        Args:
            index: What is asked.
            k: How many nodes to return.
            where: Which passages count.
            callback_manager: LlamaIndex's legacy callbacks.

        Raises:
            InvalidInputError: `k` is not a positive int, or the filter is none.
        """
        super().__init__(callback_manager=callback_manager)
        self._index, self._k, self._where = index, checked_count("k", k), check_where(where)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await run_in_scoring_thread(self._retrieve, query_bundle)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found: Candidates | Retrieval
        if isinstance(self._index, TwoStageRetriever):
            found = self._index.retrieve(query_bundle.query_str, top_n=self._k, where=self._where)
        else:
            found = self._index.search(query_bundle.query_str, self._k, where=self._where)
        return [NodeWithScore(node=_node(item.passage, found.degraded), score=float(item.score)) for item in found]


def _candidates(nodes: Sequence[NodeWithScore], k: int, where: Mapping[str, Any] | None) -> Candidates:
    passages = [_passage(node) for node in nodes]
    kept = [passage for passage in passages if matches(where, passage.fields)][:k]
    return Candidates(hits=tuple(Hit(passage, 1 / rank) for rank, passage in enumerate(kept, start=1)))


def _passage(found: NodeWithScore) -> Passage:
    metadata = {key: value for key, value in found.node.metadata.items() if key not in ("source", "title")}
    return Passage(
        id=found.node.node_id,
        text=found.node.get_content(metadata_mode=MetadataMode.NONE),
        source=str(found.node.metadata.get("source") or found.node.metadata.get("file_name") or ""),
        metadata={key: value for key, value in metadata.items() if key and key[0] != "$" and _fits(value)},
    )


def _fits(value: object) -> bool:
    if isinstance(value, float):
        return value - value == 0
    return isinstance(value, (str, bool, int)) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    )


def _node(passage: Passage, degraded: str | None) -> TextNode:
    own = {"source": passage.source, "titles": " > ".join(passage.titles), "page": passage.page}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in passage.metadata.items()}
    start, end = passage.span or (None, None)
    return TextNode(
        id_=passage.id,
        text=passage.text,
        metadata={**plain, **own, **({"degraded": degraded} if degraded else {})},
        excluded_embed_metadata_keys=["degraded"],
        excluded_llm_metadata_keys=["degraded"],
        start_char_idx=start,
        end_char_idx=end,
    )
