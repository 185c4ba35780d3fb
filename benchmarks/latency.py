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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from latency_contenders import LENGTH, TOP

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = str(Path(__file__).with_name("latency_contenders.py"))
COLLECTIONS = ("cosqa", "cacm", "scifact")
MOST_MB = 1500
IDLE_TICKS = 2  # hundredths of a second of processor time in a tenth of a second
COUNTS = (20, 50, 100)
SHIPPED = ("bundled", "tiny")  # other weights than the peers have
CASCADE = "cascade-model"
BASELINE = "sentence-transformers torch, as installed"
FITTED = 24  # queries of training text that the cascade is fitted to
# Linear layers of one token and attention of one token for each other token, in FLOP, for six layers of 384.
LINEAR, ATTENTION = 21.23e6, 9216.0


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
    for name, shipped in (("bundled", bundled), ("tiny", {**bundled, "folder": "reranker-en-tiny"})):
        found[f"{name} int8, cascade, first {TOP}, new passages"] = (
            mine, {**shipped, "mode": "cascade", "cache_bytes": 0},
        )  # fmt: skip
        found[f"{name} int8, new passages"] = (mine, {**shipped, "cache_bytes": 0})
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


class Contender:
    def __init__(self, name: str, python: str, spec: dict[str, Any], kept: Path | None = None) -> None:
        self.name, self.twice, self.kept = name, bool(spec.get("twice")), kept
        cores = sorted(os.sched_getaffinity(0))[: spec["threads"]]
        environment = {
            **os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1",
            "OMP_NUM_THREADS": str(spec["threads"]),
        }  # fmt: skip
        self._open = lambda: subprocess.Popen(
            [python, CONTENDERS, "serve", json.dumps(spec)],
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


def settle() -> None:
    """Wait until the machine is idle, two seconds at most: threads that still spin would slow the next contender."""

    def busy() -> float:
        with open("/proc/stat") as file:
            times = [int(value) for value in file.readline().split()[1:]]
        return sum(times) - times[3] - times[4]

    for _ in range(20):
        before = busy()
        time.sleep(0.1)
        if busy() - before <= IDLE_TICKS:
            return


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
                settle()
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
        if not name.startswith(SHIPPED) and "cascade" not in name and "cuda" not in name:
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
        colour = "#d1495b" if name.startswith("ours") else "#8f2d56" if name.startswith(SHIPPED) else "#5b8db8"
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
    if not options.model:
        parser.error("expected --model FOLDER: a [CLS] cross-encoder as `semantic-ranker train` writes it")
    peers = options.scratch / "peers"
    if options.peers_python and not (peers / "ready.json").is_file():
        peers.mkdir(parents=True, exist_ok=True)
        subprocess.run([options.peers_python, CONTENDERS, "prepare", options.model, str(peers)], check=True)
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


if __name__ == "__main__":
    main()
