"""Rerank in a LangChain chain: retrieve 20 sections of the handbook, keep the best 3.

Run: python examples/10_langchain.py
Needs: pip install "semantic-ranker[langchain]"
"""

from __future__ import annotations

from langchain_bm25 import HandbookRetriever
from langchain_core.documents import Document
from langchain_core.runnables import RunnableParallel, RunnablePassthrough
from staff_handbook import load_sections

from semantic_ranker_langchain import SemanticRerank

QUESTIONS = [
    "someone stole my bag with the laptop in it on the train",
    "how much notice do I have to give if I quit while still on trial?",
    "Do you pay petrol if I take my own car to the customer?",
]


def context(documents: list[Document]) -> str:
    """Join the documents as a prompt would receive them, best first."""
    lines = [f"  {document.metadata['relevance_score']:.2f}  {document.id}" for document in documents]
    return "\n".join(lines)


def main() -> None:
    """Build the chain once and ask three questions."""
    retriever = HandbookRetriever(sections=load_sections(), k=20)
    rerank = SemanticRerank(top_n=3)
    chain = RunnableParallel(documents=retriever, query=RunnablePassthrough()) | rerank.as_runnable() | context
    for question in QUESTIONS:
        print(question)
        print(chain.invoke(question))


if __name__ == "__main__":
    main()
