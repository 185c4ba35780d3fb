"""What fitting int8 to texts gains: error of the states of a side's tokens against float32, on texts not fitted to.

    python benchmarks/int8_calibration.py --run runs/reranker-en

Takes the weights and the texts of a finished training run. Writes benchmarks/results/int8_calibration.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from result_parts import made_with

from semantic_ranker._files import write_atomically
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker_training.release import calibration_ids
from semantic_ranker_training.segment_graph import segment_graph

ROOT = Path(__file__).resolve().parent.parent


def run(graph: Any, texts: Sequence[Sequence[int]]) -> tuple[list[Any], float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    started = time.process_time()
    found = [session.run(None, {"input_ids": np.asarray([ids], np.int64)}) for ids in texts]
    return found, time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "runs/reranker-en")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/int8_calibration.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = InteractionCrossEncoder.from_folder(options.run / "model").eval()
    fitted = calibration_ids(options.run / "states")
    seen = {tuple(ids) for ids in fitted}
    # More of the same order: what was drawn for fitting comes first, and is left out.
    more = calibration_ids(options.run / "states", passages=80, queries=30)
    others = [ids for ids in more if tuple(ids) not in seen]
    exact, exact_seconds = run(segment_graph(model, int8=False), others)
    ways: dict[str, Any] = {}
    for name, texts in (
        ("each weight rounded by itself", []),
        ("fitted to 100 texts", fitted[::3][:100]),
        ("fitted to all", fitted),
    ):
        graph = segment_graph(model, int8=True, calibration=texts)
        found, seconds = run(graph, others)
        tokens = np.concatenate([1 - (a[0][0] * b[0][0]).sum(1) for a, b in zip(found, exact, strict=True)])
        pooled = np.array([1 - float((a[1][0] * b[1][0]).sum()) for a, b in zip(found, exact, strict=True)])
        ways[name] = {
            "texts": len(texts),
            "token_error_mean": float(tokens.mean()),
            "token_error_p99": float(np.percentile(tokens, 99)),
            "text_error_mean": float(pooled.mean()),
            "text_error_most": float(pooled.max()),
            "cpu_time_against_fp32": round(seconds / exact_seconds, 3),
            "bytes": graph.ByteSize(),
        }
        print(name, ways[name], flush=True)
    result = {
        "what": f"1 - cosine to float32 of token states and of whole texts, {len(others)} texts that were not fitted to",
        "ways": ways,
        **made_with("onnxruntime", "numpy", "torch"),
        "command": "python benchmarks/int8_calibration.py --run RUN",
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
