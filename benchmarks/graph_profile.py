"""Where the time of one pair goes in our graphs, operator by operator, on one thread.

    python benchmarks/graph_profile.py --model FOLDER

FOLDER is a `[CLS]` cross-encoder of MiniLM's shape with ONNX fp32 and int8, as for latency.py. ONNX Runtime's own profile
of many runs; shares are of the time inside operators. Writes results/graph_profile.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

ROOT = Path(__file__).resolve().parent.parent
GRAPHS = {"fp32": "onnx/model.onnx", "int8": "onnx/model_qint8.onnx"}
TOKENS = (16, 32, 64, 128, 256)
RUNS = 30


def shares(path: Path, tokens: int) -> dict[str, Any]:
    """Return milliseconds a pair and each operator's share."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        ids = np.random.default_rng(0).integers(1000, 20000, (1, tokens))
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        names = {node.name for node in session.get_inputs()}
        for _ in range(RUNS):
            session.run(None, {name: value for name, value in given.items() if name in names})
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    total = sum(spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    return {
        "ms": round(total / 1000 / RUNS, 3),
        "shares": {name: round(value / total, 3) for name, value in ordered if value / total >= 0.005},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "graph_profile.json")
    options = parser.parse_args()
    found = {
        "what": "share of the time inside operators, one pair, one thread",
        "precisions": {
            precision: {str(tokens): shares(options.model / name, tokens) for tokens in TOKENS}
            for precision, name in GRAPHS.items()
        },
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "versions": {"onnxruntime": version("onnxruntime")},
        "command": "python benchmarks/graph_profile.py --model FOLDER",
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["precisions"], indent=1))


if __name__ == "__main__":
    main()
