"""Latency of reranking beside what people use today: the same cross-encoder weights and the same texts, in one run.

    python benchmarks/latency.py --data DATA --model FOLDER --peers-python VENV/bin/python

FOLDER is a `[CLS]` cross-encoder of MiniLM's shape as `semantic-ranker train` writes it (safetensors, ONNX fp32 and
int8). The peers' interpreter has sentence-transformers[onnx], fastembed, flashrank, rerankers, langchain-classic,
langchain-community, llama-index-postprocessor-sbert-rerank and psutil; their ONNX files are made by their own exporter.

Every contender is a process of its own, pinned to the same cores, and answers one task at a time. The tasks of all
alternate, so that a busy machine slows all alike; figures are medians over queries, ratios are taken query by query.
``as installed`` is a library's default, ``tuned`` its best setting, which is one text a batch. The bundled model has
other weights, and stands apart. Answers are kept under runs/latency, so that a run that was stopped goes on where it
was (``--fresh`` forgets them); twenty minutes in all on two quiet cores. On a machine with a GPU, ``--device cuda``
adds sentence-transformers and our torch backend there, in fp32, fp16 and bf16.
Writes benchmarks/results/latency.json and .svg.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = ("cosqa", "cacm", "scifact")
MOST_MB = 1500
COUNTS = (20, 50, 100)
CASCADE = "cascade-model"
BASELINE = "sentence-transformers torch, as installed"
LENGTH = 512
TOP = 10
FITTED = 24  # queries of training text that the cascade is fitted to
# Linear layers of one token and attention of one token for each other token, in FLOP, for six layers of 384.
LINEAR, ATTENTION = 21.23e6, 9216.0
Score = Callable[[str, Sequence[str]], Sequence[float]]


# ---------------------------------------------------------------- contenders, each in its own process


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


# ---------------------------------------------------------------- what the peers open


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


def prepare_cascade(options: argparse.Namespace, folder: Path) -> None:
    """Copy our folder, and fit a cascade to it on training text."""
    import gzip
    import random

    from semantic_ranker import CrossEncoder
    from semantic_ranker.cascade.fitting import fit_cascade, samples_of, store_cascade

    shutil.copytree(options.model, folder, dirs_exist_ok=True)
    with gzip.open(options.data / "train/qa-en.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    random.Random(2).shuffle(rows)
    documents = list(dict.fromkeys(row["positive"] for row in rows[:20_000]))
    queries = list(dict.fromkeys(row["query"] for row in rows))[:FITTED]
    with CrossEncoder(folder, precision="int8", threads=options.threads, other_languages="score") as encoder:
        fit = fit_cascade(list(samples_of(encoder, queries, documents)), top=TOP, lost=0.05)
    store_cascade(folder, fit)
    (folder / "fitted.json").write_text(json.dumps(fit.to_dict()), "utf-8")


def contenders(options: argparse.Namespace, peers: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    mine, theirs, model = sys.executable, options.peers_python, options.model
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for precision in ("fp32", "int8"):
        found[f"ours {precision}"] = (mine, {"kind": "ours", "folder": model, "precision": precision})
    found["ours int8 in LangChain"] = (mine, {"kind": "ours_langchain", "folder": model, "precision": "int8"})
    found["ours int8 in LlamaIndex"] = (mine, {"kind": "ours_llama_index", "folder": model, "precision": "int8"})
    cascade = {"kind": "ours", "folder": str(peers / CASCADE), "precision": "int8", "mode": "cascade"}
    found[f"ours int8, cascade, first {TOP}"] = (mine, cascade)
    bundled = {"kind": "ours", "folder": None, "precision": "int8"}
    found[f"bundled int8, cascade, first {TOP}, new passages"] = (
        mine, {**bundled, "mode": "cascade", "cache_bytes": 0},
    )  # fmt: skip
    found["bundled int8, new passages"] = (mine, {**bundled, "cache_bytes": 0})
    found["bundled int8, known passages"] = (mine, {**bundled, "cache_bytes": 2_000_000_000, "twice": True})
    if theirs:
        files = json.loads((peers / "ready.json").read_text())
        onnx = str(peers / "onnx-folder")
        torch = {"kind": "sentence_transformers", "backend": "torch", "folder": model}
        found[BASELINE] = (theirs, torch)
        found["sentence-transformers torch, tuned"] = (theirs, {**torch, "batch": 1})
        for precision, file in files.items():
            exported = {"kind": "sentence_transformers", "backend": "onnx", "folder": onnx, "file": file}
            fast = {"kind": "fastembed", "folder": onnx, "file": file}
            name = f"sentence-transformers ONNX {precision}"
            found |= {f"{name}, as installed": (theirs, exported), f"{name}, tuned": (theirs, {**exported, "batch": 1})}
            name = f"fastembed {precision}"
            found |= {f"{name}, as installed": (theirs, fast), f"{name}, tuned": (theirs, {**fast, "batch": 1})}
            folder = str(peers / f"flashrank-{precision}" / "ms-marco-MiniLM-L-12-v2")
            found[f"FlashRank {precision}"] = (theirs, {"kind": "flashrank", "folder": folder})
        found["rerankers"] = (theirs, {"kind": "rerankers", "folder": model})
        found["LangChain CrossEncoderReranker"] = (theirs, {"kind": "langchain", "folder": model})
        found["LlamaIndex SentenceTransformerRerank"] = (theirs, {"kind": "llama_index", "folder": model})
    if options.device == "cuda":
        for precision, dtype in (("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16")):
            found[f"ours {precision}, cuda"] = (
                mine, {"kind": "ours", "folder": model, "precision": precision, "device": "cuda"},
            )  # fmt: skip
            if theirs:
                gpu = {"kind": "sentence_transformers", "backend": "torch", "folder": model, "device": "cuda"}
                found[f"sentence-transformers torch {precision}, cuda"] = (theirs, {**gpu, "dtype": dtype})
    return {name: (python, {**spec, "threads": options.threads}) for name, (python, spec) in found.items()}


# ---------------------------------------------------------------- the run


class Contender:
    def __init__(self, name: str, python: str, spec: dict[str, Any], kept: Path | None = None) -> None:
        self.name, self.twice, self.kept = name, bool(spec.get("twice")), kept
        cores = sorted(os.sched_getaffinity(0))[: spec["threads"]]
        environment = {
            **os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1",
            "OMP_NUM_THREADS": str(spec["threads"]),
        }  # fmt: skip
        self._open = lambda: subprocess.Popen(
            [python, __file__, "--serve", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.started = time.perf_counter()
        self.process = self._open()
        self.hello = self._read()
        self.answers: dict[int, list[dict[str, Any]]] = {count: [] for count in COUNTS}
        for line in kept.read_text().splitlines() if kept and kept.is_file() else ():
            count, answer = json.loads(line)
            self.answers[count].append(answer)

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        return json.loads(line) if line else {"error": "the process ended"}

    def ask(self, query: str, texts: list[str]) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"query": query, "texts": texts}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def answer(self, number: int, count: int, task: dict[str, Any]) -> None:
        """Answer a task that was not answered in an earlier run; tasks of a count come in order."""
        if len(self.answers[count]) > number:
            return
        if self.twice:
            self.ask(task["query"], task["texts"][:count])
        self.answers[count].append(self.ask(task["query"], task["texts"][:count]))
        if self.kept:
            with self.kept.open("a") as file:
                file.write(json.dumps([count, self.answers[count][-1]]) + "\n")
        if self.answers[count][-1]["peak_mb"] > MOST_MB:
            # Padded batches of long texts leave gigabytes behind; all contenders live at once.
            self.close()
            self.process = self._open()
            self._read()
            self.ask(task["query"], task["texts"][: min(COUNTS)])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=120)


def tasks(data: Path, count: int) -> list[dict[str, Any]]:
    """Return real queries of several collections with BM25's candidates, in turn."""
    from quality import prepare

    found: list[list[dict[str, Any]]] = []
    for name in COLLECTIONS:
        task = prepare(data / name, -(-count // len(COLLECTIONS)) * 2)
        queries = [query for query in task.queries if len(task.bm25[query]) >= max(COUNTS)]
        found.append([
            {
                "collection": name,
                "id": query,
                "query": task.collection.queries[query],
                "documents": list(task.bm25[query])[: max(COUNTS)],
                "texts": [task.collection.corpus[d] for d in list(task.bm25[query])[: max(COUNTS)]],
                "qrels": dict(task.collection.qrels[query]),
            }
            for query in queries
        ])  # fmt: skip
    return [task for group in zip(*found, strict=False) for task in group][:count]


def limits(threads: int) -> dict[str, float]:
    """Measure what one core's matrix product reaches: FLOP/s in fp32 and OP/s in int8, best of many short runs."""
    import numpy as np
    import onnxruntime as ort
    from onnx import TensorProto, helper

    rows, inner, columns = 128, 384, 1536
    rng = np.random.default_rng(0)
    found = {}
    for name, kinds, op in (
        ("fp32", (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT), "MatMul"),
        ("int8", (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32), "MatMulInteger"),
    ):
        weight = rng.integers(-60, 60, (inner, columns))
        types = {TensorProto.FLOAT: np.float32, TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8}
        initial = helper.make_tensor("w", kinds[1], weight.shape, weight.astype(types[kinds[1]]).tobytes(), raw=True)
        graph = helper.make_graph(
            [helper.make_node(op, ["x", "w"], ["y"])], "g",
            [helper.make_tensor_value_info("x", kinds[0], [rows, inner])],
            [helper.make_tensor_value_info("y", kinds[2], [rows, columns])], [initial],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = 1
        session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        x = {"x": rng.integers(0, 100, (rows, inner)).astype(types[kinds[0]])}
        times = []
        for _ in range(300):
            start = time.perf_counter()
            session.run(None, x)
            times.append(time.perf_counter() - start)
        found[name] = threads * 2 * rows * inner * columns / min(times)
    return found


def least_seconds(batch: list[dict[str, Any]], peak: dict[str, float], tokenizer: Any) -> dict[str, float]:
    """Return the seconds that a task's arithmetic takes at the measured limit: int8 has its attention in fp32.

    The last layer is counted for the first token only, and so is what any contender must compute.
    """
    totals = {"fp32": 0.0, "int8": 0.0}
    for task in batch:
        for encoded in tokenizer.encode_batch_fast([(task["query"], text) for text in task["texts"]]):
            tokens = min(len(encoded.ids), LENGTH)
            # Of the last layer, keys and values (2 of 12 parts of its products) are needed of every token.
            linear = LINEAR * tokens * (5 + 2 / 12) / 6
            attention = ATTENTION * tokens * tokens * 5 / 6
            totals["fp32"] += (linear + attention) / peak["fp32"]
            totals["int8"] += linear / peak["int8"] + attention / peak["fp32"]
    return {name: total / len(batch) for name, total in totals.items()}


def agreement(mine: list[dict[str, Any]], exact: list[dict[str, Any]]) -> dict[str, float]:
    """Return Kendall's tau and the share of the first ten that are the same, of one query's list each, on average."""
    import numpy as np
    from scipy.stats import kendalltau

    taus, overlaps = [], []
    for a, b in zip(mine, exact, strict=True):
        taus.append(float(kendalltau(a["scores"], b["scores"]).statistic))
        tops = [set(np.argsort(-np.asarray(x["scores"]), kind="stable")[:10].tolist()) for x in (a, b)]
        overlaps.append(len(tops[0] & tops[1]) / 10)
    return {"kendall_tau": round(statistics.mean(taus), 4), "top10_overlap": round(statistics.mean(overlaps), 3)}


def quality(batch: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, float]:
    from semantic_ranker import evaluate

    run = {
        f"{t['collection']}/{t['id']}": dict(zip(t["documents"], a["scores"], strict=True))
        for t, a in zip(batch, answers, strict=True)
    }
    qrels = {f"{t['collection']}/{t['id']}": t["qrels"] for t in batch}
    return evaluate(run, qrels, ["nDCG@10"]).per_query["nDCG@10"]


def cold_starts(wanted: dict[str, tuple[str, dict[str, Any]]], task: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return the median seconds from the start of a process to the answer of its first 20 texts."""
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(rounds):
        for name, (python, spec) in wanted.items():
            contender = Contender(name, python, spec)
            if "error" not in contender.hello:
                contender.ask(task["query"], task["texts"][:20])
                found[name].append(time.perf_counter() - contender.started)
            contender.close()
    return {name: statistics.median(times) for name, times in found.items() if times}


def _kept(options: argparse.Namespace, name: str) -> Path:
    """Return where a contender's answers are kept: apart for each model, thread count and set of queries."""
    weights = Path(options.model) / "model.safetensors"
    key = f"{weights.stat().st_size}-{weights.stat().st_mtime_ns}-{options.threads}-{options.queries}-{options.device}"
    folder = options.scratch / "answers" / hashlib.sha256(key.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.jsonl"


def measure(options: argparse.Namespace, peers: Path) -> dict[str, Any]:
    import numpy as np
    from tokenizers import Tokenizer
    from tqdm import tqdm

    from semantic_ranker.evaluation import interval

    batch = tasks(options.data, options.queries)
    wanted = contenders(options, peers)
    running, failed = [], {}
    for name, (python, spec) in tqdm(wanted.items(), desc="opening", disable=None):
        contender = Contender(name, python, spec, _kept(options, name))
        if "error" in contender.hello:
            failed[name] = contender.hello["error"]
            print(f"{name}: left out: {contender.hello['error']}", file=sys.stderr)
        else:
            running.append(contender)
    for number, task in enumerate(tqdm(batch, desc="queries", disable=None)):
        for count in COUNTS:
            turn = (number + count) % len(running)
            for contender in running[turn:] + running[:turn]:
                contender.answer(number, count, task)
    tokenizer = Tokenizer.from_file(str(Path(options.model) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    peak = limits(options.threads)
    most = max(COUNTS)
    least = least_seconds(batch, peak, tokenizer)
    answered = {contender.name: contender for contender in running}
    base = answered.get(BASELINE) or running[0]
    exact, exact_ndcg = base.answers[most], quality(batch, base.answers[most])
    result = {}
    for name, contender in answered.items():
        walls = {count: [a["wall"] for a in found] for count, found in contender.answers.items()}
        ratios = [b["wall"] / w for b, w in zip(exact, walls[most], strict=True)]
        cpu = [b["cpu"] / a["cpu"] for b, a in zip(exact, contender.answers[most], strict=True)]
        scores = quality(batch, contender.answers[most])
        differences = [scores[query] - exact_ndcg[query] for query in scores]
        low, high = interval(differences)
        precision = "int8" if "int8" in name else "fp32"
        result[name] = {
            "pairs_per_s": round(most / statistics.median(walls[most]), 1),
            "ms": {
                str(count): {
                    "p50": round(1000 * statistics.median(times), 1),
                    "p95": round(1000 * float(np.percentile(times, 95)), 1),
                }
                for count, times in walls.items()
            },
            "speedup": {
                "median": round(statistics.median(ratios), 2),
                "low": round(min(ratios), 2),
                "high": round(max(ratios), 2),
            },
            "cpu_speedup": round(statistics.median(cpu), 2),
            "cpu_s_per_100": round(statistics.median(a["cpu"] for a in contender.answers[most]), 3),
            "peak_mb": round(max(a["peak_mb"] for found in contender.answers.values() for a in found)),
            **agreement(contender.answers[most], exact),
            "ndcg@10": round(statistics.mean(scores.values()), 4),
            "ndcg_change": {
                "mean": round(statistics.mean(differences), 4),
                "low": round(low, 4),
                "high": round(high, 4),
            },
        }
        if not name.startswith("bundled") and "cascade" not in name and "cuda" not in name:
            share = least[precision] / statistics.mean(walls[most])
            result[name]["share_of_limit"] = round(share, 3)
        contender.close()
    cold = cold_starts({name: wanted[name] for name in answered}, batch[0], options.cold_rounds)
    for name, seconds in cold.items():
        result[name]["cold_start_s"] = round(seconds, 2)
        result[name]["cold_speedup"] = round(cold[base.name] / seconds, 1)
    lengths = [len(e.ids) for t in batch for e in tokenizer.encode_batch_fast(t["texts"])]
    return {
        "contenders": result,
        "left_out": failed,
        "texts": {
            "queries": len(batch),
            "tokens": {
                name: round(float(np.percentile(lengths, p))) for name, p in (("p5", 5), ("median", 50), ("p95", 95))
            },
            "mean_tokens": round(float(np.mean(lengths)), 1),
        },
        "cascade": json.loads((peers / CASCADE / "fitted.json").read_text()),
        "limit": {f"{name}_gflops": round(value / 1e9, 1) for name, value in peak.items()},
        "least_seconds_for_100": {name: round(value, 3) for name, value in least.items()},
    }


def versions(python: str) -> dict[str, str]:
    names = (
        "semantic-ranker", "sentence-transformers", "torch", "onnxruntime", "fastembed", "flashrank", "rerankers",
        "langchain-classic", "llama-index-postprocessor-sbert-rerank", "tokenizers", "transformers",
    )  # fmt: skip
    if python == sys.executable:
        found = {}
        for name in names:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found
    code = "import json\nfrom importlib.metadata import distributions\n"
    code += "print(json.dumps({d.metadata['Name'].lower(): d.version for d in distributions()}))"
    installed = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    return {name: installed[name] for name in names if name in installed}


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "semantic-ranker", "svg.fonttype": "none", "font.family": "sans-serif"})
    shown = sorted(result["contenders"].items(), key=lambda item: -item[1]["ms"]["100"]["p50"])
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(shown) + 1.2))
    for place, (name, found) in enumerate(shown):
        p50, p95 = found["ms"]["100"]["p50"] / 1000, found["ms"]["100"]["p95"] / 1000
        colour = "#d1495b" if name.startswith("ours") else "#8f2d56" if name.startswith("bundled") else "#5b8db8"
        axes.barh(place, p50, color=colour)
        axes.plot([p50, p95], [place, place], color="#777777", linewidth=1)
        axes.text(
            p95 * 1.04,
            place,
            f"{p50:.2f} s" if p50 >= 0.1 else f"{1000 * p50:.0f} ms",
            va="center",
            fontsize=8,
            color="#777777",
        )
    axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("seconds to rerank 100 passages (bar: median, line: to the 95th percentile; logarithmic)")
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    for part in (axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
        part.set_color("#777777")
    axes.tick_params(colors="#777777", which="both")
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--model", help="folder of a [CLS] cross-encoder with safetensors, ONNX fp32 and int8")
    parser.add_argument("--peers-python", help="interpreter that has the peers")
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--fresh", action="store_true", help="forget the answers of earlier runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cold-rounds", type=int, default=1)
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs/latency")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/latency.json")
    options = parser.parse_args()
    if options.serve:
        return serve(json.loads(options.serve))
    if options.prepare:
        return prepare_peers(*options.prepare)
    if not options.model:
        parser.error("expected --model FOLDER: a [CLS] cross-encoder as `semantic-ranker train` writes it")
    peers = options.scratch / "peers"
    if options.peers_python and not (peers / "ready.json").is_file():
        peers.mkdir(parents=True, exist_ok=True)
        subprocess.run([options.peers_python, __file__, "--prepare", options.model, str(peers)], check=True)
    if not (peers / CASCADE / "fitted.json").is_file():
        prepare_cascade(options, peers / CASCADE)
    if options.fresh:
        shutil.rmtree(options.scratch / "answers", ignore_errors=True)
    result = {
        "what": f"reranking {max(COUNTS)} of BM25's candidates of {', '.join(COLLECTIONS)}; speed-ups against '{BASELINE}'"
        ", query by query, with the least and the most",
        **measure(options, peers),
        "threads": options.threads,
        "load_average_at_end": round(os.getloadavg()[0], 2),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions(sys.executable),
        "peers_versions": versions(options.peers_python) if options.peers_python else None,
        "command": f"python benchmarks/latency.py --data DATA --model FOLDER --queries {options.queries}"
        + (" --peers-python PYTHON" if options.peers_python else ""),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    plot(result, options.out.with_suffix(".svg"))
    for name, found in result["contenders"].items():
        print(
            f"{name:<46} {found['ms']['100']['p50']:>8} ms  {found['speedup']['median']:>6}x  tau {found['kendall_tau']}"
        )
    print("wrote", options.out)
    return None


if __name__ == "__main__":
    main()
