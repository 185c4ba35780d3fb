from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding

from semantic_ranker import EvaluationError
from semantic_ranker.collections import Collection
from semantic_ranker.evaluation import EMBEDDER_METRICS, EmbedderEvaluator
from semantic_ranker.evaluation.exact_search import ExactSearch

WORDS = ["cat", "dog", "tea", "sun", "moon", "fish"]


class BagOfWords:
    """Counts of known words: an embedder whose neighbours are known."""

    def __init__(self, dtype=np.float32):
        self.dtype = dtype
        self.largest = 0

    def embed_documents(self, texts):
        self.largest = max(self.largest, len(texts))
        return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=self.dtype)

    def embed_queries(self, texts):
        return list(self.embed_documents(texts))


def collection(documents=30):
    corpus = {f"d{n:02d}": f"{WORDS[n % 6]} {WORDS[(n * 5 + 1) % 6]}" for n in range(documents)}
    queries = {word: word for word in WORDS}
    qrels = {word: {d: 1 for d, text in corpus.items() if text.split()[0] == word} for word in WORDS}
    return Collection(name="tiny", corpus=corpus, queries=queries, qrels=qrels)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("block", [1, 7, 100])
def test_search_equals_sorting_everything_ties_by_position(similarity, block):
    rng = np.random.default_rng(0)
    queries, documents = (rng.integers(-2, 3, (size, 4)).astype(np.float32) for size in (9, 60))
    search = ExactSearch(queries, 10, similarity)
    for start in range(0, len(documents), block):
        search.add(documents[start : start + block])
    wide = queries.astype(np.float64), documents.astype(np.float64)
    if similarity == "cosine":
        wide = tuple(of / np.maximum(np.linalg.norm(of, axis=1, keepdims=True), 1e-9) for of in wide)
    scores = wide[0] @ wide[1].T
    if similarity == "l2":
        scores = -((wide[0][:, None] - wide[1][None]) ** 2).sum(axis=2)
    for row in range(len(queries)):
        found = search.best(row)
        assert [score for _, score in found] == pytest.approx(np.sort(scores[row])[::-1][:10], abs=1e-6)
        assert all(scores[row][place] == pytest.approx(score, abs=1e-6) for place, score in found)
        if similarity != "cosine":  # whole numbers, so that ties are exact
            assert [place for place, _ in found] == np.argsort(-scores[row], kind="stable")[:10].tolist()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30), st.integers(1, 40))
def test_any_finite_score_comes_back_as_it_was(values, k):
    search = ExactSearch(np.ones((1, 1)), k, "dot")
    search.add(np.array(values, dtype=np.float32)[:, None])
    order = sorted(range(len(values)), key=lambda place: (-values[place], place))[:k]
    assert search.best(0) == [(place, np.float32(values[place]) + 0.0) for place in order]


def test_the_default_metrics_are_those_of_an_embedders_guide():
    report = EmbedderEvaluator(BagOfWords()).evaluate(collection())
    assert tuple(report.mean) == EMBEDDER_METRICS
    assert {"Recall@1", "Recall@100", "RR@10", "nDCG@10", "AP@100"} <= set(report.mean)
    assert report.mean["Recall@100"] == 1.0
    assert report.mean["Recall@1"] < report.mean["Recall@5"] <= report.mean["Recall@10"]
    for name, (low, high) in report.intervals.items():
        assert low <= report.mean[name] <= high
    assert (report.queries, report.documents, report.dim) == (6, 30, 6)
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["mean"]["nDCG@10"] == report.mean["nDCG@10"]
    assert "6 queries in 30 documents" in str(report)


def test_blocks_bound_what_is_embedded_at_once_and_change_nothing():
    small, large = BagOfWords(), BagOfWords()
    blocks = EmbedderEvaluator(small, block_size=4).evaluate(collection(), ["ndcg@10", "map"])
    whole = EmbedderEvaluator(large).evaluate(collection(), ["ndcg@10", "map"])
    assert (small.largest, large.largest) == (4, 30)
    assert blocks.run == whole.run
    assert blocks.mean == whole.mean


def test_langchain_embeddings_and_identical_texts_work():
    texts = collection()
    embedder = DeterministicFakeEmbedding(size=16)
    same = Collection(
        name="same",
        corpus=texts.corpus | {"x": "the query itself"},
        queries={"q": "the query itself"},
        qrels={"q": {"x": 1}},
    )
    report = EmbedderEvaluator(embedder, similarity="l2").evaluate(same, ["Recall@1"])
    assert report.mean["Recall@1"] == 1.0
    assert report.run["q"]["x"] == pytest.approx(0, abs=1e-3)


class Broken(BagOfWords):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def embed_documents(self, texts):
        return self.change(super().embed_documents(texts))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v[:-1], "vectors of shape"),
        (lambda v: v[:, :3] if len(v) > 6 else v, r"shape \(n, 6\)"),
        (lambda v: v * np.nan, "NaN"),
        (lambda v: v[0], "vectors of shape"),
        (lambda v: [[1.0], [1.0, 2.0]], "several widths"),
    ],
)
def test_an_embedder_that_breaks_its_word_is_refused(change, says):
    with pytest.raises(EvaluationError, match=says):
        EmbedderEvaluator(Broken(change)).evaluate(collection())


@pytest.mark.parametrize("options", [{"embedder": object()}, {"similarity": "near"}, {"block_size": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(EvaluationError, match="Expected"):
        EmbedderEvaluator(**({"embedder": BagOfWords()} | options))


def test_bad_metrics_and_empty_collections_are_refused_before_anything_is_embedded():
    embedder = BagOfWords()
    with pytest.raises(EvaluationError, match="nDCG@10"):
        EmbedderEvaluator(embedder).evaluate(collection(), "ndgc@10")
    with pytest.raises(EvaluationError, match="judged queries and documents"):
        EmbedderEvaluator(embedder).evaluate(Collection(name="x", corpus={}, queries={}, qrels={}))
    assert embedder.largest == 0
