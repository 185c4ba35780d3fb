"""How well the questions on the 18F handbook are answered: BM25, bi-encoder, RRF of both, and rerankers.

    python benchmarks/handbook_quality.py --data DATA
    python benchmarks/handbook_quality.py --data DATA --model ./my-reranker --out my-reranker.json

DATA/docs-18f-handbook is the handbook; benchmarks/questions/handbook.json are the questions and their judged sections.
Every system searches all passages. ``--model`` measures further rerankers beside the bundled one. The questions must
never be trained on. Writes benchmarks/results/handbook_questions.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handbook_questions import load, qrels

from semantic_ranker._files import write_atomically
from semantic_ranker.bm25 import BM25Index
from semantic_ranker.cross_encoder import CrossEncoder
from semantic_ranker.documents import read_folder
from semantic_ranker.embedder import Embedder
from semantic_ranker.evaluation import compare, evaluate, interval
from semantic_ranker.evaluation.exact_search import ExactSearch
from semantic_ranker.fusion import fuse_rrf
from semantic_ranker.sources import drawn_run

ROOT = Path(__file__).resolve().parent.parent
METRICS = ("nDCG@10", "RR@10", "Recall@5")
DEPTH = 100
RERANKED = 50
STATES = 2_000_000_000
BI_ENCODER = "all-MiniLM-L6-v2"
Run = dict[str, dict[str, float]]


def bm25(queries: dict[str, str], passages: dict[str, str]) -> Run:
    names = list(passages)
    found = BM25Index(list(passages.values())).search_many(list(queries.values()), k=DEPTH)
    return {
        query: {names[place]: score for place, score in results} for query, results in zip(queries, found, strict=True)
    }


def dense(queries: dict[str, str], passages: dict[str, str], threads: int) -> Run:
    names = list(passages)
    with Embedder(BI_ENCODER, precision="fp32", threads=threads) as embedder:
        search = ExactSearch(embedder.embed_queries(list(queries.values())), DEPTH)
        search.add(embedder.embed_documents(list(passages.values())))
    return {query: {names[place]: score for place, score in search.best(row)} for row, query in enumerate(queries)}


def reranked(queries: dict[str, str], passages: dict[str, str], encoder: CrossEncoder) -> Run:
    scores = encoder.score_many(list(queries.values()), [list(passages.values())] * len(queries))
    return {
        query: dict(zip(passages, map(float, values), strict=True))
        for query, values in zip(queries, scores, strict=True)
    }


def best(run: Run, most: int) -> dict[str, list[str]]:
    return {query: sorted(found, key=found.__getitem__, reverse=True)[:most] for query, found in run.items()}


def narrowed(run: Run, candidates: dict[str, list[str]]) -> Run:
    return {query: {name: run[query][name] for name in names} for query, names in candidates.items()}


def figures(run: Run, judged: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    per_query = evaluate(run, judged, METRICS).per_query
    found = {}
    for metric in METRICS:
        values = list(per_query[metric].values())
        low, high = interval(values)
        found[metric] = {"mean": sum(values) / len(values), "low": low, "high": high}
    return found


def by_kind(runs: dict[str, Run], judged: dict[str, dict[str, int]], kinds: dict[str, str]) -> dict[str, Any]:
    per_query = {name: evaluate(run, judged, METRICS[0]).per_query[METRICS[0]] for name, run in runs.items()}
    return {
        kind: {
            "questions": count,
            **{name: sum(v[q] for q in kinds if kinds[q] == kind) / count for name, v in per_query.items()},
        }
        for kind, count in Counter(kinds.values()).items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--model", action="append", default=[], metavar="FOLDER", help="a further reranker")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/handbook_questions.json")
    options = parser.parse_args(arguments)
    documents = read_folder(options.data / "docs-18f-handbook")
    questions = load(documents.documents)
    chunks = list(documents.chunks())
    judged = qrels(questions, chunks)
    queries = {question.id: question.text for question in questions}
    passages = {chunk.id: chunk.titled_text for chunk in chunks}
    sources = {chunk.id: chunk.source for chunk in chunks}
    runs: dict[str, Run] = {"BM25": bm25(queries, passages), "bi-encoder": dense(queries, passages, options.threads)}
    runs["RRF"] = fuse_rrf([runs["BM25"], runs["bi-encoder"]])
    models = {}
    for name, folder in {"reranker": None, **{Path(folder).name: folder for folder in options.model}}.items():
        # Every question meets every passage: each passage is encoded once.
        with CrossEncoder(folder, threads=options.threads, cache_bytes=STATES) as encoder:
            own, weight = reranked(queries, passages, encoder), encoder.source_weight
            if weight:
                runs[f"{name}, by passage"] = own
            runs[name] = drawn_run(own, sources, weight)
            runs[f"RRF, then {name}"] = drawn_run(narrowed(own, best(runs["RRF"], RERANKED)), sources, weight)
            models[name] = {
                "name": encoder.model_name, "precision": encoder.precision, "print": encoder.fingerprint,
                "source_weight": weight,
            }  # fmt: skip
    result = {
        "what": f"questions of a person's kind on the 18F handbook, judged by one judge; all {len(chunks)} passages are "
        f"searched, 'RRF, then X' reranks RRF's best {RERANKED}; 95 % bootstrap intervals over questions",
        "questions": len(questions),
        "passages": {"all": len(chunks), "judged": sum(map(len, judged.values())), "grade 2": _fully(judged)},
        "models": models,
        "bi-encoder": f"{BI_ENCODER}, fp32, its own maximal length",
        "systems": {name: figures(run, judged) for name, run in runs.items()},
        "gain": {
            f"{ours} - {other}": compare(runs[other], runs[ours], judged, METRICS).to_dict()
            for ours in models
            for other in ("BM25", "bi-encoder", "RRF", "reranker")
            if ours != other
        },
        METRICS[0]: by_kind(runs, judged, {question.id: question.kind for question in questions}),
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": options.threads},
        "versions": {
            name: version(name)
            for name in ("semantic-ranker", "numpy", "onnxruntime", "tokenizers", "bm25s", "ir-measures")
        },
        "command": "python benchmarks/handbook_quality.py --data DATA" + " --model FOLDER" * len(options.model),
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    for name, found in result["systems"].items():
        cells = (
            f"{metric} {part['mean']:.3f} [{part['low']:.3f}, {part['high']:.3f}]" for metric, part in found.items()
        )
        print(f"{name:28}", "  ".join(cells))
    print("wrote", options.out)


def _fully(judged: dict[str, dict[str, int]]) -> int:
    return sum(grade == 2 for grades in judged.values() for grade in grades.values())


if __name__ == "__main__":
    main()
