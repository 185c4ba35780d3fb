"""The product at work: a staff handbook searched through LangChain and LlamaIndex, before and after.

Run: make demo, or python examples/demo.py [--json PATH]
Needs the core, langchain-core and llama-index-core; no torch, no network, no API key.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import demo_print as out
from demo_frameworks import Answer, through_langchain, through_llama_index
from demo_quality import CANDIDATES, Outcome, QualityRow, ask_all, median_ms, quality
from staff_handbook import Question, Section, load_judgments, load_questions, load_sections

from semantic_ranker import CrossEncoder

# Shown in full: gains and failures alike. The last of each is hard: an answer in two halves that stand in
# different files, and a language that the bundled model was not trained for.
SHOWN_LANGCHAIN = ("e08", "e05", "e27")
SHOWN_LLAMA_INDEX = ("e06", "e21", "s03")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo; `--json PATH` also writes all rankings, figures and times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything measured to this file")
    options = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without accents still shows the rest

    sections, questions, judgments = load_sections(), load_questions(), load_judgments()
    encoder, start_ms = _first_rerank(sections, questions)
    _introduce(encoder, sections, questions)
    out.heading("1. LangChain: RunnableParallel(documents=retriever, query=...) | SemanticRerank().as_runnable()")
    _show(through_langchain(sections, _chosen(questions, SHOWN_LANGCHAIN)), judgments)
    out.heading("2. LlamaIndex: RetrieverQueryEngine(retriever, node_postprocessors=[SemanticRerank()])")
    _show(through_llama_index(sections, _chosen(questions, SHOWN_LLAMA_INDEX)), judgments)
    outcomes = ask_all(encoder, sections, questions)
    rows = quality(outcomes, judgments)
    _show_quality(encoder, rows)
    _show_time(outcomes, start_ms)
    if options.json:
        report = _report(encoder, outcomes, rows, start_ms)
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _first_rerank(sections: Sequence[Section], questions: Sequence[Question]) -> tuple[CrossEncoder, float]:
    """Open the bundled model and rerank once; return it with the milliseconds that both took."""
    start = time.perf_counter()
    encoder = CrossEncoder()
    encoder.rank(questions[0].text, [section.text for section in sections[:CANDIDATES]])
    return encoder, 1000 * (time.perf_counter() - start)


def _introduce(encoder: CrossEncoder, sections: Sequence[Section], questions: Sequence[Question]) -> None:
    spanish = sum(section.language == "es" for section in sections)
    asked_in_spanish = sum(question.language == "es" for question in questions)
    print("semantic-ranker: a staff handbook, searched before and after reranking\n")
    print(f"handbook   {len(sections)} sections ({spanish} in Spanish), of an invented company")
    print(f"questions  {len(questions)} ({asked_in_spanish} in Spanish) with hand-made judgments")
    print(f"retrieve   BM25, the best {CANDIDATES} sections in the question's language")
    print(f"rerank     {encoder.model_name}, {encoder.precision} on {encoder.backend_name}; no torch, no network\n")
    out.legend()


def _chosen(questions: Sequence[Question], wanted: Sequence[str]) -> list[Question]:
    by_id = {question.id: question for question in questions}
    return [by_id[question_id] for question_id in wanted]


def _show(answers: Iterable[Answer], judgments: Mapping[str, Mapping[str, int]]) -> None:
    for answer in answers:
        out.side_by_side(answer.question.text, answer.before, answer.after, judgments[answer.question.id])


def _show_quality(encoder: CrossEncoder, rows: Sequence[QualityRow]) -> None:
    out.heading("3. All questions, measured")
    out.quality_table(rows)
    print("\nnDCG@10 grades the first ten places. Success@1 is the share of questions whose first section is")
    print(f"{out.mark(2)} or {out.mark(1)}. An interval that holds 0 may be luck: six questions decide little.")
    if "es" not in encoder.languages:
        known = ", ".join(encoder.languages)
        print(f"Languages of the model: {known}. Spanish questions keep the order of BM25, and say so.")


def _show_time(outcomes: Sequence[Outcome], start_ms: float) -> None:
    out.heading(f"4. Time on this machine ({os.cpu_count()} cores)")
    slowest = max(outcome.rerank_ms for outcome in outcomes)
    print(f"open the model and rerank once   {start_ms:6.0f} ms")
    print(f"rerank one question, median      {median_ms(outcomes):6.0f} ms   (slowest {slowest:.0f} ms)")


def _report(
    encoder: CrossEncoder, outcomes: Sequence[Outcome], rows: Sequence[QualityRow], start_ms: float
) -> dict[str, object]:
    model = {"name": encoder.model_name, "precision": encoder.precision, "fingerprint": encoder.fingerprint}
    time_ms = {"first_rerank": start_ms, "median_rerank": median_ms(outcomes)}
    rankings = [asdict(outcome) for outcome in outcomes]
    return {"model": model, "quality": [asdict(row) for row in rows], "time_ms": time_ms, "questions": rankings}


if __name__ == "__main__":
    main()
