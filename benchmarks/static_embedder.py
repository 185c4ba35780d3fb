"""The bundled static embedder beside BM25 and its teacher, all-MiniLM-L6-v2: as a first stage, and as a reranker.

    python benchmarks/static_embedder.py --data DATA

nDCG@10 over all judged queries of each collection, with 95 % bootstrap intervals: exact dense search over the whole
collection ("retrieval"), and the order of BM25's top 100 by cosine ("reranking"). The teacher's vectors are kept below
runs/, since they take most of the time. For collections that are not among --teacher-collections, the teacher's order of
the same candidates is taken from what benchmarks/quality.py kept (runs/quality), if it is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semantic_ranker.bm25 import BM25Index
from semantic_ranker.collections import Collection, load_beir
from semantic_ranker.embedder import Embedder
from semantic_ranker.evaluation import evaluate, interval, macro_compare, macro_interval
from semantic_ranker.evaluation.exact_search import ExactSearch
from semantic_ranker.fusion import fuse_rrf

ROOT = Path(__file__).resolve().parent.parent
METRIC = "nDCG@10"
DEPTH = 100
CHUNK = 256
TEACHER = "all-MiniLM-L6-v2"
Run = dict[str, dict[str, float]]


class Kept:
    """The teacher's vectors, kept on disk chunk by chunk: a killed run continues where it was."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self.embedder, self.folder = embedder, folder / embedder.space.short
        self.folder.mkdir(parents=True, exist_ok=True)

    def vectors(self, texts: list[str], role: str, label: str) -> np.ndarray:
        embed = self.embedder.embed_queries if role == "q" else self.embedder.embed_documents
        parts = []
        for start in tqdm(range(0, len(texts), CHUNK), desc=label, unit="chunk", disable=None):
            part = texts[start : start + CHUNK]
            path = self.folder / f"{role}-{hashlib.sha256(json.dumps(part).encode()).hexdigest()[:24]}.npy"
            if not path.is_file():
                partial = path.with_suffix(".partial.npy")
                np.save(partial, embed(part))
                os.replace(partial, path)
            parts.append(np.load(path))
        return np.concatenate(parts)


def bm25(collection: Collection) -> Run:
    documents = list(collection.corpus)
    found = BM25Index([collection.corpus[document] for document in documents]).search_many(
        list(collection.queries.values()), k=DEPTH
    )
    return {
        query: {documents[place]: score for place, score in results}
        for query, results in zip(collection.queries, found, strict=True)
    }


def dense(collection: Collection, queries: np.ndarray, documents: np.ndarray) -> Run:
    names = list(collection.corpus)
    search = ExactSearch(queries, DEPTH)
    search.add(documents)
    return {
        query: {names[place]: score for place, score in search.best(row)}
        for row, query in enumerate(collection.queries)
    }


def reranked(collection: Collection, first: Run, queries: np.ndarray, documents: np.ndarray) -> Run:
    row = {document: place for place, document in enumerate(collection.corpus)}
    return {
        query: {document: float(queries[place] @ documents[row[document]]) for document in first[query]}
        for place, query in enumerate(collection.queries)
    }


def kept_reranking(collection: Collection, first: Run) -> Run | None:
    """The teacher's scores of BM25's candidates, as benchmarks/quality.py kept them, if they are of these candidates."""
    path = ROOT / f"runs/quality/bi-encoder.{collection.name}.json"
    found: Run = json.loads(path.read_text()) if path.is_file() else {}
    same = all(found.get(query, {}).keys() == first[query].keys() for query in collection.queries)
    return {query: found[query] for query in collection.queries} if found and same else None


def summary(values: dict[str, float]) -> dict[str, float]:
    low, high = interval(list(values.values()))
    return {"mean": float(np.mean(list(values.values()))), "low": low, "high": high}


def of_collection(collection: Collection, static: Embedder, teacher: Kept | None) -> tuple[dict[str, Any], dict]:
    texts, asked = list(collection.corpus.values()), list(collection.queries.values())
    first = bm25(collection)
    started = time.process_time()
    documents = static.embed_documents(texts)
    seconds = time.process_time() - started
    queries = static.embed_queries(asked)
    retrieval, reranking = {"BM25": first}, {"BM25": first}
    retrieval["static"] = dense(collection, queries, documents)
    reranking["static"] = reranked(collection, first, queries, documents)
    retrieval["RRF of BM25 and static"] = fuse_rrf([first, retrieval["static"]])
    if teacher:
        vectors = teacher.vectors(texts, "d", collection.name)
        questions = teacher.vectors(asked, "q", collection.name)
        retrieval["MiniLM"] = dense(collection, questions, vectors)
        reranking["MiniLM"] = reranked(collection, first, questions, vectors)
    elif kept := kept_reranking(collection, first):
        reranking["MiniLM"] = kept
    values = {
        stage: {name: evaluate(run, collection.qrels, [METRIC]).per_query[METRIC] for name, run in runs.items()}
        for stage, runs in (("retrieval", retrieval), ("reranking", reranking))
    }
    result = {
        "queries": len(asked),
        "documents": len(texts),
        "static_documents_per_cpu_s": round(len(texts) / seconds),
        **{stage: {name: summary(of) for name, of in runs.items()} for stage, runs in values.items()},
    }
    return result, values


def macro(values: list[dict]) -> dict[str, Any]:
    found: dict[str, Any] = {"collections": len(values)}
    for stage in ("retrieval", "reranking"):
        systems = [name for name in values[0][stage] if all(name in of[stage] for of in values)]
        found[stage] = {}
        for name in systems:
            parts = [of[stage][name] for of in values]
            low, high = macro_interval(parts)
            mean = float(np.mean([np.mean(list(part.values())) for part in parts]))
            found[stage][name] = {"mean": mean, "low": low, "high": high}
        found[stage]["differences"] = {
            f"static - {other}": macro_compare([(of[stage][other], of[stage]["static"]) for of in values]).to_dict()
            for other in systems
            if other != "static"
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--collections", nargs="+", default=["cacm", "nfcorpus", "scifact", "cosqa"])
    parser.add_argument("--teacher-collections", nargs="*", help="where the teacher is measured too (default: all)")
    parser.add_argument("--model", help="folder of a static embedder (default: the bundled one)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/static_embedder.json")
    options = parser.parse_args()
    taught = options.collections if options.teacher_collections is None else options.teacher_collections
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    static = Embedder(options.model, threads=options.threads)
    static.embed_documents(["opens the model"])
    teacher = None
    if taught:
        embedder = Embedder(TEACHER, precision="fp32", threads=options.threads)
        teacher = Kept(embedder, ROOT / "runs/static_embedder")
    result: dict[str, Any] = {"collections": {}}
    values = []
    for name in options.collections:
        found, of = of_collection(load_beir(options.data / name), static, teacher if name in taught else None)
        result["collections"][name] = found
        values.append(of)
        means = {
            stage: {n: round(s["mean"], 4) for n, s in found[stage].items()} for stage in ("retrieval", "reranking")
        }
        print(name, means, f"{found['static_documents_per_cpu_s']} documents a second of CPU time")
    result = {
        "what": f"{METRIC} over all judged queries, 95 % bootstrap intervals; reranking is of BM25's top {DEPTH}",
        "static": {"space": static.space.short, "dim": static.dim, "model": static.space.model},
        "teacher": f"{TEACHER}, fp32, 256 tokens",
        "speed": "documents a second of CPU time, one thread, the first time that these texts are seen",
        **result,
        "macro": macro(values),
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": options.threads},
        "versions": {
            name: version(name) for name in ("semantic-ranker", "numpy", "onnxruntime", "tokenizers", "bm25s")
        },
        "command": "python benchmarks/static_embedder.py --data DATA"
        + ("" if options.teacher_collections is None else f" --teacher-collections {' '.join(taught)}"),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
