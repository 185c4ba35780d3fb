"""What a cascade saves and what it loses: nDCG@10, texts and tokens that the model scores, seconds; and a score cache.

    python benchmarks/cascade.py --data ../shared/data            # measure the cascade that the bundled model has
    python benchmarks/cascade.py --data ../shared/data --fit      # fit it first, to training text; writes to the model

The fit sees queries and passages of DATA/train only. Full scores are read from runs/quality (see quality.py) where they
are, else computed. Time is that of new passages (nothing kept between queries), full and cascade in turn, query by
query; the score cache is measured on a trace of questions that come again (Zipf). Writes benchmarks/results/cascade.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from quality import CANDIDATES, METRIC, ROOT, STATES, Run, Task, prepare, reranked
from tokenizers import Tokenizer

from semantic_ranker import CrossEncoder, evaluate
from semantic_ranker.cache import TieredCache
from semantic_ranker.cascade.first_pass import shared_first_pass
from semantic_ranker.cascade.fitting import fit_cascade, samples_of, store_cascade
from semantic_ranker.cascade.selection import CascadeSettings, select
from semantic_ranker.evaluation import interval
from semantic_ranker.model_folder import BUNDLED

COLLECTIONS = ("cacm", "scifact", "nfcorpus", "cosqa")
TRAIN = {"qa-en": 60, "synopsis-en": 40}
TOP = 10


def fit(data: Path, model: Path, lost: float) -> None:
    samples = []
    with CrossEncoder(model, other_languages="score") as encoder:
        for name, count in TRAIN.items():
            with gzip.open(data / "train" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
            random.Random(1).shuffle(rows)
            documents = list(dict.fromkeys(row["positive"] for row in rows[:20_000]))
            queries = list(dict.fromkeys(row["query"] for row in rows))[:count]
            samples += list(samples_of(encoder, queries, documents))
    found = fit_cascade(samples, top=TOP, lost=lost)
    store_cascade(model, found)
    print("fitted", found.to_dict())


def cascaded(task: Task, full: Run, settings: CascadeSettings, tokenizer: Tokenizer) -> tuple[Run, dict[str, Any]]:
    """Return the run that the cascade gives, from the scores of the full one, and what it scored."""
    run: Run = {}
    texts_share, tokens_share, lost = [], [], []
    for query in task.queries:
        documents = list(task.bm25[query])
        if not documents:
            run[query] = {}
            continue
        texts = [task.collection.corpus[document] for document in documents]
        logits = np.asarray([full[query][document] for document in documents])
        estimates = settings.estimates(shared_first_pass().features(task.collection.queries[query], texts))
        found = select(estimates, TOP, settings.margin, lambda rows, of=logits: of[rows].tolist(), float)
        run[query] = {documents[row]: value for row, value in found.items()}
        tokens = [len(encoded.ids) for encoded in tokenizer.encode_batch_fast(texts)]
        texts_share.append(len(found) / len(documents))
        tokens_share.append(sum(tokens[row] for row in found) / sum(tokens))
        best = np.argsort(-logits, kind="stable")[:TOP].tolist()
        lost.append(sum(row not in found for row in best) / len(best))
    shares = {"texts_scored": texts_share, "tokens_scored": tokens_share, "top_lost": lost}
    return run, {name: round(statistics.mean(values), 4) for name, values in shares.items()}


def quality(task: Task, full: Run, settings: CascadeSettings, tokenizer: Tokenizer) -> dict[str, Any]:
    """Compare the cascade's first texts with those of scoring all."""
    run, facts = cascaded(task, full, settings, tokenizer)
    exact, found = (evaluate(of, task.qrels, [METRIC]).per_query[METRIC] for of in (full, run))
    change = [found.get(query, 0.0) - value for query, value in exact.items()]
    low, high = interval(change)
    return {
        "queries": len(task.queries),
        "full": round(statistics.mean(exact.values()), 4),
        "change": {"mean": round(statistics.mean(change), 4), "low": round(low, 4), "high": round(high, 4)},
        **facts,
    }


def macro(collections: list[dict[str, Any]]) -> dict[str, float]:
    """Return means over collections."""
    values = {
        "change": [found["change"]["mean"] for found in collections],
        "texts_scored": [found["texts_scored"] for found in collections],
        "tokens_scored": [found["tokens_scored"] for found in collections],
    }
    return {name: round(statistics.mean(of), 4) for name, of in values.items() if of}


def seconds(tasks: list[Task], model: Path, queries: int, threads: int) -> dict[str, Any]:
    """Time full and cascade in turn on new passages."""
    encoders = {
        mode: CrossEncoder(model, mode=mode, cache_bytes=0, threads=threads, other_languages="score")  # type: ignore[arg-type]
        for mode in ("full", "cascade")
    }
    ratios, cpu_ratios = [], []
    spent: dict[str, list[float]] = {mode: [] for mode in encoders}
    for task in tasks:
        chosen = [query for query in task.queries if len(task.bm25[query]) == CANDIDATES][:queries]
        for query in chosen:
            texts = [task.collection.corpus[document] for document in task.bm25[query]]
            wall, cpu = {}, {}
            for mode, encoder in encoders.items():
                started, used = time.perf_counter(), time.process_time()
                encoder.rank(task.collection.queries[query], texts, top_k=TOP)
                wall[mode], cpu[mode] = time.perf_counter() - started, time.process_time() - used
                spent[mode].append(wall[mode])
            ratios.append(wall["full"] / wall["cascade"])
            cpu_ratios.append(cpu["full"] / cpu["cascade"])
    return {
        "queries": len(ratios),
        "full_s_p50": round(statistics.median(spent["full"]), 3),
        "cascade_s_p50": round(statistics.median(spent["cascade"]), 3),
        "speedup": {
            "median": round(statistics.median(ratios), 2),
            "low": round(min(ratios), 2),
            "high": round(max(ratios), 2),
        },
        "cpu_speedup": round(statistics.median(cpu_ratios), 2),
    }


def trace(task: Task, model: Path, *, distinct: int, requests: int, candidates: int) -> dict[str, Any]:
    """Time questions that come again: nothing kept, states of passages kept (the default), scores of pairs kept."""
    scores = TieredCache(codec="fp32")
    encoders = {
        "nothing kept": CrossEncoder(model, cache_bytes=0, other_languages="score"),
        "passage states (default)": CrossEncoder(model, cache_bytes=64_000_001, other_languages="score"),
        "pair scores": CrossEncoder(model, cache_bytes=0, score_cache=scores, other_languages="score"),
    }
    chosen = [query for query in task.queries if len(task.bm25[query]) >= candidates][:distinct]
    weights = [1 / (rank + 1) for rank in range(len(chosen))]
    asked = random.Random(0).choices(chosen, weights, k=requests)
    spent: dict[str, list[float]] = {name: [] for name in encoders}
    for query in asked:
        texts = [task.collection.corpus[document] for document in list(task.bm25[query])[:candidates]]
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder.rank(task.collection.queries[query], texts, top_k=TOP)
            spent[name].append(1000 * (time.perf_counter() - started))
    stats = scores.stats()
    return {
        "trace": f"{requests} requests, {len(chosen)} distinct questions of {task.name}, Zipf, {candidates} candidates",
        "repeated": round(1 - len(set(asked)) / requests, 3),
        "hit_rate": round(stats.hits / stats.lookups, 3),
        "ms": {
            name: {"p50": round(statistics.median(of), 2), "mean": round(statistics.mean(of), 2)}
            for name, of in spent.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--fit", action="store_true", help="fit the cascade to DATA/train, and store it with the model")
    parser.add_argument("--lost", type=float, default=0.05, help="share of the top that the fit may lose")
    parser.add_argument("--max-queries", type=int, help="at most so many queries a collection")
    parser.add_argument("--parts", nargs="+", default=[*COLLECTIONS, "seconds", "trace"], help="what to measure anew")
    parser.add_argument("--timed", type=int, default=4, help="queries a collection that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/cascade.json")
    options = parser.parse_args()
    if options.fit:
        fit(options.data, options.model, options.lost)
    encoder = CrossEncoder(options.model, cache_bytes=STATES)
    stored = json.loads((options.model / "semantic_ranker.json").read_text())["cascade"]
    settings = CascadeSettings(weights=tuple(stored["weights"]), margin=stored["margin"])
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    store = ROOT / "runs/quality" / encoder.fingerprint[:12]
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    result |= {
        "what": f"{METRIC} and work of mode='cascade' (top {TOP} of BM25's {CANDIDATES}) against scoring all",
        "model": {"name": encoder.model_name, "precision": encoder.precision, "fingerprint": encoder.fingerprint},
        "fitted": {**stored, "to": f"text of DATA/train ({', '.join(TRAIN)}), never the collections below"},
    }
    collections = result.setdefault("collections", {})
    for name in options.parts:
        if name in COLLECTIONS:
            task = prepare(options.data / name, options.max_queries)
            full = reranked(task, encoder, store / f"{name}.{encoder.precision}.json")
            collections[name] = quality(task, full, settings, tokenizer)
            print(name, collections[name], flush=True)
    if "seconds" in options.parts:
        few = [prepare(options.data / name, 3 * options.timed) for name in COLLECTIONS]
        result["seconds"] = seconds(few, options.model, options.timed, options.threads)
    if "trace" in options.parts:
        task = prepare(options.data / COLLECTIONS[0], None)
        result["score_cache"] = trace(task, options.model, distinct=30, requests=100, candidates=30)
    result |= {
        "macro": macro(list(collections.values())),
        "load_average_at_end": round(os.getloadavg()[0], 2),
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": options.threads},
        "versions": {name: version(name) for name in ("semantic-ranker", "onnxruntime", "tokenizers")},
        "command": "python benchmarks/cascade.py --data DATA" + (" --fit" if options.fit else ""),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print("wrote", options.out, file=sys.stderr)


if __name__ == "__main__":
    main()
