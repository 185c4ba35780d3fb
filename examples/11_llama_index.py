"""Rerank in a LlamaIndex query engine: retrieve 20 sections of the handbook, keep the best 3.

Run: python examples/11_llama_index.py
Needs: pip install "semantic-ranker[llama-index]"
"""

from __future__ import annotations

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index_bm25 import HandbookRetriever
from staff_handbook import load_sections

from semantic_ranker_llama_index import SemanticRerank

QUESTIONS = [
    "Got a new iPhone, how do I get the login codes on it?",
    "My father died yesterday. How long can I be off?",
    "a colleague is signing off calibrations that were never done",
]


def main() -> None:
    """Build the query engine once and ask three questions."""
    engine = RetrieverQueryEngine(
        HandbookRetriever(load_sections(), k=20),
        # Return the sections only. With an LLM of your own: RetrieverQueryEngine.from_args(..., llm=llm).
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[SemanticRerank(top_n=3)],
    )
    for question in QUESTIONS:
        print(question)
        for hit in engine.query(question).source_nodes:
            print(f"  {hit.score:.2f}  {hit.node.node_id}")


if __name__ == "__main__":
    main()
