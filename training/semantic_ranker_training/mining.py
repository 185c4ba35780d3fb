"""Candidates of each query (lexical, dense, random) and the fused teacher's scores of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from tqdm import tqdm

from semantic_ranker import BM25Index
from semantic_ranker_training.config import Recipe
from semantic_ranker_training.pairs import PairSource
from semantic_ranker_training.states import RaggedStates
from semantic_ranker_training.terms import SNOWBALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEPTH = 40
_FOUND_WITHIN = 50
_FALSE_NEGATIVE_RATIO = 0.97


@dataclass(frozen=True, slots=True)
class Groups:
    """Mined groups of one source; the positive is in column 0.

    Attributes:
        query: int64 (n,), rows of the source's queries.
        passage: int64 (n, group), rows of its passages.
        teacher: float32 (n, group), the fused teacher's scores.
    """

    query: NDArray[np.int64]
    passage: NDArray[np.int64]
    teacher: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write one ``.npz``, to a temporary name first."""
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, query=self.query, passage=self.passage, teacher=self.teacher)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as content:
            return cls(content["query"], content["passage"], content["teacher"])


@dataclass(frozen=True, slots=True)
class EncodedSource:
    """A source with its states: of the base for both sides, and of the teacher or None."""

    pairs: PairSource
    queries: RaggedStates
    passages: RaggedStates
    teacher_queries: RaggedStates | None
    teacher_passages: RaggedStates | None


def mine(source: EncodedSource, recipe: Recipe) -> Groups:
    """Mine and score the candidates of every query of a source.

    A query is left out if neither BM25 nor the base finds its passage among the first 50 (a wrong pair). A candidate
    that the base puts above 0.97 of the positive's cosine is left out (a likely false negative; NV-Retriever's rule).
    """
    generator = np.random.default_rng([recipe.seed, len(source.pairs.passages)])
    lexical = BM25Index(source.pairs.passages, language=SNOWBALL[source.pairs.language])
    rows, passages, scores = [], [], []
    for row, positive in enumerate(tqdm(source.pairs.positives, desc=f"mine {source.pairs.name}", disable=None)):
        bm25 = lexical.scores(source.pairs.queries[row])
        cosine = source.passages.pooled @ source.queries.pooled[row]
        if min((bm25 > bm25[positive]).sum(), (cosine > cosine[positive]).sum()) >= _FOUND_WITHIN:
            continue
        group = _candidates(bm25, cosine, positive, recipe, generator)
        rows.append(row)
        passages.append(group)
        scores.append(_teacher_scores(source, row, group, bm25, cosine, recipe.teacher_weights))
    return Groups(np.array(rows, np.int64), np.array(passages, np.int64), np.array(scores, np.float32))


def _candidates(
    bm25: NDArray[np.float32],
    cosine: NDArray[np.float32],
    positive: int,
    recipe: Recipe,
    generator: np.random.Generator,
) -> list[int]:
    limit = _FALSE_NEGATIVE_RATIO * max(float(cosine[positive]), 0.3)
    taken = [positive]
    for scores, count in ((bm25, recipe.lexical_candidates), (cosine, recipe.dense_candidates)):
        ranked = [int(row) for row in np.argsort(-scores, kind="stable")[:_DEPTH]]
        fit = [row for row in ranked if row not in taken and cosine[row] < limit and scores[row] > 0]
        top, rest = fit[: count // 2], fit[count // 2 :]
        spread = generator.choice(rest, min(len(rest), count - len(top)), replace=False).tolist() if rest else []
        taken += top + [int(row) for row in spread]
    wanted = 1 + recipe.lexical_candidates + recipe.dense_candidates + recipe.random_candidates
    others = generator.permutation(len(cosine))
    taken += [int(row) for row in others[: 2 * wanted] if row not in taken][: wanted - len(taken)]
    if len(taken) < wanted:
        raise ValueError(f"expected at least {2 * wanted} passages a source, got {len(cosine)}")
    return taken


def _teacher_scores(
    source: EncodedSource,
    row: int,
    group: list[int],
    bm25: NDArray[np.float32],
    cosine: NDArray[np.float32],
    weights: tuple[float, float, float, float],
) -> NDArray[np.float32]:
    signals = [bm25[group], cosine[group]]
    if source.teacher_queries is not None and source.teacher_passages is not None:
        queries, passages = source.teacher_queries, source.teacher_passages
        signals.append(passages.pooled[group] @ queries.pooled[row])
        signals.append(_token_match(queries, row, passages, group))
    fused = sum(weight * _z(signal) for weight, signal in zip(weights, signals, strict=False))
    return np.asarray(fused, dtype=np.float32)


def _token_match(queries: RaggedStates, row: int, passages: RaggedStates, group: list[int]) -> NDArray[np.float32]:
    """Mean over query tokens of the best cosine in each passage, special tokens left out: float32 (group,)."""
    query = queries.states[queries.offsets[row] + 1 : queries.offsets[row + 1] - 1].astype(np.float32)
    best = [
        (query @ passages.states[passages.offsets[p] + 1 : passages.offsets[p + 1] - 1].astype(np.float32).T)
        for p in group
    ]
    return np.array([match.max(1).mean() if match.size else 0.0 for match in best], np.float32)


def _z(values: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (values - values.mean()) / (values.std() + 1e-6)
    return scaled
