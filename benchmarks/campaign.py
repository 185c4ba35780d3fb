"""What was tried for the bundled reranker's head: each way of training it, on the same queries of four collections.

    python benchmarks/campaign.py --data ../shared/data --run runs/reranker-en --teacher runs/all-mpnet-base-v2

The encoder is the same in all, so each collection is encoded once (runs/campaign/states). A way that was measured is
not run again, so a killed campaign continues. Collections never choose anything but the figures shown: whether choosing
by them would have overfitted is measured too, by choosing on three and looking at the fourth, in rotation.
Writes benchmarks/results/campaign.json; `python benchmarks/tables.py` puts it into the docs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import METRIC, ROOT, Run, Task, prepare, summary
from result_parts import made_with
from torch.nn import functional

from semantic_ranker import evaluate
from semantic_ranker._files import write_atomically
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.backends.interaction import InteractionHead as TorchHead
from semantic_ranker.evaluation import macro_compare, macro_interval
from semantic_ranker.segments.head import InteractionHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery
from semantic_ranker.tokenization import EncodedPair
from semantic_ranker_training.config import Recipe
from semantic_ranker_training.distill import train_head
from semantic_ranker_training.mining import EncodedSource, Groups, mine
from semantic_ranker_training.segments import write_head
from semantic_ranker_training.states import RaggedStates, base_tokens, encode_states, split_states
from semantic_ranker_training.train import RerankerRun, every_tenth

COLLECTIONS = ("cacm", "scifact", "nfcorpus", "cosqa")
STEPS = 300
TOKENS = 256
BASELINE = "as released, 300 steps"
UNTRAINED = "no training"
RELEASED = "as released, its 600 steps"
HALF = "half no training, half as released"


@dataclass(frozen=True)
class Way:
    """One way of training: what differs from the released recipe.

    Attributes:
        what: In words.
        recipe: Keys of the recipe that differ.
        sources: Names of the sources trained on; none are all.
        first: Keys of the recipe that differ in a first half of the steps (a curriculum).
    """

    what: str
    recipe: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    first: dict[str, Any] = field(default_factory=dict)


def _candidates(lexical: int, dense: int, at_random: int) -> dict[str, Any]:
    return {"lexical_candidates": lexical, "dense_candidates": dense, "random_candidates": at_random}


WAYS = (
    Way(BASELINE),
    Way("seed 1", {"seed": 1}),
    Way("seed 2", {"seed": 2}),
    Way("600 steps", {"steps": 600}),
    Way("teacher without mpnet", {"teacher_weights": (1.0, 1.0, 0.0, 0.0)}),
    Way("teacher mpnet alone", {"teacher_weights": (0.0, 0.0, 1.0, 1.0)}),
    Way("teacher without BM25", {"teacher_weights": (0.0, 1.0, 1.0, 1.0)}),
    Way("labels beside the teacher", {"label_weight": 1.0}),
    Way("labels alone", {"distillation": "none", "label_weight": 1.0}),
    Way("margins to the positive, squared error", {"distillation": "margin_mse"}),
    Way("4 candidates a query", {"group_size": 4}),
    Way("24 candidates a query", {"group_size": 24}),
    Way("candidates from BM25 and at random", _candidates(20, 0, 6)),
    Way("candidates nearest and at random", _candidates(0, 20, 6)),
    Way("candidates at random alone", _candidates(0, 0, 26)),
    Way("random candidates first, then all", first=_candidates(0, 0, 26)),
    Way("passages of 64 tokens", {"passage_tokens": 64}),
    Way("teacher twice as sure", {"teacher_temperature": 2.0}),
    Way("projection learns 10 times as fast", {"learning_rate": 5e-4}),
    Way("questions alone", sources=("squad-dev-en", "squadshifts-new-wiki", "medquad")),
    Way("descriptions and code alone", sources=("docstrings", "debian-en")),
)
AVERAGED = (BASELINE, "seed 1", "seed 2")


@dataclass(frozen=True)
class Encoded:
    """A collection, as the frozen encoder sees it."""

    task: Task
    documents: list[str]
    passages: RaggedStates
    queries: RaggedStates


def encoded(task: Task, model: InteractionCrossEncoder, run: RerankerRun, store: Path) -> Encoded:
    documents = sorted({document for group in task.bm25.values() for document in group})
    texts = {
        "passages": [task.collection.corpus[document] for document in documents],
        "queries": [task.collection.queries[query] for query in task.queries],
    }
    found = []
    for side, of in texts.items():
        path = store / f"{task.name}.{side}.{len(of)}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            ids = base_tokens(run.tokenizer, of, TOKENS)
            encode_states(ids, split_states(model), label=f"{task.name} {side}").save(path)
        found.append(RaggedStates.load(path))
    return Encoded(task, documents, *found)


@torch.inference_mode()
def scored(found: Encoded, head: TorchHead) -> Run:
    """Rank the candidates of every query as the product does, the states of passages in int8."""
    with tempfile.TemporaryDirectory() as folder:
        write_head(head, Path(folder) / "head.npz")
        numpy_head = InteractionHead.read((Path(folder) / "head.npz").read_bytes())
    row = {document: place for place, document in enumerate(found.documents)}
    passages = [_passage(found.passages, place, head) for place in range(len(found.documents))]
    run: Run = {}
    for place, query in enumerate(found.task.queries):
        ids, tokens, pooled = _side(found.queries, place, head)
        states = torch.from_numpy(_states(found.queries, place)).float()
        importance = torch.exp(head.importance(states).squeeze(-1)).numpy()[1:-1]
        asked = EncodedQuery(ids[1:-1].astype(np.int64), tokens[1:-1], pooled, importance)
        candidates = list(found.task.bm25[query])
        logits = numpy_head.score(asked, [passages[row[document]] for document in candidates])
        run[query] = dict(zip(candidates, logits.tolist(), strict=True))
    return run


def _states(of: RaggedStates, place: int) -> Any:
    return of.states[of.offsets[place] : of.offsets[place + 1]]


def _side(of: RaggedStates, place: int, head: TorchHead) -> tuple[Any, Any, Any]:
    ids = of.ids[of.offsets[place] : of.offsets[place + 1]]
    states = torch.from_numpy(_states(of, place)).float()
    return ids, functional.normalize(head.project(states), dim=-1).numpy(), of.pooled[place]


def _passage(of: RaggedStates, place: int, head: TorchHead) -> EncodedPassage:
    ids, tokens, pooled = _side(of, place, head)
    return EncodedPassage.of(EncodedPair(ids.astype(np.int64), np.zeros_like(ids), None, False), tokens, pooled)


class Campaign:
    """All ways over one finished run's states."""

    def __init__(self, run: RerankerRun, folder: Path, collections: Sequence[Encoded]) -> None:
        self.run, self.folder, self.collections = run, folder, collections
        self.sources = run.sources()
        self.start = copy.deepcopy(run.model.head.state_dict())

    def head(self, weights: dict[str, torch.Tensor]) -> TorchHead:
        head = copy.deepcopy(self.run.model.head)
        head.load_state_dict(weights)
        return head.eval()

    def trained(self, way: Way) -> TorchHead:
        """Train by a way, or take up what was trained."""
        folder = self.folder / "trained" / _slug(way.what)
        path = folder / "head.pt"
        if not path.exists():
            recipe = replace(self.run.recipe, **{"steps": STEPS, **way.recipe})
            names = way.sources or tuple(source.pairs.name for source in self.sources)
            chosen = [self._cut(source, recipe) for source in self.sources if source.pairs.name in names]
            model = copy.deepcopy(self.run.model)
            model.head.load_state_dict(self.start)
            halves = [recipe]
            if way.first:
                halves = [replace(part, steps=recipe.steps // 2) for part in (replace(recipe, **way.first), recipe)]
            history = []
            for place, part in enumerate(halves):
                groups = [every_tenth(self._groups(source, part), held_out=False) for source in chosen]
                history += train_head(model, chosen, groups, part, folder / f"trainer{place or ''}")
            write_atomically(folder / "history.json", json.dumps(history) + "\n")
            torch.save(model.head.state_dict(), path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        return self.head(torch.load(path, weights_only=True))

    def _cut(self, source: EncodedSource, recipe: Recipe) -> EncodedSource:
        """Return the source with passages of the recipe's length; the teacher keeps the whole."""
        limit = recipe.passage_tokens
        if limit == self.run.recipe.passage_tokens:
            return source
        path = self.folder / "groups" / f"{source.pairs.name}.passages.{limit}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            ids = base_tokens(self.run.tokenizer, source.pairs.passages, limit)
            encode_states(ids, split_states(self.run.model), label=f"{source.pairs.name} {limit}").save(path)
        return replace(source, passages=RaggedStates.load(path))

    def _groups(self, source: EncodedSource, recipe: Recipe) -> Groups:
        mined = ["teacher_weights", "lexical_candidates", "dense_candidates", "random_candidates", "passage_tokens"]
        differs = [f"{getattr(recipe, key)}" for key in mined if getattr(recipe, key) != getattr(self.run.recipe, key)]
        path = self.folder / "groups" / f"{source.pairs.name}.{_slug('_'.join(differs))}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # The seed of the released run: ways differ in how they learn, not in what from.
            mine(source, replace(recipe, seed=self.run.recipe.seed)).save(path)
        return Groups.load(path)

    def measured(self, name: str, make: Callable[[], TorchHead]) -> dict[str, dict[str, float]]:
        """Return nDCG@10 of every query, by collection."""
        sizes = "-".join(str(len(found.task.queries)) for found in self.collections)
        path = self.folder / "scores" / f"{_slug(name)}.{sizes}.json"
        if not path.exists():
            head = make()
            started = time.monotonic()
            scores = {}
            for found in self.collections:
                report = evaluate(scored(found, head), found.task.qrels, [METRIC])
                scores[found.task.name] = report.per_query[METRIC]
            write_atomically(path, json.dumps(scores))
            means = {key: round(float(np.mean(list(of.values()))), 4) for key, of in scores.items()}
            print(f"{name}: {means}, {time.monotonic() - started:.0f} s", flush=True)
        kept: dict[str, dict[str, float]] = json.loads(path.read_text())
        return kept

    def released(self) -> TorchHead:
        """Return the head that the run ended with."""
        return self.head(InteractionCrossEncoder.from_folder(self.run.folder / "model").head.state_dict())

    def averaged(self, heads: Sequence[dict[str, torch.Tensor]]) -> TorchHead:
        """Return the head whose weights are the mean of several."""
        mean = {
            key: torch.stack([head[key].double() for head in heads]).mean(0).to(value.dtype)
            for key, value in heads[0].items()
        }
        return self.head(mean)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def row(scores: dict[str, dict[str, float]], against: dict[str, dict[str, float]] | None) -> dict[str, Any]:
    """Return the figures of nDCG@10 by collection and query, and their change against another way's."""
    names = list(scores)
    low, high = macro_interval([scores[name] for name in names])
    found: dict[str, Any] = {
        "collections": {name: summary(scores[name]) for name in names},
        "macro": {"mean": float(np.mean([np.mean(list(of.values())) for of in scores.values()]))},
    }
    found["macro"] |= {"low": low, "high": high}
    if against is not None:
        found["against the baseline"] = macro_compare([(against[name], scores[name]) for name in names]).to_dict()
    return found


def rotation(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Choose the best way on three collections, and see what it gives on the fourth beside the baseline."""
    means = {
        way: {name: float(np.mean(list(of.values()))) for name, of in parts.items()} for way, parts in scores.items()
    }
    found = {}
    for aside in COLLECTIONS:
        others = [name for name in COLLECTIONS if name != aside and name in means[BASELINE]]
        if aside not in means[BASELINE] or not others:
            continue
        best = max(means, key=lambda way, of=others: sum(means[way][name] for name in of))  # type: ignore[misc]
        found[aside] = {"chosen": best, "there": means[best][aside], "baseline there": means[BASELINE][aside]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--run", type=Path, default=Path("runs/reranker-en"), help="the finished released run")
    parser.add_argument("--teacher", default="runs/all-mpnet-base-v2", help="as the run was given it")
    parser.add_argument("--recipe", type=Path, default=ROOT / "training/recipes/reranker_en.toml")
    parser.add_argument("--max-queries", type=int, default=150, help="at most so many a collection, drawn with seed 0")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/campaign")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/campaign.json")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    run = RerankerRun(Recipe.from_toml(options.recipe, [f"teacher={options.teacher}"]), options.data, options.run)
    tasks = [prepare(options.data / name, options.max_queries) for name in COLLECTIONS]
    model = copy.deepcopy(run.model)
    collections = [encoded(task, model, run, options.work / "states") for task in tasks]
    campaign = Campaign(run, options.work, collections)
    ways = {way.what: way for way in WAYS}
    scores = {UNTRAINED: campaign.measured(UNTRAINED, lambda: campaign.head(campaign.start))}
    for name, way in ways.items():
        scores[name] = campaign.measured(name, lambda of=way: campaign.trained(of))  # type: ignore[misc]
    mean_of = f"mean of {len(AVERAGED)} seeds' weights"
    seeds = [ways[name] for name in AVERAGED]
    scores[mean_of] = campaign.measured(
        mean_of, lambda: campaign.averaged([campaign.trained(way).state_dict() for way in seeds])
    )
    scores[RELEASED] = campaign.measured(RELEASED, campaign.released)
    scores[HALF] = campaign.measured(
        HALF, lambda: campaign.averaged([campaign.start, campaign.released().state_dict()])
    )
    bm25 = {task.name: evaluate(task.bm25, task.qrels, [METRIC]).per_query[METRIC] for task in tasks}
    result = {
        "what": f"{METRIC} of reranking BM25's top 100 by each way of training the head, fp32 encoder",
        "baseline": BASELINE,
        "ways": {way.what: {"differs": way.recipe, "sources": way.sources, "first half": way.first} for way in WAYS},
        "rows": {
            "BM25": row(bm25, scores[BASELINE]),
            **{name: row(of, None if name == BASELINE else scores[BASELINE]) for name, of in scores.items()},
        },
        "rotation": rotation(scores),
        "queries": {task.name: len(task.queries) for task in tasks},
        "tokens of a passage": TOKENS,
        **made_with("semantic-ranker", "torch", "ir-measures"),
        "command": f"python benchmarks/campaign.py --data DATA --max-queries {options.max_queries}",
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
