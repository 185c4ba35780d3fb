from __future__ import annotations

import threading

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_llama_index import SemanticRerank, SemanticRerankRetriever

QUERY = "cat feeds dog"
TEXTS = ["red house", "cat", "cat feeds", "cat feeds dog", "house sleeps", "open settings"]
BEST_FIRST = ["cat feeds dog", "cat feeds", "cat"]


class FixedRetriever(BaseRetriever):
    """Returns the same nodes for every query; remembers on which path it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def _found(self):
        return [NodeWithScore(node=TextNode(id_=text, text=text), score=0.5) for text in TEXTS]

    def _retrieve(self, query_bundle):
        self.asked.append("sync")
        return self._found()

    async def _aretrieve(self, query_bundle):
        self.asked.append("async")
        assert threading.current_thread() is threading.main_thread()
        return self._found()


@pytest.fixture
def reranker(model):
    return SemanticRerank(model=model)


@pytest.fixture
def index():
    return VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=MockEmbedding(embed_dim=4))


def texts(found):
    return [hit.node.get_content() for hit in found]


async def test_a_retriever_is_reranked_on_its_own_path(reranker):
    base = FixedRetriever()
    retriever = SemanticRerankRetriever(base, k=3, reranker=reranker)
    assert texts(retriever.retrieve(QUERY)) == BEST_FIRST
    assert texts(await retriever.aretrieve(QUERY)) == BEST_FIRST
    assert base.asked == ["sync", "async"]


async def test_an_index_is_asked_for_fetch_k_nodes(index, reranker):
    retriever = SemanticRerankRetriever(index, k=3, reranker=reranker)
    assert texts(retriever.retrieve(QUERY)) == BEST_FIRST
    assert texts(await retriever.aretrieve(QUERY)) == BEST_FIRST
    assert len(SemanticRerankRetriever(index, k=6, fetch_k=1, reranker=reranker).retrieve(QUERY)) == 6


async def test_the_first_fetch_k_nodes_are_reranked(reranker):
    retriever = SemanticRerankRetriever(FixedRetriever(), k=2, fetch_k=3, reranker=reranker)
    assert texts(retriever.retrieve(QUERY)) == ["cat feeds", "cat"]
    assert texts(await retriever.aretrieve(QUERY)) == ["cat feeds", "cat"]


async def test_aretrieve_scores_off_the_event_loop(reranker, monkeypatch):
    threads = []
    rank = CrossEncoder.rank

    def noted(self, *args, **options):
        threads.append(threading.current_thread().name)
        return rank(self, *args, **options)

    monkeypatch.setattr(CrossEncoder, "rank", noted)
    await SemanticRerankRetriever(FixedRetriever(), reranker=reranker).aretrieve(QUERY)
    assert [name.startswith("semantic-ranker") for name in threads] == [True]


def test_k_replaces_top_n_and_leaves_the_reranker_as_it_was(model):
    reranker = SemanticRerank(model=model, top_n=1)
    assert len(SemanticRerankRetriever(FixedRetriever(), k=4, reranker=reranker).retrieve(QUERY)) == 4
    assert reranker.top_n == 1


@pytest.mark.parametrize("name", ["k", "fetch_k"])
@pytest.mark.parametrize("value", [0, -1, True, 2.5, None])
def test_wrong_numbers_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=name):
        SemanticRerankRetriever(FixedRetriever(), **{name: value})


async def test_query_engine_over_the_retriever(reranker):
    engine = RetrieverQueryEngine.from_args(
        SemanticRerankRetriever(FixedRetriever(), k=2, reranker=reranker), llm=MockLLM()
    )
    assert texts(engine.query(QUERY).source_nodes) == BEST_FIRST[:2]
    assert texts((await engine.aquery(QUERY)).source_nodes) == BEST_FIRST[:2]
