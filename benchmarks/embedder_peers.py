"""Our embedder beside sentence-transformers (torch, ONNX) and fastembed, on the same MiniLM weights, in one run.

    python benchmarks/embedder_peers.py --model FOLDER --peers-python VENV/bin/python --peers-model FOLDER

Each contender is its own process with its own threads, pinned to that many cores, and answers one task at a time; the
tasks of all contenders alternate, so that a busy machine slows all of them alike. Medians over the rounds. ``as
installed`` is the library's own default; ``tuned`` is texts sorted by length, small batches and threads as stated.
FOLDER is our export of all-MiniLM-L6-v2; the peers' folder is what sentence-transformers' own ONNX export saved.
sentence-transformers' ONNX backend needs an older version than its torch backend here, so ``--peers-python`` names an
interpreter with sentence-transformers[onnx] and fastembed; without it those are left out, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MANY = 10_000


def passages(count: int) -> list[str]:
    """Texts of 8 to 67 words, made of this project's own documentation, always the same.

    Short enough for every contender's default to read them whole (fastembed stops at 128 tokens), and without brackets,
    because "[CLS]" in a text is a special token to some and text to others.
    """
    text = " ".join((ROOT / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "training/README.md"))
    words = re.sub(r"[^A-Za-z,. ]+", " ", text).split()
    found = []
    for number in range(count):
        length = 8 + (number * 37) % 60
        start = (number * 101) % (len(words) - length)
        found.append(" ".join(words[start : start + length]))
    return found


# ---------------------------------------------------------------- contenders, each in its own process


def open_ours(model: str, precision: str, threads: int) -> Any:
    from semantic_ranker.embedder import Embedder

    embedder = Embedder(None if model == "static" else model, precision=precision, threads=threads)
    embedder.embed_documents(["warm"])
    return embedder.embed_documents


def open_sentence_transformers(folder: str, backend: str, threads: int, batch: int | None) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    options: dict[str, Any] = {}
    if backend == "onnx":
        import onnxruntime

        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        options = {"model_kwargs": {"session_options": session, "file_name": "onnx/model.onnx", "export": False}}
    model = SentenceTransformer(folder, backend=backend, device="cpu", local_files_only=True, **options)
    model.max_seq_length = 256
    more = {} if batch is None else {"batch_size": batch}
    return lambda texts: model.encode(texts, show_progress_bar=False, normalize_embeddings=True, **more)


def open_fastembed(folder: str, threads: int, batch: int | None) -> Any:
    import numpy as np
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="same-weights",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="nobody/nothing"),
        dim=384,
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding("same-weights", specific_model_path=folder, threads=threads)
    more = {} if batch is None else {"batch_size": batch}
    return lambda texts: np.stack(list(model.embed(texts, **more)))


def serve(spec: dict[str, Any]) -> None:
    """Answer one task a line: ``many`` texts, or ``one`` text several times."""
    import numpy as np
    import psutil

    started = time.perf_counter()
    kind, threads = spec["kind"], spec["threads"]
    try:
        if kind == "ours":
            embed = open_ours(spec["model"], spec["precision"], threads)
        elif kind == "fastembed":
            embed = open_fastembed(spec["folder"], threads, spec.get("batch"))
        else:
            embed = open_sentence_transformers(spec["folder"], kind, threads, spec.get("batch"))
        embed(["warm up"])
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}), flush=True)
        return
    print(json.dumps({"open_s": time.perf_counter() - started}), flush=True)
    kept = []
    for line in sys.stdin:
        task = json.loads(line)
        texts = passages(task["texts"])
        start = time.perf_counter()
        if task["do"] == "many":
            embed(texts)
            answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
        elif task["do"] == "keep":
            # Of a few texts, repeated: the memory is that of 10,000 vectors, without the hours of making them.
            kept.append(np.concatenate([np.asarray(embed(texts), np.float32)] * (MANY // len(texts))))
            answer = {"rss_mb": psutil.Process().memory_info().rss / 1e6, "kept": int(kept[-1].shape[0])}
        elif task["do"] == "vectors":
            np.save(task["path"], np.asarray(embed(texts), np.float32))
            answer = {}
        else:
            times = []
            for text in texts:
                start = time.perf_counter()
                embed([text])
                times.append((time.perf_counter() - start) * 1000)
            answer = {"ms": times}
        print(json.dumps(answer), flush=True)


# ---------------------------------------------------------------- the run


class Contender:
    def __init__(self, name: str, python: str, spec: dict[str, Any]) -> None:
        self.name = name
        threads = spec["threads"]
        cores = sorted(os.sched_getaffinity(0))[:threads]
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": str(threads),
        }
        self.process = subprocess.Popen(
            [python, __file__, "--serve", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.hello = self._read()
        self.found: dict[str, list[float]] = {"texts_per_s": [], "ms": []}

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        return json.loads(line) if line else {"error": "the process ended"}

    def ask(self, **task: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def contenders(
    folder: str, peers: tuple[str, str] | None, threads: int, others: list[str]
) -> dict[str, tuple[str, dict[str, Any]]]:
    mine = sys.executable
    found = {
        "ours static": (mine, {"kind": "ours", "model": "static", "precision": "auto"}),
        "ours MiniLM fp32": (mine, {"kind": "ours", "model": folder, "precision": "fp32"}),
        "ours MiniLM int8": (mine, {"kind": "ours", "model": folder, "precision": "int8"}),
        "sentence-transformers torch, as installed": (mine, {"kind": "torch"}),
        "sentence-transformers torch, tuned": (mine, {"kind": "torch", "batch": 8}),
    }
    # Other models of ours have other weights: their time for one text is of interest, not their place in the order.
    for other in others:
        found[f"ours {Path(other).name}"] = (mine, {"kind": "ours", "model": other, "precision": "auto"})
    specs = {name: (python, {**spec, "folder": folder}) for name, (python, spec) in found.items()}
    if peers:
        python, theirs = peers
        for name, spec in {
            "sentence-transformers ONNX, as installed": {"kind": "onnx"},
            "sentence-transformers ONNX, tuned": {"kind": "onnx", "batch": 1},
            "fastembed, as installed": {"kind": "fastembed"},
            "fastembed, tuned": {"kind": "fastembed", "batch": 1},
        }.items():
            specs[name] = (python, {**spec, "folder": theirs})
    return {name: (python, {**spec, "threads": threads}) for name, (python, spec) in specs.items()}


def measure(folder: str, peers: tuple[str, str] | None, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    running, failed = [], {}
    for name, (python, spec) in contenders(folder, peers, threads, options.others).items():
        contender = Contender(name, python, spec)
        if "error" in contender.hello:
            failed[name] = contender.hello["error"]
            print(f"{name}: left out: {contender.hello['error']}", file=sys.stderr)
        else:
            running.append(contender)
    for number in range(options.rounds):
        for contender in running[number % len(running) :] + running[: number % len(running)]:
            seconds = contender.ask(do="many", texts=options.texts)["seconds"]
            contender.found["texts_per_s"].append(options.texts / seconds)
            contender.found["ms"] += contender.ask(do="one", texts=options.single)["ms"]
    vectors, result = {}, {}
    for contender in running:
        path = Path(options.scratch) / f"{threads}-{len(vectors)}.npy"
        contender.ask(do="vectors", texts=64, path=str(path))
        vectors[contender.name] = np.load(path)
        rss = contender.ask(do="keep", texts=10)["rss_mb"]
        result[contender.name] = {
            "texts_per_s": round(statistics.median(contender.found["texts_per_s"]), 1),
            "one_text_p50_ms": round(statistics.median(contender.found["ms"]), 2),
            "one_text_p95_ms": round(float(np.percentile(contender.found["ms"], 95)), 2),
            "rss_mb_with_10000_embeddings": round(rss),
            "open_s": round(contender.hello["open_s"], 2),
        }
        contender.close()
    exact = vectors.get("ours MiniLM fp32")
    for name, found in result.items():
        if exact is not None and vectors[name].shape == exact.shape:
            a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors[name], exact))
            found["least_cosine_to_fp32"] = round(float((a * b).sum(axis=1).min()), 6)
    return {"contenders": result, "left_out": failed}


def versions(python: str) -> dict[str, str]:
    names = ("sentence-transformers", "torch", "onnxruntime", "fastembed", "tokenizers", "transformers")
    if python == sys.executable:
        found = {}
        for name in names:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found
    code = "import json,sys\nfrom importlib.metadata import distributions\n"
    code += "print(json.dumps({d.metadata['Name'].lower(): d.version for d in distributions()}))"
    installed = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    return {name: installed[name] for name in names if name in installed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--model", help="folder of all-MiniLM-L6-v2 with ONNX fp32 and int8, as our export writes it")
    parser.add_argument("--peers-python", help="interpreter with sentence-transformers[onnx], fastembed and psutil")
    parser.add_argument("--peers-model", help="folder with the ONNX file that their own exporter wrote")
    parser.add_argument("--others", nargs="*", default=[], help="other models of ours: catalogue names or folders")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=128, help="texts of one throughput task")
    parser.add_argument("--single", type=int, default=12, help="single texts a round")
    parser.add_argument("--scratch", default="runs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/embedder_peers.json")
    options = parser.parse_args()
    if options.serve:
        serve(json.loads(options.serve))
        return
    peers = (options.peers_python, options.peers_model) if options.peers_python and options.peers_model else None
    result = {
        "what": "texts of 8 to 67 words on the same all-MiniLM-L6-v2 weights; medians, interleaved",
        "threads": {str(threads): measure(options.model, peers, threads, options) for threads in options.threads},
        "rounds": options.rounds,
        "texts": options.texts,
        "single_texts": options.single * options.rounds,
        "load_average_at_end": os.getloadavg()[0],
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions(sys.executable),
        "peers_versions": versions(options.peers_python) if options.peers_python else None,
        "command": "python benchmarks/embedder_peers.py --model FOLDER"
        + (" --peers-python PYTHON --peers-model FOLDER" if peers else "")
        + "".join(f" --others {' '.join(Path(other).name for other in options.others)}" for _ in options.others[:1]),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for threads, of in result["threads"].items():
        for name, found in of["contenders"].items():
            print(threads, f"{name:<44}", found)
    print("wrote", options.out)


if __name__ == "__main__":
    main()
