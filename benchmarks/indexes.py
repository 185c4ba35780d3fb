"""What the types of FAISS index miss and take at 100,000 vectors; and a pipeline on documents and on scifact, by stage.

    OMP_NUM_THREADS=2 python benchmarks/indexes.py --data DATA

Vectors are the bundled static embedder's, of real texts. Recall is the share of the exact ten nearest that are found.
The pipeline is `RAGPipeline` with the bundled models, as the command line makes it. Queries are timed one after the
other, by the clock and by the process's own processor time, which is fair on a machine with other work; the first stage
is BM25 and vectors, the reranker reads passages that it has not seen before, or has them precomputed. Quality is of all
queries; those on the handbook are questions/handbook.json, which nothing was trained or chosen on.
Writes results/indexes.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from handbook_questions import load, qrels

from semantic_ranker import CrossEncoder, evaluate
from semantic_ranker._machine import usable_cores
from semantic_ranker.collections import load_beir
from semantic_ranker.documents import read_folder
from semantic_ranker.embedder import Embedder
from semantic_ranker.evaluation import interval
from semantic_ranker.indexes import FaissStore, Passage
from semantic_ranker.pipeline import RAGPipeline

ROOT = Path(__file__).resolve().parent.parent
METRIC = "nDCG@10"
NEAREST = 10


def percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}": round(1000 * float(np.percentile(seconds, share)), 3) for share in (50, 95, 99)}


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def types(data: Path, count: int, queries: int) -> dict[str, Any]:
    texts: list[str] = []
    for name in ("qa-en", "synopsis-en"):
        with gzip.open(data / "train" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            pairs = [json.loads(line) for line in file]
        # Passages and, to reach the number, questions and synopses: all of them real texts.
        texts += [pair[key] for key in ("positive", "query") for pair in pairs]
    texts = list(dict.fromkeys(texts))
    random.Random(0).shuffle(texts)
    asked, texts = texts[:queries], texts[queries : queries + count]
    embedder = Embedder()
    vectors, wanted = embedder.embed_documents(texts), embedder.embed_queries(asked)
    good = np.flatnonzero(vectors.any(axis=1))
    passages = [Passage(id=str(place), text=texts[place]) for place in good]
    found: dict[str, Any] = {"vectors": len(passages), "dim": vectors.shape[1], "queries": len(asked), "types": {}}
    truth: list[set[str]] = []
    for index_type in ("flat", "hnsw", "ivf"):
        store = FaissStore(index_type)  # type: ignore[arg-type]
        store.connect(embedder.space, empty=True)
        store.upsert(passages, vectors[good])
        start = time.perf_counter()
        store.settle()
        built = time.perf_counter() - start
        times, ids = [], []
        for row in wanted:
            start = time.perf_counter()
            hits = store.search(row[None], NEAREST, where=None, allowed=None)[0]
            times.append(time.perf_counter() - start)
            ids.append({name for name, _ in hits})
        truth = truth or ids
        recall = sum(len(one & best) for one, best in zip(ids, truth, strict=True)) / (NEAREST * len(truth))
        with tempfile.TemporaryDirectory() as folder:
            store.save(Path(folder))
            size = size_of(Path(folder))
        found["types"][index_type] = {
            "recall@10": round(recall, 4),
            "build_s": round(built, 2),
            "latency_ms": percentiles(times),
            "size_bytes": size,
        }
        print(index_type, found["types"][index_type], flush=True)
    return found


def stages(pipeline: RAGPipeline, queries: list[str]) -> dict[str, Any]:
    """Ask each query once; milliseconds by stage, by the clock, and processor milliseconds of the whole."""
    pipeline.retrieve("warm up")
    times: dict[str, list[float]] = {"first_stage": [], "rerank": [], "total": [], "processor": []}
    for query in queries:
        used = time.process_time()
        found = pipeline.retrieve(query)
        times["processor"].append(time.process_time() - used)
        for stage, milliseconds in found.latency_ms.items():
            if stage in times:
                times[stage].append(milliseconds / 1000)
    return {"timed": len(queries), "latency_ms": {stage: percentiles(of) for stage, of in times.items()}}


def handbook(data: Path, asked: int) -> dict[str, Any]:
    source = data / "docs-18f-handbook"
    questions = load(read_folder(source).documents)
    with tempfile.TemporaryDirectory() as name:
        folder, precomputed = Path(name, "plain"), Path(name, "precomputed")
        start, before = time.perf_counter(), time.process_time()
        report = RAGPipeline().index_folder(source, folder)
        seconds, used = time.perf_counter() - start, time.process_time() - before
        pipeline = RAGPipeline.load(folder, read_only=True)
        queries = {question.id: question.text for question in questions}
        found = {
            "documents": report.added,
            "passages": report.passages,
            "documents_per_s": round(report.added / seconds, 1),
            "passages_per_s": round(report.passages / seconds, 1),
            "processor_s": round(used, 2),
            "size_bytes": size_of(folder),
            **stages(pipeline, list(queries.values())[:asked]),
        }
        start, before = time.perf_counter(), time.process_time()
        RAGPipeline(precompute=True).index_folder(source, precomputed)
        seconds, used = time.perf_counter() - start, time.process_time() - before
        pipeline = RAGPipeline.load(precomputed, read_only=True)
        judged = qrels(questions, pipeline.index.passages.values())
        return {
            **found,
            "precomputed": {
                "index_s": round(seconds, 1),
                "processor_s": round(used, 1),
                "size_bytes": size_of(precomputed),
                **stages(pipeline, list(queries.values())[:asked]),
            },
            **quality(pipeline, queries, judged),
        }


def quality(pipeline: RAGPipeline, queries: dict[str, str], judged: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Return nDCG@10 of each stage, the reranker over the candidates that the pipeline takes."""
    runs: dict[str, dict[str, dict[str, float]]] = {}
    for stage, mode in (("BM25", "lexical"), ("dense", "dense"), ("RRF", "hybrid")):
        hits = pipeline.index.search_many(list(queries.values()), 100, mode=mode)  # type: ignore[arg-type]
        runs[stage] = {name: {hit.passage.id: hit.score for hit in of} for name, of in zip(queries, hits, strict=True)}
    runs["reranked"] = {}
    degraded = 0
    for name, query in queries.items():
        found = pipeline.retrieve(query, pipeline.retriever.k)
        degraded += found.degraded is not None
        runs["reranked"][name] = {item.id: float(len(found) - place) for place, item in enumerate(found)}
    figures = {}
    for stage, run in runs.items():
        scores = evaluate(run, judged, METRIC)
        low, high = interval(list(scores.per_query[METRIC].values()))
        figures[stage] = {METRIC: round(scores.mean[METRIC], 4), "interval": [round(low, 4), round(high, 4)]}
    print(figures, flush=True)
    return {"queries": len(queries), "candidates": pipeline.retriever.k, "degraded": degraded, "quality": figures}


def scifact(data: Path, asked: int) -> dict[str, Any]:
    collection = load_beir(data / "scifact")
    pipeline = RAGPipeline()
    start, before = time.perf_counter(), time.process_time()
    pipeline.index_documents([Passage(id=name, text=text) for name, text in collection.corpus.items()])
    seconds, used = time.perf_counter() - start, time.process_time() - before
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        pipeline.save(folder)
        saved, size = time.perf_counter() - start, size_of(Path(folder))
    timings = stages(pipeline, random.Random(0).sample(list(collection.queries.values()), asked))
    # Passages that many queries share are read once; their scores are the same.
    pipeline.retriever.reranker = CrossEncoder(cache_bytes=2**31)
    return {
        "documents": len(collection.corpus),
        "documents_per_s": round(len(collection.corpus) / seconds, 1),
        "processor_s": round(used, 2),
        "save_s": round(saved, 2),
        "size_bytes": size,
        **quality(pipeline, collection.queries, collection.qrels),
        **timings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--asked", type=int, default=60, help="queries whose stages are timed")
    parser.add_argument("--parts", nargs="+", default=["types", "handbook", "scifact"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "indexes.json")
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    parts = {
        "types": lambda: types(options.data, options.vectors, options.queries),
        "handbook": lambda: handbook(options.data, options.asked),
        "scifact": lambda: scifact(options.data, options.asked),
    }
    shown = ["DATA" if word == str(options.data) else word for word in sys.argv]
    if "--out" in shown:
        del shown[shown.index("--out") : shown.index("--out") + 2]
    for part in options.parts:
        results[part] = parts[part]()
        results[part]["load"] = [round(value, 1) for value in os.getloadavg()]
        results["machine"] = {
            "processor": platform.machine(),
            "cores": usable_cores(),
            "python": platform.python_version(),
        }
        results["versions"] = {name: version(name) for name in ("faiss-cpu", "bm25s", "numpy", "onnxruntime")}
        results["command"] = f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python {' '.join(shown)}"
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1), file=sys.stderr)


if __name__ == "__main__":
    main()
