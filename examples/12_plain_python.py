"""Rerank plain strings, without a framework: the core is all you need.

Run: python examples/12_plain_python.py
Needs: pip install semantic-ranker
"""

from __future__ import annotations

from staff_handbook import load_sections

from semantic_ranker import BM25Index, CrossEncoder

QUESTION = "I threw away the taxi receipt, can I still get the money?"


def main() -> None:
    """Retrieve with BM25, rerank, and show the logit and where each text stood before."""
    sections = [section for section in load_sections() if section.language == "en"]
    hits = BM25Index([section.text for section in sections]).search(QUESTION, 20)
    candidates = [sections[index] for index, _ in hits]

    with CrossEncoder() as encoder:
        print(f"{encoder.model_name}, {encoder.precision} on {encoder.backend_name}")
        print(QUESTION)
        print("  score  logit  was  section")
        for ranked in encoder.rank(QUESTION, [section.text for section in candidates], top_k=3):
            # `index` points into the list that was passed in, so the caller's own objects come back.
            section = candidates[ranked.index]
            print(f"  {ranked.relevance_score:.3f} {ranked.logit:+6.2f} {ranked.index + 1:4}  {section.id}")


if __name__ == "__main__":
    main()
