"""The second gate of an export: on judged data, int8 may not be worse than fp32 by more than a stated amount."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from semantic_ranker import CrossEncoder
from semantic_ranker.collections import Collection
from semantic_ranker.embedder import Embedder
from semantic_ranker.errors import ExportParityError, InvalidInputError
from semantic_ranker.evaluation import EmbedderEvaluator, RankerEvaluator, RerankTask, compare
from semantic_ranker.evaluation.inputs import JudgedData, Measuring
from semantic_ranker.evaluation.metrics import Qrels
from semantic_ranker_training.export_options import Precision

logger = logging.getLogger(__name__)

_METRIC = "nDCG@10"
_LEAST_QUERIES = 10
Ranking = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityGate:
    """What int8 has to hold its quality on.

    Attributes:
        data: BEIR folder. A reranker reranks BM25's candidates, a bi-encoder searches the corpus.
        split: Whose judgments.
        depth: Candidates a query.
        queries: The first so many; None takes all.
        floor: What the lower bound of the 95 % interval of the difference in nDCG@10 may not fall below.
        accept_loss: Whether a model below the floor is written all the same; the manifest says so.
    """

    data: Path
    split: str = "test"
    depth: int = 50
    queries: int | None = None
    floor: float = -0.005
    accept_loss: bool = False

    def collection(self) -> Collection:
        """Return texts and judgments of the queries that count.

        Raises:
            EvaluationError: The folder cannot be read.
            InvalidInputError: There are fewer than ten queries, which say nothing.
        """
        found = JudgedData(path=Path(self.data), split=self.split).texts()
        kept = list(found.qrels)[: self.queries]
        if len(kept) < _LEAST_QUERIES:
            raise InvalidInputError(
                f"Expected {_LEAST_QUERIES} or more judged queries for the quality gate, got {len(kept)}."
            )
        queries = {qid: found.queries[qid] for qid in kept}
        return replace(found, queries=queries, qrels={qid: found.qrels[qid] for qid in kept})

    def candidates(self, collection: Collection) -> Ranking:
        """Return what BM25 finds for each query."""
        data = JudgedData(path=Path(self.data), split=self.split)
        run = Measuring(data=data, metrics=(_METRIC,), depth=self.depth).measure("bm25").run
        return {qid: run[qid] for qid in collection.queries if qid in run}


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityDifference:
    """One precision against fp32.

    Attributes:
        precision: ``int8`` or ``fp16``.
        mean: Its nDCG@10.
        difference: Minus that of fp32.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
    """

    precision: str
    mean: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """What was measured on judged data.

    Attributes:
        collection: Its name.
        queries: Queries.
        fp32: nDCG@10 of the fp32 graph.
        differences: Of each other precision.
        floor: See `QualityGate`.
        accepted_loss: Whether a precision below the floor was written at the caller's word.
    """

    collection: str
    queries: int
    fp32: float
    floor: float
    differences: Sequence[QualityDifference] = field(default_factory=tuple)
    accepted_loss: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self) | {"differences": [asdict(of) for of in self.differences]}

    def lines(self) -> list[str]:
        """Return a line a precision."""
        found = [f"{_METRIC} on {self.queries} queries of {self.collection}: fp32 {self.fp32:.4f}"]
        found += [
            f"{of.precision} {of.mean:.4f}, difference {of.difference:+.4f} [{of.low:+.4f}, {of.high:+.4f}]"
            for of in self.differences
        ]
        return [*found, "below the floor, accepted by the caller"] if self.accepted_loss else found

    @property
    def below(self) -> list[QualityDifference]:
        """Precisions whose interval falls below the floor; one that is NaN does."""
        return [of for of in self.differences if not of.low >= self.floor]

    def check(self, *, accept_loss: bool = False) -> Self:
        """Return the report, with ``accepted_loss`` set where a loss was accepted.

        Raises:
            ExportParityError: A precision falls below the floor, and that is not accepted.
        """
        if not self.below:
            return self
        if not accept_loss:
            raise ExportParityError(
                f"Expected the interval of the {_METRIC} difference to fp32 to stay above {self.floor:g} on "
                f"{self.queries} queries of {self.collection}, got "
                + "; ".join(f"{of.precision} {of.difference:+.4f} [{of.low:+.4f}, {of.high:+.4f}]" for of in self.below)
                + ". Nothing was written. Give more queries for a narrower interval, export fp32 only, or accept it "
                "with QualityGate(accept_loss=True) or --accept-loss, which the manifest records."
            )
        logger.warning("exported below the quality floor, as asked for: %s", "; ".join(self.lines()))
        return replace(self, accepted_loss=True)


def measure_quality(gate: QualityGate, folder: Path, precisions: Sequence[Precision], *, kind: str) -> QualityReport:
    """Measure each precision of a complete model folder, fp32 among them.

    Args:
        gate: What on.
        folder: The folder.
        precisions: Those to compare with fp32.
        kind: ``reranker`` or ``embedder``.
    """
    collection = gate.collection()
    candidates = gate.candidates(collection) if kind == "reranker" else None
    base = _run(folder, "fp32", collection, candidates)
    differences, mean = [], 0.0
    for precision in precisions:
        if precision != "fp32":
            found = compare(base, _run(folder, precision, collection, candidates), collection.qrels).metrics[0]
            mean = found.mean_a
            differences.append(
                QualityDifference(
                    precision=precision,
                    mean=found.mean_b,
                    difference=found.difference,
                    low=found.low,
                    high=found.high,
                )
            )
    return QualityReport(
        collection=collection.name,
        queries=len(collection.queries),
        fp32=mean if differences else _mean(base, collection.qrels),
        differences=tuple(differences),
        floor=gate.floor,
    )


def _run(folder: Path, precision: Precision, collection: Collection, candidates: Ranking | None) -> Ranking:
    logger.info("measuring %s on %d queries of %s", precision, len(collection.queries), collection.name)
    if candidates is None:
        return EmbedderEvaluator(Embedder(folder, precision=precision)).evaluate(collection, [_METRIC]).run
    task = RerankTask(
        queries=collection.queries, corpus=collection.corpus, qrels=collection.qrels, candidates=candidates
    )
    with CrossEncoder(folder, precision=precision, other_languages="score") as model:
        return RankerEvaluator(model).evaluate(task, [_METRIC]).run


def _mean(run: Ranking, qrels: Qrels) -> float:
    from semantic_ranker.evaluation import evaluate

    return evaluate(run, qrels, [_METRIC]).mean[_METRIC]
