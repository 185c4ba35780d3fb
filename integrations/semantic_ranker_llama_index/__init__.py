"""LlamaIndex adapters: your nodes in, the same nodes in a better order out. Needs `llama-index-core` only."""

from semantic_ranker._extras import requires_extra

with requires_extra("llama-index"):
    from semantic_ranker_llama_index.embeddings import SemanticEmbedding
    from semantic_ranker_llama_index.llm import LlamaIndexLLM
    from semantic_ranker_llama_index.passages import LlamaIndexFirstStage, PassageIndexRetriever
    from semantic_ranker_llama_index.rerank import SemanticRerank
    from semantic_ranker_llama_index.retriever import SemanticRerankRetriever

__all__ = [
    "LlamaIndexFirstStage",
    "LlamaIndexLLM",
    "PassageIndexRetriever",
    "SemanticEmbedding",
    "SemanticRerank",
    "SemanticRerankRetriever",
]
