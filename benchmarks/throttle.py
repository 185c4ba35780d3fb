"""What share of the processor an embedder takes with `cpu_share`, and what that does to its speed.

    python benchmarks/throttle.py

The bundled static embedder and all-MiniLM-L6-v2 in INT8, one thread each, for some seconds a setting; medians of
interleaved rounds. A busy machine takes time away from all settings: then less than the share is taken.
CPU seconds of the process over wall seconds is the share that was taken, of one core. Passes if that stays within a
tenth of what was asked. Writes benchmarks/results/throttle.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from semantic_ranker.embedder import Embedder

OUT = Path(__file__).parent / "results" / "throttle.json"
MODELS = {"embedder-static-en": 2048, "all-MiniLM-L6-v2": 16}
SHARES = (None, 0.5, 0.25, 0.1)
SLACK = 1.1
ROUNDS = 3


def texts(count: int, rng: random.Random) -> list[str]:
    words = (
        "index",
        "search",
        "passage",
        "query",
        "vector",
        "memory",
        "token",
        "model",
        "password",
        "network",
        "guest",
    )
    return [" ".join(rng.choices(words, k=rng.randint(8, 67))) for _ in range(count)]


def measured(embedder: Embedder, part: int, seconds: float) -> dict[str, float]:
    rng = random.Random(0)
    embedder.embed_documents(texts(part, rng))
    batches = [texts(part, rng) for _ in range(8)]
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        done += len(embedder.embed_documents(batches[done // part % len(batches)]))
    wall = time.perf_counter() - start
    return {
        "cpu_seconds_per_wall_second": round((time.process_time() - cpu) / wall, 3),
        "texts_per_s": round(done / wall, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="of each setting and round (default: %(default)s)")
    options = parser.parse_args()
    embedders = {
        (model, share): Embedder(model, precision="int8", threads=1, cpu_share=share)
        for model in MODELS
        for share in SHARES
    }
    runs = [
        {key: measured(embedder, MODELS[key[0]], options.seconds) for key, embedder in embedders.items()}
        for _ in range(ROUNDS)
    ]
    found = {
        model: {
            str(share): {name: median(run[model, share][name] for run in runs) for name in runs[0][model, share]}
            for share in SHARES
        }
        for model in MODELS
    }
    kept = all(
        figures["cpu_seconds_per_wall_second"] <= float(share) * SLACK
        for shares in found.values()
        for share, figures in shares.items()
        if share != "None"
    )
    content = {
        "what": "CPU seconds a wall second, one thread, by cpu_share; None does not hold back; medians of interleaved rounds",
        "models": found,
        "cap": f"at most {SLACK} times cpu_share",
        "cap_kept": kept,
        "seconds": options.seconds,
        "rounds": ROUNDS,
        "load_average_at_end": os.getloadavg()[0],
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("numpy", "onnxruntime", "tokenizers")},
        "command": "python benchmarks/throttle.py",
    }
    OUT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(content["models"], indent=2))
    return int(not kept)


if __name__ == "__main__":
    raise SystemExit(main())
