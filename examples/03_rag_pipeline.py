"""From a folder of documents to the context of a language model, with sources.

Run: python examples/03_rag_pipeline.py
Needs: pip install "semantic-ranker[docs-ingest,faiss]"
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import RAGPipeline

HANDBOOK = Path(__file__).parent / "handbook" / "en"
QUESTIONS = ["someone stole my bag with the laptop in it on the train", "Do you pay petrol if I take my own car?"]


def main() -> None:
    """Index the handbook, ask, and build a prompt's context."""
    pipeline = RAGPipeline(top_k_retrieval=20, top_k_rerank=3)
    with tempfile.TemporaryDirectory() as folder:
        report = pipeline.index_folder(HANDBOOK, folder)
        print(f"{report.added} documents, and again: {pipeline.index_folder(HANDBOOK, folder).added} new")

        for question in QUESTIONS:
            print(question)
            for found in pipeline.retrieve_and_rerank(question, return_scores=True):
                print(f"  {found['score']:.2f}  {found['citation']}")

        context = pipeline.get_context_for_llm(QUESTIONS[1], top_k=2, max_tokens=120)
        print("the context begins:", context.splitlines()[0])

        again = RAGPipeline.load(folder, read_only=True)
        print("opened again:", len(again.index) == len(pipeline.index), "passages are all there")


if __name__ == "__main__":
    main()
