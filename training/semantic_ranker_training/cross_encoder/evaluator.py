"""Measures a model during training by the project's own metrics, on a stated candidate set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator

from semantic_ranker import BM25Index
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.evaluation import RerankTask, evaluate
from semantic_ranker_training.data import Group

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder

PRIMARY = "nDCG@10"
METRICS = (PRIMARY, "RR@10", "Recall@10")
CANDIDATES = 50


class TrainedScorer:
    """Scores with a sentence-transformers cross-encoder in the form that `RankerEvaluator` takes: raw logits.

    Args:
        model: The model.
        batch_size: Pairs at a time.
    """

    def __init__(self, model: CrossEncoder, batch_size: int = 64) -> None:
        self._model, self._batch = model, batch_size

    def score_many(self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return float32 (n_i,) logits of each query's texts, in input order."""
        from torch import nn

        pairs = [(query, text) for query, texts in zip(queries, texts_per_query, strict=True) for text in texts]
        scores = np.zeros(0, np.float32)
        if pairs:
            scores = self._model.predict(
                pairs, batch_size=self._batch, activation_fn=nn.Identity(), show_progress_bar=False
            )
        ends = np.cumsum([len(texts) for texts in texts_per_query])[:-1]
        return [part.astype(np.float32) for part in np.split(scores, ends)]


class RankingEvaluator(BaseEvaluator):
    """nDCG@10, RR@10 and Recall@10 of a task, ties broken by us, relevant texts outside the candidates counted.

    Args:
        task: Queries, candidates of a first stage, judgments.
        batch_size: Pairs at a time.
    """

    def __init__(self, task: RerankTask, batch_size: int = 64) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.primary_metric = PRIMARY
        self._task, self._batch = task, batch_size

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: Any = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the means by metric name; also handed to the model's card data."""
        queries = [query for query in self._task.candidates if query in self._task.qrels]
        ids = [list(self._task.candidates[query]) for query in queries]
        texts = [[self._task.corpus[document] for document in of] for of in ids]
        scores = TrainedScorer(model, self._batch).score_many([self._task.queries[query] for query in queries], texts)
        run = {
            query: dict(zip(of, map(float, values), strict=True))
            for query, of, values in zip(queries, ids, scores, strict=True)
        }
        metrics = dict(evaluate(run, self._task.qrels, METRICS).mean)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        return metrics


def held_out_task(held_out: Sequence[Group], others: Sequence[Group] = (), depth: int = CANDIDATES) -> RerankTask:
    """Return the task of ranking BM25's best texts for held-out queries.

    The texts searched are those of all groups. A relevant text that BM25 does not find stays judged and lowers the
    measures, as it does in use: the candidates are no closed set that always contains the answer.

    Args:
        held_out: Queries that are not learnt from.
        others: Groups whose texts are searched as well.
        depth: Candidates a query.

    Raises:
        InvalidInputError: There is no held-out query.
    """
    if not held_out:
        raise InvalidInputError("Expected held-out queries to measure on, got none.")
    texts = list(dict.fromkeys(text for group in (*held_out, *others) for text in group.texts))
    place = {text: f"d{row}" for row, text in enumerate(texts)}
    found = BM25Index(texts).search_many([group.query for group in held_out], depth)
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    candidates: dict[str, dict[str, float]] = {}
    for row, (group, hits) in enumerate(zip(held_out, found, strict=True)):
        query = f"q{row}"
        queries[query] = group.query
        grades = _grades(group)
        qrels[query] = {place[text]: grade for text, grade in zip(group.texts, grades, strict=True)}
        candidates[query] = {f"d{hit}": score for hit, score in hits}
    return RerankTask(
        queries=queries, corpus={key: text for text, key in place.items()}, qrels=qrels, candidates=candidates
    )


def _grades(group: Group) -> list[int]:
    # Judgments are whole numbers: fractions keep their order.
    if all(float(label).is_integer() for label in group.labels):
        return [int(label) for label in group.labels]
    steps: dict[float, Any] = {label: rank for rank, label in enumerate(sorted({0.0, *group.labels}))}
    return [steps[label] for label in group.labels]
