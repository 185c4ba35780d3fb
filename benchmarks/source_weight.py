"""What it gives to draw a passage's score to that of the best passage of its document, with the models as they come.

    python benchmarks/source_weight.py --data DATA
    python benchmarks/source_weight.py --data DATA --spanish-base models/reranker-multilingual

Headings, titles, questions and link texts of each folder stand in for people's questions (a proxy), 800 of a folder at
most; nothing was learnt from these folders. The handbook's 60 questions are people's kind. The model ranks RRF's best
100. Each folder's row "fitted" takes the weight that the other folders' questions chose. Writes
benchmarks/results/source_weight.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handbook_questions import load, qrels
from result_parts import made_with
from tune import FOLDERS, HANDBOOK, SPANISH

from semantic_ranker._files import write_atomically
from semantic_ranker.documents import read_folder
from semantic_ranker.evaluation import compare, evaluate
from semantic_ranker.source_weight import WEIGHTS, fit_source_weight
from semantic_ranker.sources import drawn_run
from semantic_ranker_training.tune import TuneOptions
from semantic_ranker_training.tune.base import Base, find_base
from semantic_ranker_training.tune.data import prepare, sampled_questions
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.first_stage import FirstStage
from semantic_ranker_training.tune.library import read_library
from semantic_ranker_training.tune.measure import DEPTH, Task, open_cached, rerank
from semantic_ranker_training.tune.split import distinct_questions

ROOT = Path(__file__).resolve().parent.parent
METRICS = ("nDCG@10", "RR@10", "Recall@5")
QUESTIONS = "the handbook's 60 questions"
MOST = 800


def folder_task(folder: Path, work: Path, base: Base) -> tuple[Task, KeptEmbedder, str]:
    """Return a folder's questions over all of its passages, with an embedder and the name of a stemmer."""
    options = TuneOptions(documents=folder, out=work / folder.name)
    data = prepare(read_library(folder, work / "read" / folder.name), work / f"{folder.name}.json", options)
    asked = sampled_questions(distinct_questions(data.corpus.questions), MOST)
    task = data.task(folder.name, asked, data.corpus.texts())
    return task, _embedder(work / "vectors" / folder.name, task, data.language.code, base), data.language.stemmer


def question_task(folder: Path, work: Path, base: Base) -> tuple[Task, KeptEmbedder, str]:
    """Return the 60 questions over the handbook's passages with their titles."""
    documents = read_folder(folder)
    questions, chunks = load(documents.documents), list(documents.chunks())
    task = Task(
        name=QUESTIONS,
        queries={of.id: of.text for of in questions},
        qrels=qrels(questions, chunks),
        corpus={of.id: of.titled_text for of in chunks},
        sources={of.id: of.source for of in chunks},
    )
    return task, _embedder(work / "vectors" / "questions", task, "en", base), "english"


def _embedder(folder: Path, task: Task, language: str, base: Base) -> KeptEmbedder:
    embedder = KeptEmbedder(folder, len(task.corpus), language, 3600.0, base)
    embedder.embed_documents(list(task.corpus.values()))
    return embedder


def ranked(task: Task, embedder: KeptEmbedder, stemmer: str, base: Base) -> dict[str, dict[str, float]]:
    candidates = FirstStage(task.corpus, embedder, stemmer).runs(task.queries, DEPTH)["RRF"]
    with open_cached(base.folder) as model:
        return rerank(model, task, candidates)


def figures(run: dict[str, dict[str, float]], task: Task, fitted: float) -> dict[str, Any]:
    judged, tried = task.judged(), {**{f"{weight:g}": weight for weight in WEIGHTS}, "fitted": fitted}
    drawn = {name: drawn_run(run, task.sources, weight) for name, weight in tried.items()}
    return {
        "queries": len(task.queries),
        "passages": len(task.corpus),
        "documents": len(set(task.sources.values())),
        "fitted": fitted,
        "systems": {name: dict(evaluate(of, judged, METRICS).mean) for name, of in drawn.items()},
        "gain": {
            name: {of.metric: {"difference": of.difference, "low": of.low, "high": of.high, "p": of.p_value}
                   for of in compare(run, other, judged, METRICS).metrics}
            for name, other in drawn.items() if name != "0"
        },
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, default=ROOT / "runs/source_weight")
    parser.add_argument("--spanish-base", type=Path, help="reranker for the Spanish folders, which else are left out")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/source_weight.json")
    options = parser.parse_args(arguments)
    found: dict[str, tuple[Task, dict[str, dict[str, float]], str]] = {}
    for name in FOLDERS:
        if name in SPANISH and options.spanish_base is None:
            continue
        base = find_base(options.spanish_base if name in SPANISH else None)
        tasks = [folder_task(options.data / name, options.work, base)]
        tasks += [question_task(options.data / name, options.work, base)] if name == HANDBOOK else []
        for task, embedder, stemmer in tasks:
            found[task.name] = task, ranked(task, embedder, stemmer, base), base.name
            print(f"{task.name}: {len(task.queries)} questions over {len(task.corpus)} passages", flush=True)
    rows = {}
    for name, (task, run, model) in found.items():
        same = (name, QUESTIONS, HANDBOOK) if name == QUESTIONS else (name, QUESTIONS)
        fitted = _fitted([of for other, of in found.items() if other not in same])
        rows[name] = {"model": model, **figures(run, task, fitted)}
        print(name, {weight: round(of["nDCG@10"], 4) for weight, of in rows[name]["systems"].items()}, flush=True)
    base_option = f" --spanish-base {options.spanish_base.name}" if options.spanish_base else ""
    result = {
        "what": __doc__.splitlines()[0] if __doc__ else "",
        "depth": DEPTH,
        "rows": rows,
        **made_with("semantic-ranker", "onnxruntime", "bm25s", "ir-measures"),
        "command": f"python benchmarks/source_weight.py --data DATA{base_option}",
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


def _fitted(others: Sequence[tuple[Task, dict[str, dict[str, float]], str]]) -> float:
    """Return the weight that the questions of other folders choose together."""

    def renamed(task: Task, by_query: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        return {
            f"{task.name} {query}": {f"{task.name} {name}": value for name, value in of.items()}
            for query, of in by_query.items()
        }

    run = {query: of for task, found, _ in others for query, of in renamed(task, found).items()}
    judged = {query: of for task, _, _ in others for query, of in renamed(task, task.judged()).items()}
    sources = {f"{task.name} {name}": f"{task.name} {of}" for task, *_ in others for name, of in task.sources.items()}
    return fit_source_weight(run, sources, judged).weight


if __name__ == "__main__":
    main()
