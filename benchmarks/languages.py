"""What the bundled English reranker does to questions in Spanish, what its language guard costs English, and what a
multilingual reranker gains.

    python benchmarks/languages.py --data DATA [--multilingual FOLDER --base FOLDER]

Spanish is all of xquad-es-2k, BM25's best 100 by Spanish stems. English is the four collections of `quality.py`, whose
scores are taken from runs/quality. Writes benchmarks/results/languages.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from quality import METRIC, ROOT, STATES, Run, Task, kept, other, per_query, prepare, reranked, summary
from result_parts import made_with
from tqdm import tqdm

from semantic_ranker import CrossEncoder
from semantic_ranker._files import write_atomically
from semantic_ranker.evaluation import macro_compare
from semantic_ranker.fusion import fuse_rrf
from semantic_ranker.fusion_weight import fit_fusion_weight
from semantic_ranker.languages import foreign_to

BASE = "multilingual-e5-small"
SPANISH = "xquad-es-2k"
ENGLISH = ("cacm", "scifact", "nfcorpus", "cosqa")


def guarded(task: Task, encoder: CrossEncoder) -> tuple[Run, int]:
    """Rank as the default does; return the ranking and how many queries kept their order."""
    run, degraded = {}, 0
    for query in tqdm(task.queries, desc=f"{task.name}, guarded", disable=None):
        group = list(task.bm25[query])
        found = encoder.rank(task.collection.queries[query], [task.collection.corpus[of] for of in group])
        run[query] = {group[item.index]: -float(place) for place, item in enumerate(found)}
        degraded += found[0].degraded is not None
    return run, degraded


def english(task: Task, encoder: CrossEncoder) -> dict[str, Any]:
    """Return how many English queries the guard holds back, and what that costs."""
    scores = reranked(task, encoder, ROOT / f"runs/quality/{encoder.fingerprint[:12]}/{task.name}.int8.json")
    texts = task.collection.corpus
    held = [
        query
        for query, group in task.bm25.items()
        if foreign_to(task.collection.queries[query], (texts[document] for document in group), encoder.languages)
    ]
    with_guard = {query: task.bm25[query] if query in held else scores[query] for query in task.queries}
    values = per_query(task, {"without": scores, "with": with_guard})
    return {
        "queries": len(task.queries),
        "held back": len(held),
        "with - without": macro_compare([(values["without"], values["with"])]).to_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--multilingual", type=Path, help="folder of reranker-multilingual (training/README.md)")
    parser.add_argument(
        "--base", help="folder of multilingual-e5-small, which it is compared with (training/README.md)"
    )
    parser.add_argument("--max-queries", type=int, help="at most so many a collection, drawn with seed 0")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/languages.json")
    options = parser.parse_args()
    task = prepare(options.data / SPANISH, options.max_queries, "spanish")
    with CrossEncoder(cache_bytes=STATES) as bundled:
        ranked, degraded = guarded(task, bundled)
        of_english = {name: english(prepare(options.data / name, options.max_queries), bundled) for name in ENGLISH}
    runs = {"BM25": task.bm25, "bundled, guarded": ranked}
    models = {
        "bundled, scored all the same": None,
        **({"multilingual": options.multilingual} if options.multilingual else {}),
    }
    names = {}
    for name, folder in models.items():
        with CrossEncoder(folder, cache_bytes=STATES, other_languages="score") as encoder:
            names[name] = encoder.model_name
            path = ROOT / f"runs/quality/{encoder.fingerprint[:12]}/{task.name}.{encoder.precision}.json"
            runs[name] = reranked(task, encoder, path)
    if options.base:
        runs[BASE] = kept(ROOT / f"runs/quality/{BASE}.{task.name}.json", task, lambda some: other(some, options.base))
        runs["RRF"] = fuse_rrf([task.bm25, runs[BASE]])
    values = per_query(task, runs)
    result: dict[str, Any] = {"what": f"{METRIC} of reranking BM25's best 100, its words by Spanish stems"}
    if options.multilingual:
        fitted = fit_fusion_weight(runs["multilingual"], task.bm25, task.qrels, METRIC)
        values["multilingual + BM25, fitted"] = fitted.per_query
        result["weight"] = fitted.weight
        result["gain"] = {
            f"{ours} - {theirs}": macro_compare([(values[theirs], values[ours])]).to_dict()
            for ours in ("multilingual", "multilingual + BM25, fitted")
            for theirs in (BASE, "RRF")
            if theirs in values
        }
    result |= {
        "spanish": {
            "collection": task.name,
            "queries": len(task.queries),
            "held back": degraded,
            "systems": {name: summary(of) for name, of in values.items()},
            "against BM25": {
                name: macro_compare([(values["BM25"], of)]).to_dict() for name, of in values.items() if name != "BM25"
            },
        },
        "english": of_english,
        "models": names,
        **made_with("semantic-ranker", "onnxruntime", "bm25s", "ir-measures"),
        "command": "python benchmarks/languages.py --data DATA"
        + (" --multilingual FOLDER" if options.multilingual else "")
        + (" --base FOLDER" if options.base else "")
        + (f" --max-queries {options.max_queries}" if options.max_queries else ""),
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    for name, of in values.items():
        print(name, round(float(np.mean(list(of.values()))), 4))
    print("wrote", options.out)


if __name__ == "__main__":
    main()
