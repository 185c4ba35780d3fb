"""Passages found by meaning and by words: one index, its vectors in FAISS, Chroma or Pinecone, BM25 beside them."""

from semantic_ranker.indexes.chroma_store import ChromaStore
from semantic_ranker.indexes.faiss_store import FaissStore, choose_type
from semantic_ranker.indexes.filters import check_where, matches
from semantic_ranker.indexes.index import PassageIndex
from semantic_ranker.indexes.passage import Candidates, Hit, Passage
from semantic_ranker.indexes.pinecone_store import PineconeStore
from semantic_ranker.indexes.store import VectorStore
from semantic_ranker.indexes.vectors import checked_vectors

__all__ = [
    "Candidates",
    "ChromaStore",
    "FaissStore",
    "Hit",
    "Passage",
    "PassageIndex",
    "PineconeStore",
    "VectorStore",
    "check_where",
    "checked_vectors",
    "choose_type",
    "matches",
]
