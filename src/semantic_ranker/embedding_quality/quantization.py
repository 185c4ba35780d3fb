"""What it costs to store vectors in fewer bytes: against the cosine, the neighbours, and judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.embedding.quantize import Codec, Quantizer, cosines
from semantic_ranker.embedding_quality.matrices import unit
from semantic_ranker.errors import EvaluationError
from semantic_ranker.evaluation.exact_search import ExactSearch
from semantic_ranker.evaluation.metrics import evaluate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker.evaluation.metrics import Qrels

STORAGES: tuple[Codec, ...] = ("fp16", "int8", "int8-calibrated", "binary")
_TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationImpact:
    """What one way of storing costs.

    Attributes:
        storage: The way, see `semantic_ranker.embedding.quantize.Quantizer`.
        bytes_per_vector: Payload, a scale included.
        mean_cosine: Of stored vectors to fp32.
        least_cosine: The worst of them.
        overlap_at_10: Share of a query's ten nearest documents that stay among the ten.
        ndcg_at_10: With the stored documents; None without judgments.
        ndcg_at_10_difference: To fp32; None without judgments.
    """

    storage: Codec
    bytes_per_vector: int
    mean_cosine: float
    least_cosine: float
    overlap_at_10: float
    ndcg_at_10: float | None = None
    ndcg_at_10_difference: float | None = None

    def to_dict(self) -> dict[str, str | float | int | None]:
        """Return the figures, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Judgments for the queries and documents that are measured.

    Attributes:
        queries: Id of each query, in the order of the vectors.
        documents: Id of each document, in the order of the vectors.
        qrels: Grades by query id, then document id.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    qrels: Qrels


def quantization_impact(
    queries: ArrayLike,
    documents: ArrayLike,
    *,
    storages: Sequence[Codec] = STORAGES,
    judged: Judged | None = None,
) -> list[QuantizationImpact]:
    """Measure what storing the documents costs; queries stay fp32, as they are never stored.

    Args:
        queries: (n_queries, dim).
        documents: (n_documents, dim), 10 or more.
        storages: What to measure.
        judged: Judgments, for the difference of nDCG@10.

    Raises:
        EvaluationError: The vectors are no matrices of one width, or do not match the judgments' ids.
    """
    asked, stored = unit(queries, least=1), unit(documents, least=_TOP)
    if asked.shape[1] != stored.shape[1]:
        raise EvaluationError(f"Expected vectors of one width, got {asked.shape[1]} and {stored.shape[1]}.")
    if judged and (len(judged.queries), len(judged.documents)) != (len(asked), len(stored)):
        raise EvaluationError(
            f"Expected one id a vector, got {len(judged.queries)} and {len(judged.documents)} ids for "
            f"{len(asked)} queries and {len(stored)} documents."
        )
    exact = _nearest(asked, stored)
    base = _ndcg(exact, judged)
    return [_impact(storage, asked, stored, exact, (judged, base)) for storage in storages]


def _impact(
    storage: Codec,
    asked: NDArray[np.float64],
    stored: NDArray[np.float64],
    exact: list[dict[int, float]],
    judgment: tuple[Judged | None, float | None],
) -> QuantizationImpact:
    judged, base = judgment
    quantizer = Quantizer.fit(stored, storage)
    codes = quantizer.encode(stored)
    back = quantizer.decode(codes)
    kept = cosines(stored.astype(np.float32), back)
    found = _nearest(asked, back)
    shared = [len(mine.keys() & theirs.keys()) for mine, theirs in zip(found, exact, strict=True)]
    score = _ndcg(found, judged)
    return QuantizationImpact(
        storage=storage,
        bytes_per_vector=codes.nbytes // len(codes),
        mean_cosine=float(kept.mean()),
        least_cosine=float(kept.min()),
        overlap_at_10=float(np.mean(shared) / _TOP),
        ndcg_at_10=score,
        ndcg_at_10_difference=None if score is None or base is None else score - base,
    )


def _nearest(asked: NDArray[np.float64], stored: ArrayLike) -> list[dict[int, float]]:
    search = ExactSearch(asked, _TOP)
    search.add(stored)
    return [dict(search.best(row)) for row in range(len(asked))]


def _ndcg(found: list[dict[int, float]], judged: Judged | None) -> float | None:
    if judged is None:
        return None
    run = {
        query: {judged.documents[place]: score for place, score in of.items()}
        for query, of in zip(judged.queries, found, strict=True)
    }
    return evaluate(run, judged.qrels, ["nDCG@10"]).mean["nDCG@10"]
