"""Find passages that look like an answer and are none: what a reranker learns most from.

Run: python examples/02_hard_negative_mining.py
Needs: pip install "semantic-ranker[training]"
"""

from __future__ import annotations

from staff_handbook import load_judgments, load_questions, load_sections

from semantic_ranker_training.hard_negatives import HardNegativeMiner


def main() -> None:
    """Mine the handbook for its first questions, whose answers are known."""
    sections = [section for section in load_sections() if section.language == "en"]
    titles = {section.text: section.title for section in sections}
    places = {section.id: place for place, section in enumerate(sections)}
    questions = [question for question in load_questions() if question.language == "en"][:8]
    # What is known to help is never a negative, whatever its grade.
    judged = load_judgments()
    pairs = [(row, places[name]) for row, question in enumerate(questions) for name in judged[question.id]]

    miner = HardNegativeMiner()  # BM25 and the bundled embedder, fused
    mined = miner.mine([of.text for of in questions], [of.text for of in sections], top_k=3, positive_pairs=pairs)
    for row in range(3):
        answers = " / ".join(sections[place].title for query, place in pairs if query == row)
        print(f"{questions[row].text}\n  answered by: {answers}")
        print(f"  negatives:   {' / '.join(titles[text] for text in mined[row])}")
    dropped = sum(count for name, count in miner.counts.items() if name.startswith("dropped"))
    print(f"{miner.counts['hard']} hard negatives; candidates were dropped as positives or too close: {dropped > 0}")


if __name__ == "__main__":
    main()
