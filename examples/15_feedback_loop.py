"""Log what users ask and say, make judged questions and training pairs of it, and measure the model on them.

Run: python examples/15_feedback_loop.py
Needs: pip install "semantic-ranker[faiss]"
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import FeedbackLog, Passage, RAGPipeline, evaluate
from semantic_ranker.feedback import Review, measure, to_judgments, to_pairs

PASSAGES = {
    "leave": "Up to five unused days of leave may be taken into the next year.",
    "login": "Locked out? Choose 'I need help' to set a new password.",
    "wifi": "The guest Wi-Fi has a new password every Monday.",
    "claims": "Send expense claims within 60 days of spending the money.",
}
ASKED = {"my account is blocked": "login", "can I keep my holidays": "leave", "internet for visitors": "wifi"}


def main() -> None:
    """Answer three questions, let users review them, and look at what was learnt."""
    pipeline = RAGPipeline(top_k_rerank=3)
    pipeline.index_documents(Passage(id=name, text=text) for name, text in PASSAGES.items())
    with tempfile.TemporaryDirectory() as folder:
        log = FeedbackLog(Path(folder, "feedback.jsonl"))
        for question, right in ASKED.items():
            found = pipeline.retrieve(question)
            written = log.append(found.to_interaction(model="bundled"))
            wrong = tuple(item.id for item in found if item.id != right)[:1]
            log.review(written.id, Review(resolved=found[0].id == right, relevant=(right,), irrelevant=wrong))

        figures = measure(log.read())
        print(f"{figures.interactions} interactions, {figures.reviewed.count} reviewed")
        judged = to_judgments(log.read())
        print(f"nDCG@10 of what was shown: {evaluate(judged.run, judged.qrels, ['nDCG@10']).mean['nDCG@10']:.2f}")
        for pair in to_pairs(log.read(), PASSAGES):
            print(f"learn: {pair.query} -> {pair.positive[:30]}... not {pair.negatives[0][:20]}...")


if __name__ == "__main__":
    main()
