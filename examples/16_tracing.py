"""See what a chain does: reranking is a run of its own below its caller, for LangSmith and every other callback.

Run: python examples/16_tracing.py
Needs: pip install "semantic-ranker[langchain]"
"""

from __future__ import annotations

from typing import Any

from langchain_bm25 import HandbookRetriever
from langchain_core.callbacks import BaseCallbackHandler
from staff_handbook import load_sections

from semantic_ranker_langchain import SemanticRerank, SemanticRerankRetriever


class Printer(BaseCallbackHandler):
    """Prints each run below its parent; a tracer does the same and keeps times and texts."""

    def __init__(self) -> None:
        self.depth = 0

    def on_retriever_start(self, serialized: Any, query: str, *, name: str = "", **_: Any) -> None:
        self._begin(f"{name} is asked")

    def on_retriever_end(self, documents: Any, **_: Any) -> None:
        self._end(documents)

    def on_chain_start(self, serialized: Any, inputs: Any, *, name: str = "", **_: Any) -> None:
        self._begin(f"{name} gets {len(inputs['documents'])} documents")

    def on_chain_end(self, outputs: Any, **_: Any) -> None:
        self._end(outputs["documents"])

    def _begin(self, line: str) -> None:
        print("  " * self.depth + line)
        self.depth += 1

    def _end(self, documents: Any) -> None:
        self.depth -= 1
        print("  " * self.depth + f"returns {len(documents)}, first {documents[0].id}")


def main() -> None:
    """Ask one question with the printer as callback."""
    base = HandbookRetriever(sections=load_sections(), k=20)
    retriever = SemanticRerankRetriever(base=base, k=3, reranker=SemanticRerank())
    retriever.invoke("Do you pay petrol if I take my own car to the customer?", {"callbacks": [Printer()]})


if __name__ == "__main__":
    main()
