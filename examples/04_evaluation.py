"""Measure a first stage and a reranker on judged questions, and say whether the difference is real.

Run: python examples/04_evaluation.py
Needs: pip install semantic-ranker
"""

from __future__ import annotations

from staff_handbook import load_judgments, load_questions, load_sections

from semantic_ranker import BM25Index, CrossEncoder, RankerEvaluator, compare
from semantic_ranker.evaluation import RerankTask

METRICS = ["nDCG@10", "RR@10", "Success@1"]


def main() -> None:
    """Rerank BM25's best twenty sections for each English question of the handbook."""
    sections = {section.id: section for section in load_sections() if section.language == "en"}
    queries = {question.id: question.text for question in load_questions() if question.language == "en"}
    judgments = {name: grades for name, grades in load_judgments().items() if name in queries}
    names = list(sections)
    bm25 = BM25Index([section.text for section in sections.values()])
    run = {key: {names[row]: score for row, score in bm25.search(text, 20)} for key, text in queries.items()}

    corpus = {name: section.text for name, section in sections.items()}
    task = RerankTask(queries=queries, corpus=corpus, qrels=judgments, candidates=run)
    report = RankerEvaluator(CrossEncoder()).evaluate(task, METRICS)
    print(f"{report.queries} questions, BM25's best {report.candidates:.0f}")
    for metric in report.metrics:
        print(f"{metric.metric:10} {metric.first_stage:.2f} -> {metric.reranked:.2f}, at most {metric.ceiling:.2f}")

    found = compare(run, report.run, judgments, METRICS)
    for name in METRICS:
        change = found[name]
        verdict = "better" if change.low > 0 else "worse" if change.high < 0 else "not shown to differ"
        print(f"{name:10} {change.difference:+.2f} [{change.low:+.2f}, {change.high:+.2f}] {verdict}")


if __name__ == "__main__":
    main()
