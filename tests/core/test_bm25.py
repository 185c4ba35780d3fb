from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker import BM25Index, InvalidInputError, evaluate
from semantic_ranker.collections import load_beir

TEXTS = ["The cat sat on the warm mat.", "Dogs chase cats.", "Green tea and black tea.", "", "the of and"]
DATA = Path(os.environ.get("SEMANTIC_RANKER_DATA") or Path(__file__).parents[3] / "shared" / "data")

words = st.sampled_from(["cat", "dog", "tea", "sun", "moon"])
texts = st.lists(words, max_size=6).map(" ".join)


def test_finds_stems_and_leaves_out_texts_without_a_query_word():
    found = BM25Index(TEXTS).search("cat", k=5)
    assert [index for index, _ in found] == [1, 0]  # the shorter text first
    assert all(score > 0 for _, score in found)


def test_scores_are_those_of_the_formula():
    scores = BM25Index(["cat cat dog", "dog"], k1=1.2, b=0.75).scores("cat")
    norm = 1.2 * (1 - 0.75 + 0.75 * 3 / 2)
    assert scores.dtype == np.float32
    assert scores == pytest.approx([np.log(1 + 1.5 / 1.5) * 2 / (2 + norm), 0.0])


def test_equal_texts_keep_input_order_wherever_the_cut_falls():
    index = BM25Index(["sun", "cat", "cat dog", "cat", "cat", "moon"])
    assert [[place for place, _ in index.search("cat", k)] for k in (1, 2, 3, 4, 9)] == [
        [1],
        [1, 3],
        [1, 3, 4],
        [1, 3, 4, 2],
        [1, 3, 4, 2],
    ]


@pytest.mark.parametrize("query", ["", "  ", "xylophone", "the", "?!", "a", "\ud800", "\0"])
def test_a_query_without_known_words_finds_nothing(query):
    index = BM25Index(TEXTS)
    assert index.search(query) == []
    assert index.scores(query).tolist() == [0.0] * len(TEXTS)


@pytest.mark.parametrize("collection", [[], [""], ["the", "of a"]])
def test_a_collection_without_words_is_fine(collection):
    index = BM25Index(collection)
    assert len(index) == len(collection)
    assert index.search("cat", k=3) == []
    assert index.search_many(["cat"]) == [[]]
    assert index.scores("cat").shape == (len(collection),)


def test_unknown_words_beside_known_ones_change_nothing():
    index = BM25Index(TEXTS)
    assert index.search("xylophone tea zeppelin") == index.search("tea")


def test_languages_have_their_own_stems():
    assert [i for i, _ in BM25Index(["los gatos negros", "el perro"], language="spanish").search("gato negra")] == [0]


@settings(deadline=None)
@given(st.lists(texts, max_size=8), st.lists(texts, max_size=5), st.integers(1, 10))
def test_many_queries_at_once_give_what_one_gives(collection, queries, k):
    index = BM25Index(collection)
    found = index.search_many(queries, k)
    assert found == [index.search(query, k) for query in queries]
    for query, hits in zip(queries, found, strict=True):
        scores = index.scores(query)
        ranked = sorted((-score, place) for place, score in enumerate(scores.tolist()) if score > 0)
        assert hits == [(place, -score) for score, place in ranked[:k]]


def test_more_queries_than_are_tokenized_at_once():
    found = BM25Index([f"word{n}" for n in range(1500)]).search_many([f"word{n}" for n in range(1500)], k=1)
    assert [hits[0][0] for hits in found] == list(range(1500))


def test_threads_share_an_index_and_a_pickle_answers_alike():
    index = BM25Index([f"running dogs number{n} jumped {n % 7}" for n in range(200)])
    queries = [f"dog jumping number{n}" for n in range(200)]
    expected = index.search_many(queries)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(index.search, queries)) == expected
    assert pickle.loads(pickle.dumps(index)).search_many(queries) == expected


def test_says_nothing(capfd):
    BM25Index(TEXTS).search_many(["cat"] * 50)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "says", "index"),
    [
        (lambda: BM25Index(["a", None]), "index 1, got NoneType", 1),
        (lambda: BM25Index("cats"), "list of str, got one str", None),
        (lambda: BM25Index(TEXTS, language="klingon"), "'klingon'", None),
        (lambda: BM25Index(TEXTS, k1=-1.0), "k1=-1.0", None),
        (lambda: BM25Index(TEXTS, k1=float("nan")), "k1=nan", None),
        (lambda: BM25Index(TEXTS, b=1.5), "b=1.5", None),
        (lambda: BM25Index(TEXTS).search(b"cat"), "got bytes", None),
        (lambda: BM25Index(TEXTS).search_many(["cat", 3]), "index 1, got int", 1),
        (lambda: BM25Index(TEXTS).search_many("cat"), "list of str", None),
        (lambda: BM25Index(TEXTS).search("cat", 0), "1 or more, got 0", None),
        (lambda: BM25Index(TEXTS).search_many([], -2), "1 or more, got -2", None),
        (lambda: BM25Index(TEXTS).search("cat", True), "1 or more, got True", None),
    ],
)
def test_bad_input_is_refused(call, says, index):
    with pytest.raises(InvalidInputError, match=says) as caught:
        call()
    assert caught.value.index == index


@pytest.mark.parametrize(("name", "ndcg"), [("scifact", 0.679), ("nfcorpus", 0.319), ("cosqa", 0.337), ("cacm", 0.498)])
def test_reaches_the_measured_figures(name, ndcg):
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the test collection {name}: set SEMANTIC_RANKER_DATA to a folder of BEIR collections")
    collection = load_beir(DATA / name)
    documents = list(collection.corpus)
    found = BM25Index(list(collection.corpus.values())).search_many(list(collection.queries.values()), k=10)
    run = {
        qid: {documents[place]: score for place, score in hits}
        for qid, hits in zip(collection.queries, found, strict=True)
    }
    assert evaluate(run, collection.qrels, "nDCG@10").mean["nDCG@10"] == pytest.approx(ndcg, abs=0.0005)


def test_the_librarys_debug_lines_stay_out_of_the_applications_log():
    code = "import logging; logging.basicConfig(); from semantic_ranker import BM25Index; BM25Index(['a cat', 'a dog'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
