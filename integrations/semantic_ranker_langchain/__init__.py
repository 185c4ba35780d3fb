"""LangChain adapters: your documents in, the same documents in a better order out. Needs `langchain-core` only."""

from semantic_ranker._extras import requires_extra

with requires_extra("langchain"):
    from semantic_ranker_langchain.cross_encoder import SemanticCrossEncoder
    from semantic_ranker_langchain.embeddings import SemanticEmbeddings
    from semantic_ranker_langchain.llm import LangChainLLM
    from semantic_ranker_langchain.passages import LangChainFirstStage, PassageIndexRetriever
    from semantic_ranker_langchain.rerank import SemanticRerank
    from semantic_ranker_langchain.retriever import SemanticRerankRetriever

__all__ = [
    "LangChainFirstStage",
    "LangChainLLM",
    "PassageIndexRetriever",
    "SemanticCrossEncoder",
    "SemanticEmbeddings",
    "SemanticRerank",
    "SemanticRerankRetriever",
]
