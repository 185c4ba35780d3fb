"""Retrieval by an embedder alone, in MTEB's field names; the search and the metrics are `EmbedderEvaluator`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantic_ranker.evaluation.embedder import EmbedderEvaluator

if TYPE_CHECKING:
    from semantic_ranker.collections import Collection
    from semantic_ranker.evaluation.embedder import EmbedsQueries, EmbedsQuery

_NAMES = {
    "nDCG@10": "ndcg_at_10",
    "RR@10": "mrr_at_10",
    "AP@100": "map_at_100",
    "Recall@10": "recall_at_10",
    "Recall@100": "recall_at_100",
}


def retrieval_scores(embedder: EmbedsQueries | EmbedsQuery, collection: Collection) -> dict[str, Any]:
    """Search a collection exactly and measure what is found.

    Args:
        embedder: What is measured.
        collection: See `semantic_ranker.collections.load_beir`.

    Returns:
        ``ndcg_at_10`` (MTEB's main score), ``mrr_at_10``, ``map_at_100``, ``recall_at_10``, ``recall_at_100``,
        ``main_score``; ``main_score_interval``, the 95 % bootstrap interval; ``queries`` and ``documents``.

    Raises:
        EvaluationError: The collection is empty, or the embedder returns something else than vectors.
    """
    report = EmbedderEvaluator(embedder).evaluate(collection, list(_NAMES))
    scores = {ours: report.mean[name] for name, ours in _NAMES.items()}
    return {
        **scores,
        "main_score": scores["ndcg_at_10"],
        "main_score_interval": list(report.intervals["nDCG@10"]),
        "queries": report.queries,
        "documents": report.documents,
    }
