"""What isotropy gives a retriever: training-free layers, frozen and full training, in and out of domain.

    python benchmarks/isotropy.py --data ../shared/data --work runs/isotropy

Base: all-MiniLM-L6-v2 in fp32 (it has itself seen MS MARCO, SQuAD and much more). Whole collections, exact search by
cosine. Vectors of the base are computed once and kept in the working folder. What is trained is trained on questions
and paragraphs of Wikipedia (SQuAD) only, so that all collections here are out of its domain. The power of whitening is
chosen on development queries, never on those that are reported. ``--parts full`` is slow: it is measured on subsets.
Writes benchmarks/results/isotropy.json; `--plot` draws benchmarks/results/isotropy.svg from it.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch
from isotropy_tasks import (
    COLLECTIONS,
    MODEL,
    PROBES,
    SOURCES,
    Task,
    Vectors,
    _kept,
    collection,
    probe,
    training,
    vectors,
)

from semantic_ranker import Embedder
from semantic_ranker.evaluation import evaluate
from semantic_ranker.evaluation.exact_search import ExactSearch
from semantic_ranker.evaluation.resampling import bootstrap_means, quantiles, sign_flip_p
from semantic_ranker.evaluation.significance import holm
from semantic_ranker_training.data import Group
from semantic_ranker_training.gaussian.config import GaussianConfig
from semantic_ranker_training.gaussian.loss import IsotropicLoss
from semantic_ranker_training.gaussian.pseudo import pseudo_queries
from semantic_ranker_training.gaussian.report import METRICS, isotropy
from semantic_ranker_training.gaussian.rows import epochs, rows_of
from semantic_ranker_training.gaussian.whitening import DEFAULT_POWER, POWERS, Whitening

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "results" / "isotropy.json"
METRIC = "nDCG@10"
SEEDS = (0, 1, 2)
RESAMPLES = 10_000
STEPS, BATCH, RATE = 150, 128, 1e-3
FULL_PAIRS, FULL_DOCS, FULL_QUERIES = 640, 300, 60
GEOMETRY_ROWS = 1000
Layer = Callable[[Vectors], Vectors]


@dataclass(frozen=True)
class Encoded:
    task: Task
    queries: Vectors
    documents: Vectors
    pseudo: Vectors | None = None


Figures = dict[str, Any]


def measured(
    of: Encoded, queries: Vectors, documents: Vectors, metrics: tuple[str, ...] = METRICS, similarity: str = "cosine"
) -> Figures:
    """Return means, and nDCG@10 of each query."""
    search = ExactSearch(queries, 100, similarity)
    search.add(documents)
    ids, names = list(of.task.documents), list(of.task.queries)
    run = {query: {ids[place]: score for place, score in search.best(row)} for row, query in enumerate(names)}
    found = evaluate(run, of.task.qrels, metrics)
    return {"mean": dict(found.mean), "values": dict(found.per_query[METRIC])}


def by_layer(of: Encoded, layer: Layer, metrics: tuple[str, ...] = METRICS, similarity: str = "cosine") -> Figures:
    return measured(of, layer(of.queries), layer(of.documents), metrics, similarity)


def crossed(of: Encoded, power: float) -> Figures:
    """Fit with the queries of one half and measure those of the other: no query is in its own layer."""
    values: dict[str, float] = {}
    names = list(of.task.queries)
    for half in (0, 1):
        fitted = Whitening.fit(of.documents, of.queries[1 - half :: 2], power=power)
        found = by_layer(of, fitted, (METRIC,))
        values |= {name: found["values"][name] for name in names[half::2]}
    return {"mean": {METRIC: fmean(values.values())}, "values": values}


def averaged(found: list[Figures]) -> Figures:
    """Return the means over seeds."""
    return {part: {name: fmean(of[part][name] for of in found) for name in found[0][part]} for part in found[0]}


def against(base: Figures, found: Figures) -> dict[str, Any]:
    difference = np.array([[found["values"][name] - base["values"][name]] for name in base["values"]])
    low, high = quantiles(bootstrap_means(difference, RESAMPLES, 0))
    return {
        "mean": found["mean"],
        "difference": float(difference.mean()),
        "interval": [float(low[0]), float(high[0])],
        "p": float(sign_flip_p([difference], RESAMPLES, 0)[0]),
    }


def corrected(rows: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Add Holm's p over the collections of each variant."""
    for variant, of in rows.items():
        tested = [name for name in of if "p" in of[name]] if variant != "base" else []
        for name, p in zip(tested, holm([of[name]["p"] for name in tested]) if tested else [], strict=True):
            of[name]["p_holm"] = p


def verdict(rows: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    found = {}
    for variant, of in rows.items():
        if variant == "base":
            continue
        found[variant] = {
            "mean_difference": fmean(entry["difference"] for entry in of.values()),
            "above": [name for name, entry in of.items() if entry["p_holm"] < 0.05 and entry["difference"] > 0],
            "above_uncorrected": [name for name, entry in of.items() if entry["p"] < 0.05 and entry["difference"] > 0],
            "below": [name for name, entry in of.items() if entry["p"] < 0.05 and entry["difference"] < 0],
            "lower_at_all": [name for name, entry in of.items() if entry["difference"] < 0],
        }
    return found


class Bench:
    def __init__(self, data: Path, work: Path, names: list[str]) -> None:
        self.data, self.work, self.distances, self.seeds = data, work, ("cosine",), SEEDS
        self.embedder = Embedder(MODEL, precision="fp32", threads=1)
        tasks = [(probe if name in PROBES else collection)(data / name) for name in names]
        self.tests = [self.encoded(task, pseudo=True) for task in tasks]
        splits = (("nfcorpus", "dev"), ("cosqa", "dev"), ("scifact", "train"))
        self.pairs = [training(data / "train", name) for name in SOURCES]
        self.devs = [self.encoded(collection(data / name, split), pseudo=True) for name, split in splits]
        self.in_domain = [self.encoded(dev) for _, dev in self.pairs]
        self.trained = [self.encoded(train) for train, _ in self.pairs]
        everything = [*self.tests, *self.in_domain]
        self.base = {of.task.name: self.kept("base", of, lambda of: by_layer(of, lambda x: x)) for of in everything}

    def encoded(self, task: Task, *, pseudo: bool = False) -> Encoded:
        queries, documents = vectors(task, self.embedder, self.work)
        texts = pseudo_queries(list(task.documents.values())) if pseudo else []
        found = _kept(texts, self.embedder, self.work / "vectors") if pseudo else None
        return Encoded(task, queries, documents, found)

    def kept(self, name: str, of: Encoded, make: Callable[[Encoded], Any]) -> Any:
        """Return figures from the working folder, after making them: a run that was killed goes on."""
        digest = hashlib.sha256(json.dumps([name, of.task.digest]).encode()).hexdigest()[:24]
        path = self.work / "figures" / f"{digest}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            found = make(of)
            path.with_suffix(".tmp").write_text(json.dumps(found))
            os.replace(path.with_suffix(".tmp"), path)
            print(f"{name}: {of.task.name}", flush=True)
        return json.loads(path.read_text())

    def free(self) -> dict[str, Any]:
        text = np.concatenate([of.documents for of in self.trained])
        kinds: dict[str, Callable[[Encoded, float], Whitening]] = {
            "training text": lambda of, power: Whitening.fit(text, power=power),
            "own documents": lambda of, power: Whitening.fit(of.documents, power=power),
            "own documents, query direction": lambda of, power: Whitening.fit(of.documents, of.pseudo, power=power),
        }

        def reached(kind: str, of: Encoded, power: float) -> Figures:
            metrics = METRICS if of in self.tests else (METRIC,)
            return self.kept(f"{kind}, power {power:g}", of, lambda of: by_layer(of, kinds[kind](of, power), metrics))

        sweep = {
            kind: {
                of.task.name: {f"{power:g}": reached(kind, of, power)["mean"][METRIC] for power in POWERS}
                for of in [*self.tests, *self.devs]
            }
            for kind in kinds
        }
        devs = [of.task.name for of in self.devs]
        chosen = {
            kind: max(POWERS, key=lambda power, of=of: fmean(of[name][f"{power:g}"] for name in devs))
            for kind, of in sweep.items()
        }
        rows = {"base": {of.task.name: {"mean": self.base[of.task.name]["mean"]} for of in self.tests}}
        geometry: dict[str, Any] = {"base": self.lying("base", lambda of: lambda x: x)}
        for kind, fit in kinds.items():
            powers = {
                "centred": 0.0,
                f"power {DEFAULT_POWER:g}": DEFAULT_POWER,
                "power 0.25": 0.25,
                "fully whitened": 0.5,
            }
            powers["chosen power"] = chosen[kind]
            for label, power in powers.items():
                rows[f"{label}, {kind}"] = {
                    of.task.name: against(self.base[of.task.name], reached(kind, of, power)) for of in self.tests
                }
                name = f"{kind}, power {power:g}"
                if kind.endswith("direction"):
                    geometry[f"{label}, {kind}"] = self.lying(name, lambda of, fit=fit, power=power: fit(of, power))
        power = chosen["own documents, query direction"]
        rows["chosen power, own documents, direction of real queries"] = {
            of.task.name: against(
                self.base[of.task.name], self.kept(f"real queries, power {power:g}", of, lambda of: crossed(of, power))
            )
            for of in self.tests
        }
        corrected(rows)
        return {
            "powers": sweep,
            "development": devs,
            "chosen": chosen,
            "rows": rows,
            "verdict": verdict(rows),
            "geometry": geometry,
        }

    def lying(self, name: str, layer: Callable[[Encoded], Layer]) -> dict[str, Any]:
        def figures(of: Encoded) -> dict[str, Any]:
            rows = np.random.default_rng(0).permutation(len(of.documents))[:GEOMETRY_ROWS]
            return isotropy(layer(of)(of.documents[rows]))

        return {of.task.name: self.kept(f"geometry, {name}", of, figures) for of in self.tests}

    def frozen(self) -> dict[str, Any]:
        """Train a linear head on the base's vectors; the base is frozen, so its vectors are computed once."""
        rows = {"base": {name: {"mean": found["mean"]} for name, found in self.base.items()}}
        training: dict[str, Any] = {}
        losses = {"contrastive only": 0.0, "+ covariance loss": 1.0, "+ SIGReg": 1.0}
        for distance, (name, weight) in itertools.product(self.distances, losses.items()):
            isotropic = "covariance" if "covariance" in name else "sigreg"
            label = f"{name}, {distance}"
            heads = [self.head(distance, isotropic, weight, seed) for seed in self.seeds]
            rows[label], training[label] = {}, [figures for _, _, figures in heads]
            for of in [*self.tests, *self.in_domain]:
                found = [
                    self.reached(label, distance, seed, head, of) for seed, head in zip(self.seeds, heads, strict=True)
                ]
                rows[label][of.task.name] = against(self.base[of.task.name], averaged(found))
                rows[label][of.task.name]["sd"] = pstdev([one["mean"][METRIC] for one in found])
        corrected(rows)
        outside = {of.task.name for of in self.tests}
        only = {variant: {name: of[name] for name in of if name in outside} for variant, of in rows.items()}
        return {"rows": rows, "verdict": verdict(only), "training": training}

    def reached(self, label: str, distance: str, seed: int, head: Any, of: Encoded) -> Figures:
        weight, bias, _ = head
        make = lambda of: by_layer(of, lambda x: x @ weight.T + bias, METRICS, distance)  # noqa: E731
        return self.kept(f"head {label}, seed {seed}", of, make)

    def head(
        self, distance: str, isotropic: str, weight: float, seed: int
    ) -> tuple[Vectors, Vectors, dict[str, float]]:
        path = self.work / "heads" / f"{distance}-{isotropic}-{weight:g}-{seed}.npz"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            weights, figures = self.learnt(distance, isotropic, weight, seed)
            np.savez(path, *weights, figures=json.dumps(figures))
            print(path.stem, figures, flush=True)
        with np.load(path) as found:
            return found["arr_0"], found["arr_1"], json.loads(str(found["figures"]))

    def learnt(self, distance: str, isotropic: str, weight: float, seed: int) -> tuple[list[Vectors], dict[str, Any]]:
        from semantic_ranker_training.gaussian.model import projection_start

        torch.manual_seed(seed)
        row = {
            text: vector
            for of in self.trained
            for texts, found in ((of.task.queries, of.queries), (of.task.documents, of.documents))
            for text, vector in zip(texts.values(), found, strict=True)
        }
        laid, size = epochs(self.rows(), count=100, batch_size=BATCH, seed=seed)
        start, bias = projection_start(
            np.concatenate([of.documents for of in self.trained]),
            len(self.trained[0].documents[0]),
            gaussian=distance == "l2",
        )
        linear = torch.nn.Linear(*start.shape[::-1])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(start))
            linear.bias.copy_(torch.from_numpy(bias))
        loss = IsotropicLoss(linear, distance=distance, isotropy=isotropic, lambda_isotropy=weight, seed=seed)
        optimizer = torch.optim.AdamW(linear.parameters(), lr=RATE, weight_decay=0.01)
        for step in range(STEPS):
            batch = laid[step * size : (step + 1) * size]
            found = [
                linear(torch.from_numpy(np.stack([row[getattr(of, side)] for of in batch])))
                for side in ("query", "positive")
            ]
            optimizer.zero_grad()
            torch.stack(list(loss.of_vectors(*found).values())).sum().backward()
            optimizer.step()
        weights = [of.detach().numpy().copy() for of in (linear.weight, linear.bias)]
        return weights, {**loss.figures, "collapse": loss.collapse() is not None}

    def rows(self) -> list[Any]:
        return rows_of(
            [
                Group(of.task.queries[query], tuple(of.task.documents[doc] for doc in grades), (1.0,) * len(grades))
                for of in self.trained
                for query, grades in of.task.qrels.items()
            ]
        )

    def full(self, seeds: tuple[int, ...]) -> dict[str, Any]:
        """Fine-tune all weights on a few pairs, and measure on subsets: what forgetting looks like."""
        subsets = [self.subset(of) for of in self.tests if of.task.name in COLLECTIONS]
        pairs = self.rows()
        random.Random(0).shuffle(pairs)
        groups = [Group(row.query, (row.positive,), (1.0,)) for row in pairs[:FULL_PAIRS]]
        base = {of.task.name: by_layer(of, lambda x: x) for of in subsets}
        found: dict[str, Any] = {"base": {name: {"mean": of["mean"]} for name, of in base.items()}}
        variants = {
            "contrastive only": ("sigreg", 0.0),
            "+ SIGReg": ("sigreg", 1.0),
            "+ covariance loss": ("covariance", 1.0),
        }
        for name, (isotropic, weight) in variants.items():
            for of in subsets:
                kept = [self.tuned(isotropic, weight, seed, groups, of) for seed in seeds]
                found.setdefault(name, {})[of.task.name] = against(base[of.task.name], averaged(kept))
        return {
            "pairs": FULL_PAIRS,
            "documents": FULL_DOCS,
            "seeds": len(seeds),
            "sizes": {of.task.name: [len(of.task.queries), len(of.task.documents)] for of in subsets},
            "rows": found,
        }

    def tuned(self, isotropic: str, weight: float, seed: int, groups: list[Group], of: Encoded) -> Figures:
        from semantic_ranker_training.gaussian.trainer import GaussianTrainer

        folder = self.work / "full" / f"{isotropic}-{weight:g}-{seed}"
        if not (folder / "model" / "semantic_ranker.json").is_file():
            config = GaussianConfig(
                batch_size=32,
                learning_rate=5e-5,
                warmup_steps=2,
                max_length=256,
                isotropy=isotropic,
                lambda_isotropy=weight,
                seed=seed,
            )
            GaussianTrainer(config=config).train(groups, (), output_dir=folder)
        embedder = Embedder(folder / "model", precision="fp32", threads=1, max_length=256)
        queries, documents = vectors(of.task, embedder, self.work)
        return measured(of, queries, documents)

    def subset(self, of: Encoded) -> Encoded:
        names = sorted(of.task.queries)
        random.Random(0).shuffle(names)
        chosen = sorted(names[:FULL_QUERIES])
        judged = {doc for name in chosen for doc, grade in of.task.qrels[name].items() if grade > 0}
        others = [doc for doc in of.task.documents if doc not in judged]
        random.Random(0).shuffle(others)
        kept = set(sorted(judged)[:FULL_DOCS]) | set(others[: max(0, FULL_DOCS - len(judged))])
        rows = [row for row, doc in enumerate(of.task.documents) if doc in kept]
        asked = [row for row, name in enumerate(of.task.queries) if name in set(chosen)]
        task = Task(
            of.task.name,
            {doc: text for doc, text in of.task.documents.items() if doc in kept},
            {name: of.task.queries[name] for name in of.task.queries if name in set(chosen)},
            {name: {d: g for d, g in of.task.qrels[name].items() if d in kept} for name in chosen},
        )
        return Encoded(task, of.queries[asked], of.documents[rows])


def plot(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = {name: of for part in ("free", "frozen") for name, of in found.get(part, {}).get("rows", {}).items()}
    names = [name for name in rows if name != "base" and "power 0.25, own" not in name]
    tasks = [task for task in (*COLLECTIONS, *PROBES) if task in found["free"]["rows"]["base"]]
    figure, axes = plt.subplots(1, len(tasks), figsize=(2.1 * len(tasks) + 3, 0.27 * len(names) + 1.2), sharey=True)
    for axis, task in zip(axes, tasks, strict=True):
        for place, name in enumerate(reversed(names)):
            entry = rows[name].get(task)
            if entry:
                low, high = (100 * end for end in entry["interval"])
                colour = "#1b7837" if low > 0 else "#b2182b" if high < 0 else "#777777"
                axis.plot([low, high], [place, place], color=colour, linewidth=2)
                axis.plot(100 * entry["difference"], place, "o", color=colour, markersize=4)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(task, fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(names)), list(reversed(names)))
    figure.supxlabel("change of nDCG@10 to the base, points, with 95 % interval", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", ".")))
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "isotropy")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--parts", nargs="*", default=["free", "frozen"], choices=["free", "frozen", "full"])
    parser.add_argument("--tasks", nargs="*", default=[*COLLECTIONS, *PROBES], choices=[*COLLECTIONS, *PROBES])
    parser.add_argument("--distances", nargs="*", default=["cosine"], choices=["cosine", "l2"], help="of frozen")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="of frozen")
    parser.add_argument("--full-seeds", type=int, default=1)
    parser.add_argument("--plot", action="store_true", help="only draw the results that are there")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    if not options.plot:
        torch.set_num_threads(1)
        bench = Bench(options.data, options.work, options.tasks)
        bench.distances, bench.seeds = tuple(options.distances), SEEDS[: options.seeds]
        found |= {
            "what": "nDCG@10 and others of exact search by cosine; differences to the base with 95 % bootstrap intervals "
            "over queries, randomisation test, Holm over the collections of a variant",
            "model": f"{MODEL}, fp32, 256 tokens; it has seen MS MARCO, SQuAD and much more in its own training",
            "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
            "versions": {name: version(name) for name in ("numpy", "torch", "onnxruntime", "sentence-transformers")},
            "command": "python benchmarks/isotropy.py --data DATA --parts free frozen full --distances cosine l2 --full-seeds 3",
            "sizes": {
                of.task.name: [len(of.task.queries), len(of.task.documents)] for of in [*bench.tests, *bench.devs]
            },
            "head": {
                "pairs": len(bench.rows()),
                "steps": STEPS,
                "batch": BATCH,
                "rate": RATE,
                "seeds": len(bench.seeds),
            },
        }
        for part in options.parts:
            started = time.time()
            found[part] = bench.full(SEEDS[: options.full_seeds]) if part == "full" else getattr(bench, part)()
            found[part]["seconds"] = round(time.time() - started)
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    plot(found, options.out.with_suffix(".svg"))


if __name__ == "__main__":
    sys.exit(main())
