"""Measures a model as it learns: retrieval over held-out passages, and how the vectors lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator

from semantic_ranker.collections import Collection
from semantic_ranker.embedding_quality.geometry import average_cosine, effective_rank
from semantic_ranker.evaluation.embedder import EmbedderEvaluator
from semantic_ranker_training.cross_encoder.evaluator import held_out_task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from semantic_ranker_training.data import Group
    from semantic_ranker_training.gaussian.loss import Distance

PRIMARY = "nDCG@10"
METRICS = (PRIMARY, "RR@10", "Recall@10", "AP@100")
_RESAMPLES = 100


class TextVectors:
    """A sentence-transformers model with the methods that the evaluation calls.

    Args:
        model: The model.
        batch_size: Texts at a time.
    """

    def __init__(self, model: SentenceTransformer, batch_size: int = 32) -> None:
        self._model, self._batch = model, batch_size

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, dim)."""
        return self._encoded(self._model.encode_query, texts)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 (n, dim)."""
        return self._encoded(self._model.encode_document, texts)

    def _encoded(self, encode: Any, texts: Sequence[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = encode(list(texts), batch_size=self._batch, show_progress_bar=False)
        return np.asarray(found, np.float32)


class RetrievalEvaluator(BaseEvaluator):
    """nDCG@10 and others of held-out queries over all passages, with average cosine and effective rank.

    Args:
        collection: Queries, passages and judgments.
        distance: What nearest means.
    """

    def __init__(self, collection: Collection, distance: Distance) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.primary_metric = PRIMARY
        self.collection, self.distance = collection, distance

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: Any = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the means by metric name."""
        vectors = TextVectors(model)
        report = EmbedderEvaluator(vectors, similarity=self.distance).evaluate(
            self.collection, METRICS, resamples=_RESAMPLES
        )
        lying = vectors.embed_documents(list(self.collection.corpus.values())[:500])
        found = {**report.mean, "average_cosine": average_cosine(lying), "effective_rank": effective_rank(lying)}
        self.store_metrics_in_model_card_data(model, found, epoch, steps)
        return found


def held_out_collection(held_out: Sequence[Group], others: Sequence[Group] = ()) -> Collection:
    """Return held-out queries as a collection; the passages searched are those of all groups."""
    task = held_out_task(held_out, others)
    qrels = {query: dict(grades) for query, grades in task.qrels.items()}
    return Collection(name="held-out queries", corpus=dict(task.corpus), queries=dict(task.queries), qrels=qrels)
