"""BM25 over the handbook as a LlamaIndex retriever: the first stage of the LlamaIndex examples."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from staff_handbook import STEMMERS, Section

from semantic_ranker import BM25Index


class HandbookRetriever(BaseRetriever):
    """Returns the `k` best sections of one language by BM25 as scored nodes."""

    def __init__(self, sections: Sequence[Section], *, language: str = "en", k: int = 20) -> None:
        """Index the sections of the language once."""
        super().__init__()
        self._nodes = [_node(section) for section in sections if section.language == language]
        # Index what the reranker will read.
        texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in self._nodes]
        self._index = BM25Index(texts, language=STEMMERS[language])
        self._k = k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._index.search(query_bundle.query_str, self._k)
        return [NodeWithScore(node=self._nodes[index], score=score) for index, score in hits]


def _node(section: Section) -> TextNode:
    # The title is in the text already, so neither the model nor an LLM needs to see it twice.
    return TextNode(
        id_=section.id,
        text=section.text,
        metadata={"title": section.title},
        excluded_embed_metadata_keys=["title"],
        excluded_llm_metadata_keys=["title"],
    )
