"""What int8 costs in order, by which inputs are normalised row by row: on hard candidates of judged collections.

Run: nice python benchmarks/export.py MODEL --data DIR    (MODEL: folder with safetensors; DIR: BEIR folders)
Writes benchmarks/results/export.json: Kendall tau of int8 to fp32 a query over BM25's best candidates, with intervals,
and milliseconds a pair on one thread, variants taking turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from semantic_ranker.backends.onnx import OnnxBackend
from semantic_ranker.conversion.parity import kendall_tau
from semantic_ranker.evaluation import interval
from semantic_ranker.evaluation.inputs import JudgedData, Measuring
from semantic_ranker.tokenization import PairTokenizer, pad
from semantic_ranker_training.export_graphs import write_graphs
from semantic_ranker_training.export_options import GRAPHS, ExportOptions
from semantic_ranker_training.export_timing import interleaved
from semantic_ranker_training.origin import Origin

COLLECTIONS = ("scifact", "nfcorpus", "cosqa", "cacm")
NORMS = ("none", "ff", "all")
RESULTS = Path(__file__).parent / "results" / "export.json"


def graphs(model: Path, folder: Path) -> tuple[PairTokenizer, dict[str, OnnxBackend]]:
    found: dict[str, OnnxBackend] = {}
    for norm in NORMS:
        target = folder / norm
        target.mkdir()
        origin = Origin.collect(model, target)
        write_graphs(origin, target, ("fp32", "int8"), ExportOptions(row_norm=norm))
        found.setdefault("fp32", OnnxBackend(target / GRAPHS["fp32"]))
        found[norm] = OnnxBackend(target / GRAPHS["int8"])
    settings = origin.settings
    tokenizer = PairTokenizer(
        (target / "tokenizer.json").read_bytes(),
        layout=settings.layout,
        max_length=settings.max_length,
        max_query_tokens=settings.max_query_tokens,
    )
    return tokenizer, found


def encoded(data: Path, tokenizer: PairTokenizer, queries: int, depth: int) -> list[list[tuple[np.ndarray, ...]]]:
    judged = JudgedData(path=data)
    texts = judged.texts()
    run = Measuring(data=judged, metrics=("nDCG@10",), depth=depth).measure("bm25").run
    chosen = [qid for qid in texts.queries if len(run.get(qid, ())) > 1][:queries]
    found = []
    for qid in chosen:
        passages = [texts.corpus[document] for document in run[qid]]
        query = tokenizer.queries([texts.queries[qid]] * len(passages))
        found.append([pad(parts[:1]) for parts in tokenizer.pairs(query, passages, windows=False)])
    return found


def taus(backends: dict[str, OnnxBackend], groups: list[list[tuple[np.ndarray, ...]]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {norm: {} for norm in NORMS}
    for index, group in enumerate(groups):
        scores = {name: np.concatenate([of.run(*inputs) for inputs in group]) for name, of in backends.items()}
        for norm in NORMS:
            found[norm][str(index)] = kendall_tau(scores[norm], scores["fp32"])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=20, help="a collection")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer, backends = graphs(options.model, Path(scratch))
        collections, timed = {}, []
        for name in COLLECTIONS:
            groups = encoded(options.data / name, tokenizer, options.queries, options.depth)
            found = taus(backends, groups)
            timed += groups[0][:5]
            collections[name] = {
                norm: {"mean": float(np.mean(list(of.values()))), "interval": list(interval(of))}
                for norm, of in found.items()
            }
            print(name, {norm: round(row["mean"], 4) for norm, row in collections[name].items()}, file=sys.stderr)
        runs = {
            name: [lambda of=of, inputs=inputs: of.run(*inputs) for inputs in timed] for name, of in backends.items()
        }
        milliseconds = interleaved(runs)
    result = {
        "what": "Kendall tau of int8 to fp32 a query; milliseconds a pair, one thread, medians of interleaved runs",
        "command": "python " + " ".join(["benchmarks/export.py", options.model.name, "--data", "DIR"]),
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("onnxruntime", "onnx", "torch", "transformers")},
        "queries": options.queries,
        "depth": options.depth,
        "collections": collections,
        "mean": {norm: float(np.mean([of[norm]["mean"] for of in collections.values()])) for norm in NORMS},
        "milliseconds": milliseconds,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
