"""What each ingredient of `semantic-ranker tune` is worth: learnt with it and without it, on the same held-out questions.

    python benchmarks/tune_ablations.py --data ../shared/data

Documents, sides, held-out questions, candidates and negatives are the command's at its defaults; each way of learning
makes one pass where nothing else is said, as the command does in a folder of this size, and the weights it ends with
rank the candidates in float32. Ways that were measured are kept below runs/ablations, so that a killed run continues.
Writes benchmarks/results/tune_ablations.json; `python benchmarks/tables.py` puts it into docs/tune.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from quality import METRIC, ROOT, Run, summary
from result_parts import made_with

from semantic_ranker import evaluate
from semantic_ranker._files import write_atomically
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.evaluation import macro_compare
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.tune import FitSettings, TuneOptions, work_folder
from semantic_ranker_training.tune.base import Base, find_base, open_interaction, tokenizer_file
from semantic_ranker_training.tune.data import Data, prepare
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.first_stage import FirstStage
from semantic_ranker_training.tune.fit import fit
from semantic_ranker_training.tune.general import general_groups
from semantic_ranker_training.tune.library import read_library
from semantic_ranker_training.tune.measure import DEPTH, Task, rerank
from semantic_ranker_training.tune.mining import STRUCTURAL, learning_pairs, mined
from semantic_ranker_training.tune.passages import NATURAL
from semantic_ranker_training.tune.run import GENERAL, settings_of
from semantic_ranker_training.tune.scoring import InteractionScorer

DEFAULT = "as by default"


@dataclass(frozen=True)
class Way:
    """A way of learning: what differs from the default.

    Attributes:
        what: In words.
        options: Of the command.
        settings: Of how it learns, where the command has no option for it.
    """

    what: str
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


WAYS = (
    Way(DEFAULT),
    Way("negatives by words alone", {"negatives_from": "bm25"}),
    Way("negatives at random", {"negatives_from": "random"}),
    Way("no general pairs", {"general": 0.0}),
    Way("sentences and key phrases filtered", {"filters": True}),
    Way("a negative encoded for each question", settings={"own_negatives": (*NATURAL, *STRUCTURAL), "batch": 16}),
    Way("passages of 96 tokens", {"passage_tokens": 96}),
    Way("three passes", settings={"epochs": 3.0}),
)


class Ablations:
    """One folder of documents, read, searched and split once."""

    def __init__(self, folder: Path, work: Path, passes: float) -> None:
        self.work, self.passes = work, passes
        self.options = TuneOptions(documents=folder, out=work / folder.name)
        self.base: Base = find_base(None)
        kept = work_folder(self.options.out)
        kept.mkdir(parents=True, exist_ok=True)
        self.library = read_library(folder, kept / "read")
        self.data: Data = prepare(self.library, kept / "split.json", self.options)
        self.embedder = KeptEmbedder(kept / "vectors", len(self.data.corpus.passages), self.data.language.code)
        self.embedder.embed_documents([of.text for of in self.data.corpus.passages.values()])
        self.validation = self.data.validation(self.embedder)
        self.task: Task = self.data.task("held-out questions", self.data.tested, dict(self.data.corpus.texts()))
        first = FirstStage(self.task.corpus, self.embedder, self.data.language.stemmer)
        self.candidates: Run = {query: dict(of) for query, of in first.runs(self.task.queries, DEPTH)["RRF"].items()}

    def groups(self, way: Way, folder: Path) -> list[Group]:
        options, stemmer = replace(self.options, **way.options), self.data.language.stemmer
        learnt = learning_pairs(self.library, self.data.corpus, self.data.split, (), options, stemmer)
        folder.mkdir(parents=True, exist_ok=True)
        texts = list(self.data.texts("train").values())
        return mined(learnt.pairs, texts, folder, self.embedder, None, options, stemmer)

    def learnt(self, way: Way) -> tuple[InteractionCrossEncoder, dict[str, Any]]:
        options = replace(self.options, **way.options)
        folder = self.work / f"{self.options.out.name}.{''.join(of if of.isalnum() else '-' for of in way.what)}"
        settings = settings_of(
            options, FitSettings(**({"epochs": self.passes} | way.settings)), self.data.language.stemmer
        )
        general = list(general_groups(GENERAL, options.seed)) if options.general else []
        groups = self.groups(way, folder)
        report = fit(
            self.base, groups, self.validation, general, folder / "fit",
            settings=settings, budget_s=86_400.0, progress=lambda line: print("  ", line, flush=True),
        )  # fmt: skip
        return InteractionCrossEncoder.from_folder(report.folder), report.to_dict()

    def per_query(self, model: InteractionCrossEncoder) -> dict[str, float]:
        with InteractionScorer(model.eval(), tokenizer_file(self.base)) as scorer:
            run = rerank(scorer, self.task, self.candidates)
        return evaluate(run, self.task.judged(), [METRIC]).per_query[METRIC]

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.work / "rows" / f"{self.options.out.name}.{self.passes:g}.{name}.json"
        if not path.exists():
            write_atomically(path, json.dumps(make()))
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def of_way(self, way: Way) -> dict[str, Any]:
        started = time.monotonic()
        model, facts = self.learnt(way)
        return {"ndcg": self.per_query(model), "fit": facts, "seconds": round(time.monotonic() - started)}


def row(found: dict[str, Any], others: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the figures of a way, and its differences to others."""
    values = found["ndcg"]
    against = {name: macro_compare([(of, values)]).to_dict() for name, of in others.items()}
    fit_ = found.get("fit", {})
    kept = {key: fit_[key] for key in ("groups", "steps", "after", "mix") if key in fit_}
    return {METRIC: summary(values), "against": against, "fit": kept, "seconds": found.get("seconds")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--folder", default="docs-fastapi-en")
    parser.add_argument("--passes", type=float, default=1.0)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/ablations")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/tune_ablations.json")
    options = parser.parse_args(arguments)
    ablations = Ablations(options.data / options.folder, options.work, options.passes)
    base = ablations.kept("base", lambda: {"ndcg": ablations.per_query(open_interaction(ablations.base))})
    first = evaluate(ablations.candidates, ablations.task.judged(), [METRIC]).per_query[METRIC]
    ways: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        ways[way.what] = ablations.kept(way.what.replace(" ", "-"), lambda of=way: ablations.of_way(of))  # type: ignore[misc]
        print(f"{way.what}: {np.mean(list(ways[way.what]['ndcg'].values())):.4f}", flush=True)
    bundled = {"bundled reranker": base["ndcg"]}
    default = {DEFAULT: ways[DEFAULT]["ndcg"]}
    rows = {"RRF": row({"ndcg": first}, {}), "bundled reranker": row(base, {})}
    rows |= {name: row(of, bundled | ({} if name == DEFAULT else default)) for name, of in ways.items()}
    result = {
        "what": f"{METRIC} of held-out headings, titles and links of {options.folder}, a proxy for people's questions",
        "folder": options.folder,
        "passes": options.passes,
        "queries": len(ablations.task.queries),
        "default": DEFAULT,
        "rows": rows,
        **made_with("semantic-ranker", "torch", "onnxruntime", "bm25s"),
        "command": f"python benchmarks/tune_ablations.py --data DATA --folder {options.folder} --passes {options.passes:g}",
    }
    write_atomically(options.out, json.dumps(result, indent=2) + "\n")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
