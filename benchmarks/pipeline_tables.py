"""The tables of docs/rag.md: a pipeline by stage, beside others, and what the types of index miss."""

from __future__ import annotations

from typing import Any

from table_parts import read, rows

STAGES = ("BM25", "dense", "RRF", "reranked")
COLLECTIONS = {"handbook": "18F handbook, 60 questions", "scifact": "scifact, 300 claims"}


def _with_interval(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['nDCG@10']:.3f} [{low:.3f}, {high:.3f}]"


def stages() -> str:
    found = read("indexes")
    names = [name for name in COLLECTIONS if name in found]
    quality = rows(
        ("nDCG@10", "BM25", "static vectors", "RRF of both", "reranked"),
        ((COLLECTIONS[name], *(_with_interval(found[name]["quality"][stage]) for stage in STAGES)) for name in names),
    )
    times = rows(
        ("", "documents/s", "on disk", "first stage", "reranking 50, new passages", "precomputed", "on disk then"),
        (
            (
                COLLECTIONS[name].split(",")[0],
                f"{part['documents_per_s']:.0f}",
                f"{part['size_bytes'] / 1e6:.1f} MB",
                _times(part["latency_ms"]["first_stage"]),
                _times(part["latency_ms"]["rerank"]),
                _times(part["precomputed"]["latency_ms"]["rerank"]) if "precomputed" in part else "",
                f"{part['precomputed']['size_bytes'] / 1e6:.0f} MB" if "precomputed" in part else "",
            )
            for name in names
            for part in [found[name]]
        ),
    )
    machine, versions = found["machine"], found["versions"]
    return (
        f"{quality}\n\n{times}\n\nMilliseconds: median (95th percentile) of {found['handbook']['timed']} queries, one after "
        f"the other, on {machine['cores']} cores; handbook passages have 200 to 600 tokens. The bundled models, "
        f"onnxruntime {versions['onnxruntime']}, faiss {versions['faiss-cpu']}. `{found['command']}`"
    )


def _times(figure: dict[str, float]) -> str:
    digits = 1 if figure["p50"] < 100 else 0
    return f"{figure['p50']:.{digits}f} ({figure['p95']:.{digits}f})"


def types() -> str:
    found = read("indexes")["types"]["types"]
    return rows(
        ("index", "recall@10", "search", "on disk"),
        (
            (
                name,
                f"{part['recall@10']:.3f}",
                f"{part['latency_ms']['p50']:.2f} ms",
                f"{part['size_bytes'] / 1e6:.0f} MB",
            )
            for name, part in found.items()
        ),
    )


def others() -> str:
    found = read("pipeline")
    table = rows(
        ("pipeline", "nDCG@10", "ms a query, median", "time, LangChain's = 1", "processor time, LangChain's = 1"),
        (
            (
                name,
                _with_interval(part),
                f"{part['clock_ms']['p50']:.0f}",
                f"{part['ratio_to_langchain']['clock']:.2f}",
                f"{part['ratio_to_langchain']['processor']:.2f}",
            )
            for name, part in found["systems"].items()
        ),
    )
    return (
        f"{table}\n\n{found['documents']} documents and {found['queries']} claims of scifact, {found['candidates']} "
        f"candidates. All but the last row run {found['models']['embedder']} and this reranker: "
        f"{found['models']['reranker']}. Ratios are medians over queries, which were asked of all systems in turn. "
        f"langchain-core {found['versions']['langchain-core']}, llama-index-core "
        f"{found['versions']['llama-index-core']}, torch {found['versions']['torch']}. `python benchmarks/pipeline.py`"
    )
