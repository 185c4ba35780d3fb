"""The contenders of latency.py, each a process of its own: opens one way to rerank, then answers a task a line.

python latency_contenders.py serve '{"kind": "ours", "folder": FOLDER, "precision": "int8", "threads": 2}'
python latency_contenders.py prepare FOLDER OUT      # writes the peers' own exports, in their interpreter
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LENGTH = 512
TOP = 10
Score = Callable[[str, Sequence[str]], Sequence[float]]


def ours(spec: dict[str, Any]) -> Score:
    from semantic_ranker import CrossEncoder

    more = {name: spec[name] for name in ("cache_bytes", "mode", "device") if name in spec}
    encoder = CrossEncoder(
        spec["folder"], precision=spec["precision"], threads=spec["threads"], other_languages="score", **more
    )
    if "mode" not in spec:
        return lambda query, texts: encoder.score(query, texts).tolist()

    def first(query: str, texts: Sequence[str]) -> Sequence[float]:
        found = {item.index: item.logit for item in encoder.rank(query, texts, top_k=TOP)}
        # Only the first ones have a score; the others stay behind them, in their order.
        return [found.get(row, -1e3 - row) for row in range(len(texts))]

    return first


def ours_langchain(spec: dict[str, Any]) -> Score:
    from langchain_core.documents import Document

    from semantic_ranker_langchain import SemanticRerank

    rerank = SemanticRerank(model=spec["folder"], precision=spec["precision"], top_n=10_000, other_languages="score")

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        documents = [Document(page_content=text, metadata={"row": row}) for row, text in enumerate(texts)]
        found = rerank.compress_documents(documents, query)
        return by_row([(d.metadata["row"], d.metadata["relevance_score"]) for d in found])

    return score


def ours_llama_index(spec: dict[str, Any]) -> Score:
    from llama_index.core.schema import NodeWithScore, TextNode

    from semantic_ranker_llama_index import SemanticRerank

    rerank = SemanticRerank(model=spec["folder"], precision=spec["precision"], top_n=10_000, other_languages="score")

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        nodes = [NodeWithScore(node=TextNode(text=text, id_=str(row))) for row, text in enumerate(texts)]
        found = rerank.postprocess_nodes(nodes, query_str=query)
        return by_row([(int(hit.node.node_id), hit.score) for hit in found])

    return score


def sentence_transformers(spec: dict[str, Any]) -> Score:
    from sentence_transformers import CrossEncoder

    options: dict[str, Any] = {}
    if spec["backend"] == "onnx":
        options = {"backend": "onnx", "model_kwargs": {"file_name": spec["file"], "export": False}}
    if spec.get("dtype"):
        options = {"model_kwargs": {"torch_dtype": spec["dtype"]}}
    model = CrossEncoder(spec["folder"], device=spec.get("device", "cpu"), local_files_only=True, **options)
    model.max_length = LENGTH
    more = {"batch_size": spec["batch"]} if spec.get("batch") else {}
    return lambda query, texts: model.predict([(query, t) for t in texts], show_progress_bar=False, **more).tolist()


def langchain(spec: dict[str, Any]) -> Score:
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder
    from langchain_core.documents import Document

    model = HuggingFaceCrossEncoder(model_name=spec["folder"], model_kwargs={"device": "cpu"})
    rerank = CrossEncoderReranker(model=model, top_n=10_000)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        found = rerank.compress_documents(
            [Document(page_content=t, metadata={"row": r}) for r, t in enumerate(texts)], query
        )
        # It returns an order, without the scores.
        return by_row([(d.metadata["row"], -float(rank)) for rank, d in enumerate(found)])

    return score


def llama_index(spec: dict[str, Any]) -> Score:
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

    rerank = SentenceTransformerRerank(model=spec["folder"], top_n=10_000, device="cpu")

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        nodes = [NodeWithScore(node=TextNode(text=text, id_=str(row))) for row, text in enumerate(texts)]
        found = rerank.postprocess_nodes(nodes, QueryBundle(query))
        return by_row([(int(hit.node.node_id), float(hit.score)) for hit in found])

    return score


def flashrank(spec: dict[str, Any]) -> Score:
    from flashrank import Ranker, RerankRequest

    folder = Path(spec["folder"])
    ranker = Ranker(model_name=folder.name, cache_dir=str(folder.parent), max_length=LENGTH)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        found = ranker.rerank(RerankRequest(query=query, passages=[{"id": r, "text": t} for r, t in enumerate(texts)]))
        return by_row([(hit["id"], float(hit["score"])) for hit in found])

    return score


def fastembed(spec: dict[str, Any]) -> Score:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model(
        model="same-weights", sources=ModelSource(hf="nobody/nothing"), model_file=spec["file"]
    )
    model = TextCrossEncoder("same-weights", specific_model_path=spec["folder"], threads=spec["threads"])
    more = {"batch_size": spec["batch"]} if spec.get("batch") else {}
    return lambda query, texts: list(model.rerank(query, texts, **more))


def rerankers(spec: dict[str, Any]) -> Score:
    from rerankers import Reranker

    model = Reranker(spec["folder"], model_type="cross-encoder", device="cpu", verbose=0)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        found = model.rank(query=query, docs=list(texts), doc_ids=list(range(len(texts))))
        return by_row([(int(hit.doc_id), float(hit.score)) for hit in found.results])

    return score


def by_row(found: list[tuple[int, float]]) -> list[float]:
    return [score for _, score in sorted(found)]


OPEN: dict[str, Callable[[dict[str, Any]], Score]] = {
    function.__name__: function
    for function in (
        ours, ours_langchain, ours_llama_index, sentence_transformers, langchain, llama_index, flashrank, fastembed,
        rerankers,
    )
}  # fmt: skip


def serve(spec: dict[str, Any]) -> None:
    """Answer one task a line; a task is a query and its texts."""
    # Libraries print while they load: what is read from us goes through a channel of its own.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        score = OPEN[spec["kind"]](spec)
        score("first", ["a text", "another text"])
        answer: dict[str, Any] = {"open": True}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(answer), file=channel, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        scores = [float(value) for value in score(task["query"], task["texts"])]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        status = Path("/proc/self/status").read_text()
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e3
        print(json.dumps({"wall": wall, "cpu": cpu, "scores": scores, "peak_mb": peak}), file=channel, flush=True)


def prepare_peers(source: str, out: str) -> None:
    """Write the peers' own exports; runs in their interpreter."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.backend import export_dynamic_quantized_onnx_model

    folder = Path(out) / "onnx-folder"
    model = CrossEncoder(
        source, device="cpu", backend="onnx", model_kwargs={"export": True, "provider": "CPUExecutionProvider"}
    )
    model.save_pretrained(str(folder))
    export_dynamic_quantized_onnx_model(model, "avx2", str(folder))
    words = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    words["truncation"], words["padding"] = None, None
    (folder / "tokenizer.json").write_text(json.dumps(words), "utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    for name in ("max_length", "model_max_length"):
        settings[name] = LENGTH
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    quantised = next(file.name for file in (folder / "onnx").glob("*quint8*.onnx"))
    # FlashRank opens the files of its own models by name.
    for name, file in (("fp32", "model.onnx"), ("int8", quantised)):
        place = Path(out) / f"flashrank-{name}" / "ms-marco-MiniLM-L-12-v2"
        place.mkdir(parents=True, exist_ok=True)
        for each in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            if (folder / each).is_file():
                shutil.copy(folder / each, place / each)
        if not (place / "special_tokens_map.json").is_file():
            tokens = {f"{kind}_token": settings[f"{kind}_token"] for kind in ("cls", "sep", "pad", "unk", "mask")}
            (place / "special_tokens_map.json").write_text(json.dumps(tokens), "utf-8")
        shutil.copy(folder / "onnx" / file, place / "flashrank-MiniLM-L-12-v2_Q.onnx")
    (Path(out) / "ready.json").write_text(json.dumps({"int8": f"onnx/{quantised}", "fp32": "onnx/model.onnx"}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(json.loads(sys.argv[2]))
    else:
        prepare_peers(*sys.argv[2:])
