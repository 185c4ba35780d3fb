"""Our pipeline against LangChain's and LlamaIndex's own, on the same models, in one interleaved run.

    python benchmarks/pipeline.py --data DATA --embedder BI_ENCODER --reranker CROSS_ENCODER

LangChain's is `InMemoryVectorStore` with `HuggingFaceEmbeddings`, then `ContextualCompressionRetriever` with
`CrossEncoderReranker(HuggingFaceCrossEncoder)`; LlamaIndex's is `VectorStoreIndex` with `HuggingFaceEmbedding`, then
`SentenceTransformerRerank`. BI_ENCODER and CROSS_ENCODER are sentence-transformers folders, which all of them open, cut
to as many tokens. Documents are those that queries of scifact need, and others up to the number; the queries are asked
one after the other, each of every pipeline before the next. Needs langchain-community, langchain-huggingface,
llama-index-embeddings-huggingface and sentence-transformers. Writes results/pipeline.json.

Processor time is that of the whole process, so it is a fair measure on a machine with other work; the clock is not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ranker import CrossEncoder, evaluate
from semantic_ranker._machine import usable_cores
from semantic_ranker.collections import load_beir
from semantic_ranker.embedder import Embedder
from semantic_ranker.evaluation import interval
from semantic_ranker.indexes import Passage, PassageIndex
from semantic_ranker.retrieval import TwoStageRetriever

ROOT = Path(__file__).resolve().parent.parent
METRIC = "nDCG@10"
MAX_LENGTH = {"embedder": 256, "reranker": 256}
Ask = Callable[[str], list[str]]


class Dense:
    """Our index by vectors alone, as the others search."""

    def __init__(self, index: PassageIndex) -> None:
        self._index = index

    def search_many(self, queries: Sequence[str], k: int, *, where: Any = None) -> Any:
        return self._index.search_many(queries, k, mode="dense", where=where)


def ours(embedder: str | None, reranker: str | None, precision: str, dense: bool) -> Callable[..., Ask]:
    def build(corpus: dict[str, str], k: int, top_n: int) -> Ask:
        bi = Embedder(embedder, precision=precision, max_length=MAX_LENGTH["embedder"] if embedder else None)
        cross = CrossEncoder(reranker, precision=precision, max_length=MAX_LENGTH["reranker"] if reranker else None)
        index = PassageIndex(bi)
        index.add(Passage(id=name, text=text) for name, text in corpus.items())
        retriever = TwoStageRetriever(Dense(index) if dense else index, cross, k=k, top_n=top_n)

        def ask(query: str) -> list[str]:
            found = retriever.retrieve(query)
            assert found.degraded is None, found.degraded
            return [item.id for item in found]

        return ask

    return build


def langchain(embedder: str, reranker: str) -> Callable[..., Ask]:
    def build(corpus: dict[str, str], k: int, top_n: int) -> Ask:
        from langchain_classic.retrievers import ContextualCompressionRetriever
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder
        from langchain_core.documents import Document
        from langchain_core.vectorstores import InMemoryVectorStore
        from langchain_huggingface import HuggingFaceEmbeddings

        embeddings = HuggingFaceEmbeddings(model_name=embedder, model_kwargs={"device": "cpu"})
        embeddings._client.max_seq_length = MAX_LENGTH["embedder"]
        store = InMemoryVectorStore(embeddings)
        store.add_documents([Document(text, id=name, metadata={"id": name}) for name, text in corpus.items()])
        model = HuggingFaceCrossEncoder(model_name=reranker, model_kwargs={"device": "cpu"})
        model.client.max_length = MAX_LENGTH["reranker"]
        retriever = ContextualCompressionRetriever(
            base_compressor=CrossEncoderReranker(model=model, top_n=top_n),
            base_retriever=store.as_retriever(search_kwargs={"k": k}),
        )
        return lambda query: [document.metadata["id"] for document in retriever.invoke(query)]

    return build


def llama_index(embedder: str, reranker: str) -> Callable[..., Ask]:
    def build(corpus: dict[str, str], k: int, top_n: int) -> Ask:
        from llama_index.core import VectorStoreIndex
        from llama_index.core.postprocessor import SentenceTransformerRerank
        from llama_index.core.schema import QueryBundle, TextNode
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        embeddings = HuggingFaceEmbedding(embedder, max_length=MAX_LENGTH["embedder"], device="cpu")
        nodes = [TextNode(text=text, id_=name) for name, text in corpus.items()]
        retriever = VectorStoreIndex(nodes, embed_model=embeddings).as_retriever(similarity_top_k=k)
        rerank = SentenceTransformerRerank(model=reranker, top_n=top_n, device="cpu")
        rerank._model.max_length = MAX_LENGTH["reranker"]

        def ask(query: str) -> list[str]:
            found = rerank.postprocess_nodes(retriever.retrieve(query), QueryBundle(query))
            return [node.node.node_id for node in found]

        return ask

    return build


def part_of(data: Path, documents: int, queries: int) -> tuple[dict[str, str], dict[str, str], dict[str, Any]]:
    collection = load_beir(data / "scifact")
    names = sorted(name for name, grades in collection.qrels.items() if any(grade > 0 for grade in grades.values()))
    random.Random(0).shuffle(names)
    names = names[:queries]
    qrels = {name: dict(collection.qrels[name]) for name in names}
    wanted = {document for grades in qrels.values() for document in grades}
    others = [name for name in collection.corpus if name not in wanted]
    random.Random(1).shuffle(others)
    kept = {*wanted, *others[: max(0, documents - len(wanted))]}
    corpus = {name: text for name, text in collection.corpus.items() if name in kept}
    return corpus, {name: collection.queries[name] for name in names}, qrels


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    start, used = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - used


def measured(options: argparse.Namespace) -> dict[str, Any]:
    corpus, queries, qrels = part_of(options.data, options.documents, options.queries)
    bi, cross = str(options.embedder), str(options.reranker)
    systems = {
        "LangChain": langchain(bi, cross),
        "LlamaIndex": llama_index(bi, cross),
        "ours, vectors alone, fp32": ours(bi, cross, "fp32", True),
        "ours, as installed, these models": ours(bi, cross, "auto", False),
        "ours, as installed, bundled models": ours(None, None, "auto", False),
    }
    asks: dict[str, Ask] = {}
    result: dict[str, Any] = {name: {} for name in systems}
    for name, build in systems.items():
        asks[name], clock, used = timed(lambda build=build: build(corpus, options.candidates, options.top_n))
        result[name]["index_s"] = {"clock": round(clock, 2), "processor": round(used, 2)}
        asks[name]("warm up")
        print(name, result[name], flush=True)
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    order = list(systems)
    for place, (query_name, query) in enumerate(queries.items()):
        turn = place % len(order)
        for name in order[turn:] + order[:turn]:
            found, clock, used = timed(lambda name=name, query=query: asks[name](query))
            runs[name][query_name] = {document: -float(rank) for rank, document in enumerate(found)}
            times[name].append((clock, used))
    for name in systems:
        scores = evaluate(runs[name], qrels, METRIC)
        low, high = interval(list(scores.per_query[METRIC].values()))
        clock, used = 1000 * np.array(times[name]).T
        result[name] |= {
            METRIC: round(scores.mean[METRIC], 4),
            "interval": [round(low, 4), round(high, 4)],
            "clock_ms": {f"p{share}": round(float(np.percentile(clock, share)), 1) for share in (50, 95)},
            "processor_ms": {f"p{share}": round(float(np.percentile(used, share)), 1) for share in (50, 95)},
            "same_first_as_langchain": round(
                float(np.mean([best(runs[name][key]) == best(runs["LangChain"][key]) for key in queries])), 3
            ),
            "ratio_to_langchain": {
                "clock": round(float(np.median(clock / (1000 * np.array(times["LangChain"])[:, 0]))), 3),
                "processor": round(float(np.median(used / (1000 * np.array(times["LangChain"])[:, 1]))), 3),
            },
        }
    return {"documents": len(corpus), "queries": len(queries), "candidates": options.candidates, "systems": result}


def best(run: dict[str, float]) -> str | None:
    return max(run, key=lambda name: run[name], default=None)


def without_out(words: list[str]) -> list[str]:
    gone = {place for place, word in enumerate(words) if word == "--out"}
    return [word for place, word in enumerate(words) if not {place, place - 1} & gone]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder", type=Path, required=True)
    parser.add_argument("--reranker", type=Path, required=True)
    parser.add_argument("--reranker-is", default="", help="what the reranker is, for the result")
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--top-n", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pipeline.json")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    result = measured(options)
    places = {str(options.data): "DATA", str(options.embedder): "all-MiniLM-L6-v2", str(options.reranker): "RERANKER"}
    packages = (
        "langchain-core", "langchain-classic", "langchain-community", "langchain-huggingface", "llama-index-core",
        "llama-index-embeddings-huggingface", "sentence-transformers", "torch", "onnxruntime", "faiss-cpu", "numpy",
    )  # fmt: skip
    result |= {
        "models": {"embedder": "all-MiniLM-L6-v2", "reranker": options.reranker_is, "tokens": MAX_LENGTH},
        "machine": {
            "processor": platform.machine(),
            "cores": usable_cores(),
            "python": platform.python_version(),
            "load": [round(value, 1) for value in os.getloadavg()],
        },
        "versions": {name: version(name) for name in packages},
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python "
        + " ".join(places.get(word, word) for word in without_out(sys.argv)),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
