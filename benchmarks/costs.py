"""CPU time of one query, by what is asked for: what docs/costs.md turns into money.

    python benchmarks/costs.py                 # measure, write benchmarks/results/costs.json
    python benchmarks/costs.py --price 0.03    # only print what a million queries cost at this price of a core-hour

CPU seconds of this process, all threads together, are what a machine is paid for, and depend far less on what else it
does than the time on the clock. Texts are the handbook's English sections, queries its English questions. Ways
alternate query by query; figures are means over queries after the first of each, because a bill adds up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "costs.json"
DEFAULT_PRICE = 0.04
ROUNDS = 1
Ask = Callable[[str], object]


def handbook() -> tuple[list[str], list[str]]:
    """Return the English sections and questions."""
    sys.path.insert(0, str(ROOT / "examples"))
    from staff_handbook import load_questions, load_sections

    texts = [section.text for section in load_sections() if section.language == "en"]
    return texts, [question.text for question in load_questions() if question.language == "en"]


def ways(texts: list[str]) -> dict[str, Ask]:
    """Return what is measured, each a function of the query."""
    from semantic_ranker import CrossEncoder, Embedder, RAGPipeline

    draw = random.Random(0)
    new, known = CrossEncoder(threads=1, cache_bytes=0), CrossEncoder(threads=1)
    known.rank("warm", texts)
    embedder = Embedder(threads=1)
    pipeline = RAGPipeline(top_k_retrieval=20, top_k_rerank=5, retriever_model=embedder, reranker_model=known)
    pipeline.index_documents(texts)
    return {
        "rerank 20 passages that are new": lambda query: new.rank(query, draw.sample(texts, 20)),
        "rerank 20 passages that are known": lambda query: known.rank(query, draw.sample(texts, 20)),
        "rerank 50 passages that are known": lambda query: known.rank(query, draw.sample(texts, 50)),
        "embed the query (static model)": lambda query: embedder.embed_queries([query]),
        "pipeline: hybrid search, 20 known passages reranked": pipeline.retrieve_and_rerank,
    }


def measure(texts: list[str], queries: list[str]) -> dict[str, list[float]]:
    """Return CPU seconds of each query by way; the ways alternate."""
    asked = ways(texts)
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for ask in asked.values():
        ask(queries[0])
    for number in range(ROUNDS):
        for query in queries[1:]:
            for name, ask in asked.items():
                start = time.process_time()
                ask(f"{query} {number}")  # another text each round, so that no vector of a query is remembered
                taken[name].append(time.process_time() - start)
    return taken


def dollars(cpu_s: float, price: float) -> float:
    """Return what a million queries cost at this price of a core-hour."""
    return cpu_s * 1e6 / 3600 * price


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--price", type=float, help="of a core-hour; prints, measures nothing")
    options = parser.parse_args()
    if options.price is None:
        texts, queries = handbook()
        found = measure(texts, queries)
        RESULT.write_text(json.dumps(report(found, texts, queries), indent=2) + "\n", encoding="utf-8")
    for name, part in json.loads(RESULT.read_text(encoding="utf-8"))["ways"].items():
        money = dollars(part["cpu_s_mean"], options.price or DEFAULT_PRICE)
        print(f"{name:<54} {1000 * part['cpu_s_mean']:9.2f} ms CPU {money:9.2f} a million")


def report(found: dict[str, list[float]], texts: list[str], queries: list[str]) -> dict[str, Any]:
    from semantic_ranker import CrossEncoder

    encoder = CrossEncoder()
    return {
        "what": "CPU seconds a query of one process, all threads together, means; one scoring thread",
        "ways": {
            name: {
                "queries": len(taken),
                "cpu_s_mean": round(statistics.mean(taken), 6),
                "cpu_s_median": round(statistics.median(taken), 6),
            }
            for name, taken in found.items()
        },
        "passages": len(texts),
        "words_a_passage": round(statistics.mean(len(text.split()) for text in texts), 1),
        "words_a_query": round(statistics.mean(len(query.split()) for query in queries), 1),
        "model": encoder.model_name,
        "precision": encoder.precision,
        "default_price_a_core_hour": DEFAULT_PRICE,
        "load_average_at_end": os.getloadavg()[0],
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("onnxruntime", "numpy", "tokenizers")},
        "command": "python benchmarks/costs.py",
    }


if __name__ == "__main__":
    main()
