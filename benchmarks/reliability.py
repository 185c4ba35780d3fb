"""Does a relevance of 0.5 mean the same everywhere: the bundled reranker's calibrated scores against judgments.

    python benchmarks/reliability.py --data ../shared/data

Texts are BM25's best 100 of each query, relevant where the judgments give a grade above 0. What nobody judged counts as
not relevant, and these collections judge nothing else, so the share that is relevant is a lower bound. Logits are those
that quality.py keeps under runs/quality, computed where they are missing; the calibration of the model folder is
applied here, once. It was fitted with relevant and other texts weighing the same, so it is also held against shares that
are counted so. Beside it stand other values of its two numbers, fitted to the other three collections or, query by query,
to other queries of the same one.
"Mean" is that of the collections, each weighing the same; intervals are of 95 %, by resampling queries.
Writes benchmarks/results/reliability.json and .svg.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality import CANDIDATES, ROOT, STATES, Run, Task, prepare, reranked
from reliability_tables import BALANCED, OTHERS, OWN, SAME, SHIPPED, plot

from semantic_ranker import CrossEncoder
from semantic_ranker.evaluation.reliability import Reliability, measure_reliability, scores_and_labels
from semantic_ranker.evaluation.resampling import RESAMPLES, bootstrap_means, quantiles

COLLECTIONS = ("cacm", "scifact", "nfcorpus", "cosqa")
BINS = 10
THRESHOLD = 0.5
Z = 1.96
THRESHOLDS = 1_000  # resamples of the best threshold, each of which sorts out all texts
FOLDS = 5
STEPS = 50
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """The candidates of one collection, float64 (n,) each, and the place of each text's query."""

    name: str
    logits: Floats
    labels: Floats
    query: NDArray[np.intp]
    queries: int
    seed: int

    def part(self, chosen: NDArray[np.bool_]) -> Judged:
        return Judged(self.name, self.logits[chosen], self.labels[chosen], self.query[chosen], self.queries, self.seed)

    def by_query(self, values: Floats) -> Floats:
        """Return sums over the texts of each query, float64 (queries,)."""
        sums: Floats = np.bincount(self.query, values, self.queries).astype(np.float64)
        return sums


@dataclass(frozen=True)
class Share:
    """A ratio of sums over queries, NaN where nothing is below the line, and the same of resampled queries.

    ``texts`` is the sum below the line where the ratio is a share of texts.
    """

    value: float
    draws: Floats
    texts: float = math.inf

    def to_dict(self) -> dict[str, float] | None:
        drawn = self.draws[np.isfinite(self.draws)]
        if not np.isfinite(self.value) or not len(drawn):
            return None
        low, high = (float(end[0]) for end in quantiles(drawn[:, None]))
        # Resampling none gives none again; Wilson's interval knows that few texts leave more open.
        open_end = Z**2 / (self.texts + Z**2)
        low, high = (1 - open_end if self.value == 1 else low), (open_end if self.value == 0 else high)
        return {"mean": _round(self.value), "low": _round(low), "high": _round(high)}


@dataclass(frozen=True)
class Measured:
    """One collection's scores in [0, 1] against its judgments."""

    reliability: Reliability
    scores: Floats
    counts: Floats
    shares: tuple[Share, ...]
    at_half: dict[str, Share]

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: round(value, 6) for name, value in self.reliability.to_dict().items()},
            "bins": [_bin(*found) for found in zip(self.scores, self.counts, self.shares, strict=True)],
            f"at_{THRESHOLD}": {name: share.to_dict() for name, share in self.at_half.items()},
        }


def judged(task: Task, run: Run, seed: int) -> Judged:
    logits, labels = scores_and_labels(run, task.qrels, most=CANDIDATES * len(run))
    query = np.repeat(np.arange(len(run)), [len(of) for of in run.values()])
    return Judged(task.name, logits, labels, query, len(run), seed)


def sigmoid(x: Floats) -> Floats:
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def fit(parts: Sequence[Judged], *, balanced: bool) -> tuple[float, float]:
    """Return scale and bias of least log loss, each part weighing the same, by Newton's method.

    Args:
        parts: What is fitted to.
        balanced: Whether relevant and other texts weigh the same too, as where the bundled model was calibrated.
    """
    x, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "labels"))
    weight = np.concatenate([_weights(part.labels, balanced=balanced) for part in parts])
    centre, spread = float(x.mean()), float(x.std())
    columns = np.stack([(x - centre) / spread, np.ones_like(x)], 1)
    theta = np.zeros(2)
    for _ in range(STEPS):
        p = sigmoid(columns @ theta)
        hessian = (columns * (weight * p * (1 - p))[:, None]).T @ columns
        theta -= np.linalg.solve(hessian, columns.T @ (weight * (p - y)))
    scale = float(theta[0] / spread)
    return scale, float(theta[1] - scale * centre)


def _weights(labels: Floats, *, balanced: bool) -> Floats:
    count = labels.sum()
    each = np.where(labels > 0, 0.5 / count, 0.5 / (len(labels) - count)) if balanced else np.full_like(labels, 1.0)
    result: Floats = each / each.sum()
    return result


def by_folds(part: Judged) -> Floats:
    """Return scores of each text by two numbers that other queries of the collection chose."""
    scores = np.empty_like(part.logits)
    for fold in range(FOLDS):
        held = part.query % FOLDS == fold
        scale, bias = fit([part.part(~held)], balanced=False)
        scores[held] = sigmoid(scale * part.logits[held] + bias)
    return scores


def shares(part: Judged, pairs: Sequence[tuple[Floats, Floats]]) -> list[Share]:
    """Return the ratio of the sums of each pair of values of the texts; all pairs share their resamples."""
    sums = np.stack([part.by_query(values) for pair in pairs for values in pair], 1)
    means, drawn = sums.mean(0), bootstrap_means(sums, RESAMPLES, part.seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        values, draws = means[0::2] / means[1::2], drawn[:, 0::2] / drawn[:, 1::2]
    below = part.queries * means[1::2]
    return [Share(float(value), draws[:, n], float(below[n])) for n, value in enumerate(values)]


def measure(part: Judged, scores: Floats) -> Measured:
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS).astype(float)
    above, labels = (scores >= THRESHOLD).astype(float), part.labels
    inside = [(place == number).astype(float) for number in range(BINS)]
    rates = {
        "precision": (above * labels, above),
        "recall": (above * labels, labels),
        "f1": (2 * above * labels, above + labels),
        "others_above": (above * (1 - labels), 1 - labels),
    }
    found = shares(part, [*((of * labels, of) for of in inside), *rates.values()])
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, scores, BINS) / counts
    return Measured(
        measure_reliability(scores, labels, bins=BINS),
        mean,
        counts,
        tuple(found[:BINS]),
        dict(zip(rates, found[BINS:], strict=True)),
    )


def counted_evenly(part: Judged, scores: Floats) -> dict[str, Any]:
    """Return the bins as if relevant and other texts were equally many: what the calibration claims."""
    weight = _weights(part.labels, balanced=True)
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    inside = [(place == number) * weight for number in range(BINS)]
    found = shares(part, [(of * part.labels, of) for of in inside])
    texts = np.bincount(place, minlength=BINS)
    total = np.bincount(place, weight, BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weight * scores, BINS) / total
    full = texts > 0
    apart = np.abs(mean - [of.value for of in found])
    return {
        "expected_error": _round(float((total[full] * apart[full]).sum())),
        "bins": [_bin(*of) for of in zip(mean, texts, found, strict=True)],
    }


def best_threshold(part: Judged, scores: Floats) -> dict[str, Any]:
    """Return the threshold of the best F1 on these very judgments, and its interval."""
    order = np.argsort(-scores, kind="stable")
    labels, query = part.labels[order], part.query[order]
    # Texts of equal score pass a threshold together.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))

    def best(weight: Floats) -> tuple[int, float]:
        hits = np.cumsum(weight * labels)
        f1 = 2 * hits[last] / (np.cumsum(weight)[last] + hits[-1])
        return int(last[f1.argmax()]), float(f1.max())

    place, f1 = best(np.ones_like(labels))
    counts = np.random.default_rng(part.seed).multinomial(part.queries, [1 / part.queries] * part.queries, THRESHOLDS)
    drawn = np.array([scores[order][best(count[query].astype(float))[0]] for count in counts])
    low, high = quantiles(drawn[:, None])
    hits = labels[: place + 1].sum()
    return {
        "threshold": {
            "mean": _round(scores[order][place]),
            "low": _round(float(low[0])),
            "high": _round(float(high[0])),
        },
        "f1": _round(f1),
        "precision": _round(hits / (place + 1)),
        "recall": _round(hits / labels.sum()),
    }


def pooled(found: Sequence[Measured]) -> dict[str, Any]:
    """Return means over collections; a bin that a collection has no text in is the mean of the others."""

    def mean(of: Sequence[Share]) -> Share:
        have = [share for share in of if np.isfinite(share.value)]
        if not have:
            return Share(float("nan"), np.array([]))
        return Share(
            float(np.mean([share.value for share in have])),
            np.asarray(np.mean([share.draws for share in have], axis=0)),
        )

    def average(value: Callable[[Reliability], float]) -> float:
        return _round(float(np.mean([value(of.reliability) for of in found])))

    bins = []
    for number in range(BINS):
        scores = [of.scores[number] for of in found if of.counts[number]]
        count = sum(of.counts[number] for of in found)
        bins.append(_bin(float(np.mean(scores)) if scores else 0.0, count, mean([of.shares[number] for of in found])))
    return {
        "expected_error": average(lambda of: of.expected_error),
        "brier": average(lambda of: of.brier),
        "texts": sum(of.reliability.texts for of in found),
        "relevant": average(lambda of: of.relevant),
        "mean_score": average(lambda of: of.mean_score),
        "bins": bins,
        f"at_{THRESHOLD}": {name: mean([of.at_half[name] for of in found]).to_dict() for name in found[0].at_half},
    }


def _bin(score: float, count: float, share: Share) -> dict[str, Any]:
    return {"texts": int(count), "score": _round(score) if count else None, "relevant": share.to_dict()}


def _round(value: float) -> float:
    return round(float(value), 6)


def brier_change(part: Judged, scores: Floats, shipped: Floats) -> Share:
    change = (scores - part.labels) ** 2 - (shipped - part.labels) ** 2
    return shares(part, [(change, np.ones_like(change))])[0]


def report(parts: Sequence[Judged], relevance: Callable[[Floats], Floats]) -> dict[str, Any]:
    """Return the figures of all ways to calibrate, and what threshold each collection would need."""
    shipped = [relevance(part.logits) for part in parts]
    numbers: dict[str, list[tuple[float, float]]] = {}
    ways = {SHIPPED: shipped}
    for way, balanced in ((OTHERS, False), (SAME, True)):
        numbers[way] = [fit([other for other in parts if other is not part], balanced=balanced) for part in parts]
        ways[way] = [sigmoid(s * part.logits + b) for part, (s, b) in zip(parts, numbers[way], strict=True)]
    ways[OWN] = [by_folds(part) for part in parts]
    result: dict[str, Any] = {}
    for way, scores in ways.items():
        found = [measure(part, of) for part, of in zip(parts, scores, strict=True)]
        change = [brier_change(*of) for of in zip(parts, scores, shipped, strict=True)]
        result[way] = {"mean": pooled(found), "collections": {}}
        both = Share(float(np.mean([of.value for of in change])), np.mean([of.draws for of in change], axis=0))
        if way != SHIPPED:
            result[way]["mean"]["brier_change"] = both.to_dict()
        for place, (part, of) in enumerate(zip(parts, found, strict=True)):
            entry = result[way]["collections"][part.name] = of.to_dict()
            if way == SHIPPED:
                share = of.reliability.relevant
                entry |= {"queries": part.queries, "brier_of_the_share": _round(share * (1 - share))}
                entry["best_f1"] = best_threshold(part, scores[place])
            else:
                entry["brier_change"] = change[place].to_dict()
            if way in numbers:
                entry |= dict(zip(("scale", "bias"), map(_round, numbers[way][place]), strict=True))
    found = {part.name: counted_evenly(part, scores) for part, scores in zip(parts, shipped, strict=True)}
    error = float(np.mean([of["expected_error"] for of in found.values()]))
    result[BALANCED] = {"mean": {"expected_error": _round(error)}, "collections": found}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--threads", type=int, help="for scores that are missing")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/reliability.json")
    options = parser.parse_args()
    encoder = CrossEncoder(cache_bytes=STATES, threads=options.threads)
    store = ROOT / "runs/quality" / encoder.fingerprint[:12]
    seeds = np.random.SeedSequence(0).generate_state(len(COLLECTIONS))
    parts = []
    for name, seed in zip(COLLECTIONS, seeds, strict=True):
        task = prepare(options.data / name, None)
        run = reranked(task, encoder, store / f"{name}.{encoder.precision}.json")
        parts.append(judged(task, run, int(seed)))
    result: dict[str, Any] = {
        "what": f"calibrated relevance of BM25's best {CANDIDATES} against judgments, unjudged as not relevant; 95 % "
        "bootstrap intervals over queries; recall is of the relevant texts among them",
        "model": {"name": encoder.model_name, "precision": encoder.precision, "fingerprint": encoder.fingerprint},
        "ways": report(parts, encoder.relevance),
        "machine": {"cpu": platform.processor() or platform.machine(), "system": platform.system()},
        "versions": {
            name: version(name) for name in ("semantic-ranker", "onnxruntime", "tokenizers", "bm25s", "numpy")
        },
        "command": "python benchmarks/reliability.py --data DATA",
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, options.out.with_suffix(".svg"))
    for way, found in result["ways"].items():
        for name, of in found["collections"].items():
            print(f"{way:<72} {name:<9} error {of['expected_error']:.3f}")
    print("wrote", options.out)


if __name__ == "__main__":
    main()
