"""The proof: who ranks the held-out questions how well, what was lost elsewhere, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ranker._files import write_atomically
from semantic_ranker.collections import load_beir
from semantic_ranker.evaluation import Comparison
from semantic_ranker.model_folder import ModelFolder, resolve
from semantic_ranker.sources import drawn_run
from semantic_ranker_training.tune import measure
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.data import Data, kinds
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.first_stage import FirstStage
from semantic_ranker_training.tune.general import built_in_guard
from semantic_ranker_training.tune.given import Judged
from semantic_ranker_training.tune.language import language_of
from semantic_ranker_training.tune.measure import Findings, Task, Weights
from semantic_ranker_training.tune.verdict import Verdict, judge
from semantic_ranker_training.tune.work import WorkFolder, file_hash

TUNED, FUSED, BUNDLED = "tuned", "tuned + search", "bundled reranker"
BY_PASSAGE = "tuned, by passage"
"""The tuned model where nothing is known of documents."""

Tell = Callable[[str], None]
Run = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proving:
    """What is proved.

    Attributes:
        base: What was tuned.
        model: Folder of the exported model.
        data: The documents.
        embedder: Of the dense search.
        weights: How its scores are put together with documents and search.
        judged: Real questions that nothing was learnt from.
        guards: BEIR folders; none takes the built-in guard.
        guard_queries: Queries of each, at most.
        depth: Candidates.
        published: Where the model will lie, for the words.
        seed: Of tests and choices.
    """

    base: Base
    model: Path
    data: Data
    embedder: KeptEmbedder
    weights: Weights
    judged: Sequence[Judged]
    guards: Sequence[Path]
    guard_queries: int
    depth: int
    published: Path
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proved.

    Attributes:
        own: On held-out questions of the documents.
        judged: On the user's judged questions, or None.
        guards: Comparison of base (A) and tuned model (B) by collection.
        latency_ms: To rank 20 passages, by system.
        verdict: In words.
        dense: What the dense search was.
        depth: Candidates that were reranked.
        weights: How the tuned model's scores are put together with documents and search.
    """

    own: Findings
    judged: Findings | None
    guards: Mapping[str, Comparison]
    latency_ms: Mapping[str, float]
    verdict: Verdict
    dense: str
    depth: int
    weights: Weights

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "held_out": self.own.to_dict(),
            "judged": None if self.judged is None else self.judged.to_dict(),
            "guards": {name: _figures(of) for name, of in self.guards.items()},
            "latency_ms_20_passages": dict(self.latency_ms),
            "verdict": self.verdict.to_dict(),
            "dense": self.dense,
            "candidates": self.depth,
            **self.weights.to_dict(),
        }


def prove(proving: Proving, work: WorkFolder, identity: Any, tell: Tell) -> Proof:
    """Measure everything; rankings are kept, so that a killed proof goes on.

    Args:
        proving: What is proved.
        work: Where rankings are kept.
        identity: Of data and model: JSON values.
        tell: Is told what happens.
    """
    data = proving.data
    corpus = {key: of.text for key, of in data.corpus.passages.items()}
    own = data.task("held-out questions", data.tested, corpus)
    tell(f"measuring on {len(own.queries)} held-out questions over {len(corpus)} passages")
    found = _findings(proving, work, "held-out", own, identity)
    judged = None
    if proving.judged:
        task = Task(
            name="your judged questions",
            queries={of.id: of.text for of in proving.judged},
            qrels={of.id: dict(of.answers) for of in proving.judged},
            corpus={key: data.corpus.passages[key].text for key in corpus},
            sources=data.sources,
        )
        judged = _findings(proving, work, "judged", task, identity)
    baseline = base_name(proving.base)
    guards = {name: _guard(proving, work, name, task, identity, tell) for name, task in _guards(proving)}
    with measure.open_model(_folder(proving.base)) as old, measure.open_model(proving.model) as new:
        times = measure.latency_ms({baseline: old, TUNED: new}, own)
    verdict = judge(
        found.comparisons[baseline],
        found.comparisons["RRF"],
        guards,
        base=baseline,
        model=str(proving.published),
        asked=", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in kinds(data.tested).items()),
    )
    return Proof(
        own=found,
        judged=judged,
        guards=guards,
        latency_ms=times,
        verdict=verdict,
        dense=proving.embedder.name,
        depth=proving.depth,
        weights=proving.weights,
    )


def base_name(base: Base) -> str:
    """Return the name of what the tuned model is compared with: a base that is no reranker cannot rank."""
    return base.name if base.ranks else BUNDLED


def _folder(base: Base) -> Path | None:
    return base.folder if base.ranks else None


def _findings(proving: Proving, work: WorkFolder, name: str, task: Task, identity: Any) -> Findings:
    def first(folder: Path) -> Any:
        stage = FirstStage(task.corpus, proving.embedder, proving.data.language.stemmer)
        return stage.runs(task.queries, max(100, proving.depth))

    searched: dict[str, Run] = _kept(work, f"search-{name}", [identity, dict(task.queries)], first)
    candidates = {qid: dict(list(of.items())[: proving.depth]) for qid, of in searched["RRF"].items()}
    models: dict[str, Path | None] = {BUNDLED: None}
    if proving.base.ranks:
        models[base_name(proving.base)] = _folder(proving.base)
    models[TUNED] = proving.model
    runs: dict[str, Run] = {**searched}
    for system, folder in models.items():
        of = [identity if system == TUNED else str(folder), name, dict(task.queries), candidates]
        own = _kept(work, f"rank-{name}-{system.replace(' ', '-')}", of, _ranker(folder, task, candidates))
        weight = proving.weights.source_weight if system == TUNED else _source_weight(folder)
        if system == TUNED and weight:
            runs[BY_PASSAGE] = own
        runs[system] = drawn_run(own, task.sources, weight)
    runs[FUSED] = measure.fused(runs[TUNED], candidates, proving.weights.fusion_weight)
    return measure.find(task, runs, TUNED, seed=proving.seed)


def _source_weight(folder: Path | None) -> float:
    return ModelFolder.open(resolve(folder)).settings.source_weight


def _ranker(folder: Path | None, task: Task, candidates: Run) -> Callable[[Path], Any]:
    def rank(_: Path) -> Any:
        with measure.open_cached(folder) as model:
            return measure.rerank(model, task, candidates)

    return rank


def _guards(proving: Proving) -> list[tuple[str, Task]]:
    collections = [load_beir(folder) for folder in proving.guards] or [built_in_guard(seed=proving.seed)]
    found = []
    for of in collections:
        chosen = measure.sampled(list(of.qrels), proving.guard_queries)
        queries, qrels = {qid: of.queries[qid] for qid in chosen}, {qid: of.qrels[qid] for qid in chosen}
        found.append((of.name, Task(name=of.name, queries=queries, qrels=qrels, corpus=of.corpus)))
    return found


def _guard(proving: Proving, work: WorkFolder, name: str, task: Task, identity: Any, tell: Tell) -> Comparison:
    from semantic_ranker import BM25Index

    tell(f"measuring on {len(task.queries)} queries of {name}")
    key = "".join(character if character.isalnum() else "-" for character in name)
    ids = list(task.corpus)

    def search(_: Path) -> Any:
        texts = list(task.corpus.values())
        found = BM25Index(texts, language=language_of(texts).stemmer).search_many(
            list(task.queries.values()), measure.GUARD_DEPTH
        )
        return {qid: {ids[row]: score for row, score in of} for qid, of in zip(task.queries, found, strict=True)}

    of = [name, dict(task.queries), len(ids)]
    candidates: Run = _kept(work, f"guard-{key}-search", of, search)
    base, depth = _folder(proving.base), min(measure.GUARD_DEPTH, proving.depth)
    candidates = {qid: dict(list(scores.items())[:depth]) for qid, scores in candidates.items()}
    before = _kept(work, f"guard-{key}-base", [*of, str(base), depth], _ranker(base, task, candidates))
    after = _kept(work, f"guard-{key}-tuned", [*of, identity, depth], _ranker(proving.model, task, candidates))
    return measure.find(task, {"base": before, TUNED: after}, TUNED, seed=proving.seed).comparisons["base"]


def _kept(work: WorkFolder, name: str, inputs: Any, make: Callable[[Path], Any]) -> Any:
    """Keep rankings in files of their own; the order of equal scores is that of the file."""

    def made(folder: Path) -> Any:
        path = folder / "runs.json"
        write_atomically(path, json.dumps(make(folder), default=float))
        return {"sha256": file_hash(path)}

    work.stage(name, inputs, made)
    return json.loads((work.path / name / "runs.json").read_text(encoding="utf-8"))


def _figures(comparison: Comparison) -> dict[str, Any]:
    found = comparison.metrics[0]
    return {
        "metric": found.metric, "queries": comparison.queries, "base": found.mean_a, "tuned": found.mean_b,
        "difference": found.difference, "low": found.low, "high": found.high, "p": found.p_value,
    }  # fmt: skip
