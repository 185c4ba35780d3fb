"""One behaviour over all stores: the same refusals, the same filters, the same answers."""

import numpy as np
import pytest

from semantic_ranker.errors import (
    EmbedderContractError,
    InvalidInputError,
    SpaceMismatchError,
    VectorStoreError,
)
from semantic_ranker.indexes import FaissStore, Passage, PassageIndex, PineconeStore
from semantic_ranker.testing import FakeEmbedder

DIM = 64


def ids(found):
    return [hit.passage.id for hit in found]


@pytest.fixture
def index(make_store):
    return PassageIndex(FakeEmbedder(), store=make_store())


def test_empty_index_answers_nothing(index):
    assert ids(index.search("cats")) == []
    assert len(index) == 0
    assert index.delete(["none"]) == 0


def test_found_by_meaning_and_by_words(index, passages):
    assert index.add(passages()) == 4
    for mode in ("hybrid", "dense", "lexical"):
        found = index.search("reset password", 2, mode=mode)
        assert ids(found)[0] == "p3", mode
        assert found.degraded is None
    scores = [hit.score for hit in index.search("reset password", 4, mode="dense")]
    assert scores == sorted(scores, reverse=True)
    embedder = FakeEmbedder()
    vectors = embedder.embed_documents([passages()[3].text, "reset password"])
    assert scores[0] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-4)


def test_more_asked_for_than_there_is(index, passages):
    index.add(passages())
    assert sorted(ids(index.search("at night", 100, mode="dense"))) == ["p0", "p1", "p2", "p3"]
    assert len(index.search("cats sleep", 100)) == 4


def test_wrong_dimension_nan_and_zero_are_refused_before_the_store(index, passages):
    index.add(passages())
    good = np.eye(2, DIM, dtype=np.float32)
    bad = {
        "shape": good[:, :-1],
        "finite": np.where(good > 0, np.nan, good),
        "NaN or infinity": np.where(good > 0, np.inf, good),
        "not zero": good * 0,
        "numbers": [["x"] * DIM] * 2,
    }
    for message, vectors in bad.items():
        with pytest.raises(EmbedderContractError, match=message):
            index.add([Passage(id="n1", text="new"), Passage(id="n2", text="new")], vectors=vectors)
    assert len(index) == 4
    assert "n1" not in ids(index.search("new", 10))
    with pytest.raises(EmbedderContractError) as caught:
        index.add([Passage(id="n1", text="new"), Passage(id="n2", text="new")], vectors=good * [[1], [0]])
    assert caught.value.indices == (1,)


def test_bad_query_vectors(index, passages):
    index.add(passages())
    embed = index.embedder.embed_queries
    index.embedder.embed_queries = lambda texts: embed(texts) * np.nan
    with pytest.raises(EmbedderContractError):
        index.search("cats", mode="dense")
    assert ids(index.search("cats", 1)) == ["p0"]
    assert "by words alone" in index.search("cats", 1).degraded
    index.embedder.embed_queries = lambda texts: embed(texts) * 0
    assert ids(index.search("cats", mode="dense")) == []
    found = index.search("cats", 1)
    assert (ids(found), found.degraded) == (["p0"], "the model knows no word of the query")


def test_same_id_takes_the_place_of_the_old(index, passages):
    index.add(passages())
    assert index.add([Passage(id="p0", text="Penguins swim in water.")]) == 0
    assert len(index) == len(index.store) == 4
    assert ids(index.search("penguins swim", 1, mode="dense")) == ["p0"]
    assert index.search("penguins", 1)[0].passage.text == "Penguins swim in water."
    assert ids(index.search("cats sleep", 4, mode="lexical")) == []
    index.add([Passage(id="x", text="One."), Passage(id="x", text="Lemons are yellow.")])
    assert len(index) == len(index.store) == 5
    assert ids(index.search("yellow lemons", 1, mode="dense")) == ["x"]


def test_deleted_is_gone(index, passages):
    index.add(passages())
    assert index.delete(["p3", "none", "p3"]) == 1
    for mode in ("hybrid", "dense", "lexical"):
        assert "p3" not in ids(index.search("reset password", 10, mode=mode))
    assert index.delete_sources(["a.md"]) == 2
    assert ids(index.search("dogs", 10, mode="dense")) == ["p1"]
    assert len(index.store) == 1


FILTERS = [
    ({"source": "a.md"}, {"p0", "p2"}),
    ({"year": {"$gte": 2022}}, {"p2", "p3"}),
    ({"year": {"$gt": 2020, "$lt": 2023}}, {"p1", "p2"}),
    ({"source": "a.md", "year": {"$lte": 2021}}, {"p0"}),
    ({"source": {"$in": ["b.md", "c.md"]}}, {"p1", "p3"}),
    ({"source": {"$nin": ["b.md"]}}, {"p0", "p2"}),
    ({"source": {"$ne": "b.md"}}, {"p0", "p2"}),
    ({"$or": [{"year": 2020}, {"$and": [{"source": "b.md"}, {"year": {"$ne": 2021}}]}]}, {"p0", "p3"}),
    ({"absent": "x"}, set()),
    ({"absent": {"$ne": "x"}}, set()),
    ({}, {"p0", "p1", "p2", "p3"}),
]


@pytest.mark.parametrize(("where", "expected"), FILTERS)
def test_filters(index, where, expected, passages):
    index.add(passages())
    assert set(ids(index.search("cats at night", 10, mode="dense", where=where))) == expected
    assert set(ids(index.search("cats at water settings", 10, mode="lexical", where=where))) <= expected


def test_model_of_another_space_is_refused(make_store, passages):
    index = PassageIndex(FakeEmbedder(), store=make_store())
    index.add(passages())
    index._embedder = FakeEmbedder(model="other")
    with pytest.raises(SpaceMismatchError):
        index.add([Passage(id="n", text="new")])
    with pytest.raises(SpaceMismatchError):
        index.search("cats")
    assert len(index.store) == 4


def test_store_keeps_spaces_apart(make_store, passages):
    PassageIndex(FakeEmbedder(), store=make_store()).add(passages())
    store = make_store()
    if isinstance(store, PineconeStore):  # a namespace for each space
        assert len(PassageIndex(FakeEmbedder(model="other"), store=store).store) == 0
        with pytest.raises(SpaceMismatchError):
            PassageIndex(FakeEmbedder(dim=8), store=make_store())
    elif not isinstance(store, FaissStore):
        with pytest.raises(SpaceMismatchError):
            PassageIndex(FakeEmbedder(model="other"), store=store)


def test_saved_and_opened(make_store, tmp_path, passages):
    index = PassageIndex(FakeEmbedder(), store=make_store())
    index.add(passages(40))
    index.delete(["p5"])
    index.save(tmp_path / "index")
    store = None if isinstance(index.store, FaissStore) else make_store()
    again = PassageIndex.open(tmp_path / "index", embedder=FakeEmbedder(), store=store)
    assert dict(again.passages) == dict(index.passages)
    for mode in ("hybrid", "dense", "lexical"):
        for query in ("reset password", "topic3 filler", "cats"):
            one, other = index.search(query, 5, mode=mode), again.search(query, 5, mode=mode)
            assert [(hit.passage.id, round(hit.score, 5)) for hit in one] == [
                (hit.passage.id, round(hit.score, 5)) for hit in other
            ]
    with pytest.raises(SpaceMismatchError):
        PassageIndex.open(tmp_path / "index", embedder=FakeEmbedder(model="other"), store=store)
    if store is not None:
        with pytest.raises(InvalidInputError, match="store that the index was built with"):
            PassageIndex.open(tmp_path / "index", embedder=FakeEmbedder())


def test_search_many_is_one_call_to_the_model(index, passages):
    index.add(passages(300))
    index.embedder.calls.clear()
    queries = ["cats", "reset password", "topic3"]
    many = index.search_many(queries, 5)
    assert index.embedder.calls == [("q", 3)]
    assert [ids(found) for found in many] == [ids(index.search(query, 5)) for query in queries]


def test_vectors_of_passages_that_are_gone_here_never_come_back(index, passages):
    index.add(passages())
    del index._passages["p3"]  # as after a crash between the store and the save
    index._words = None
    assert ids(index.search("reset password", 4)) != []
    assert "p3" not in ids(index.search("reset password", 4))
    assert len(index.search("reset password", 3, mode="dense")) == 3


def test_metadata_of_every_kind_comes_back(index):
    metadata = {"tags": ("x", "y"), "none": (), "n": 1, "f": 0.5, "yes": True, "lc": 1, "text": "{lc}", "ñ": "é"}
    index.add(
        [Passage(id="ü/1", text="Cats. " + "\n\t{0} %s", titles=("A", "B"), span=(3, 9), page=2, metadata=metadata)]
    )
    found = index.search("cats", 1, where={"tags": {"$in": ["y"]}, "yes": True}, mode="lexical")
    assert found[0].passage.metadata == metadata
    assert index.search("cats", 1, mode="dense")[0].passage.citation == "ü/1, A > B, page 2"


def test_store_that_fails_is_told_apart_from_words(index, passages):
    index.add(passages())

    def search(*arguments, **options):
        raise VectorStoreError("down")

    index._store.search = search
    with pytest.raises(VectorStoreError):
        index.search("cats", mode="dense")
    found = index.search("cats", 2)
    assert (ids(found), found.degraded) == (["p0"], "by words alone: down")
