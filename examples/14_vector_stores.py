"""The same passages and questions in FAISS, Chroma and Pinecone: one interface, one answer.

Run: python examples/14_vector_stores.py
Needs: pip install "semantic-ranker[faiss,chroma]"; for Pinecone "semantic-ranker[pinecone]", and an index of 256
dimensions whose host is in PINECONE_HOST and whose key in PINECONE_API_KEY
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator

from semantic_ranker import CrossEncoder, Passage, PassageIndex, TwoStageRetriever
from semantic_ranker.indexes import ChromaStore, FaissStore, PineconeStore, VectorStore

PASSAGES = [
    Passage(id="leave", text="Up to five unused days of leave may be taken into the next year.", source="people.md"),
    Passage(id="login", text="Locked out? Choose 'I need help' to set a new password.", source="accounts.md"),
    Passage(id="wifi", text="The guest Wi-Fi has a new password every Monday.", source="accounts.md"),
]


def stores(folder: str) -> Iterator[VectorStore]:
    """Yield what is there; texts and words stay in the passage index, the stores hold vectors."""
    yield FaissStore()
    yield ChromaStore.local(folder)
    if host := os.environ.get("PINECONE_HOST"):
        yield PineconeStore.at(host, f"example-{time.time_ns()}")


def main() -> None:
    """Ask each store the same, once among all passages and once in one file."""
    reranker = CrossEncoder()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for store in stores(folder):
            index = PassageIndex(store=store)
            index.add(PASSAGES)
            search = TwoStageRetriever(index, reranker, top_n=1)
            best = search.retrieve("I forgot my password and can't get in")[0]
            people = search.retrieve("I forgot my password", where={"source": "people.md"})[0]
            print(f"{store.kind:9} {best.id}, in people.md: {people.id}")
            store.close()


if __name__ == "__main__":
    main()
