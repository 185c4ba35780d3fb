from __future__ import annotations

import threading

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import Field, ValidationError

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_langchain import SemanticRerank, SemanticRerankRetriever

QUERY = "cat feeds dog"
TEXTS = ["red house", "cat", "cat feeds", "cat feeds dog", "house sleeps", "open settings"]
BEST_FIRST = ["cat feeds dog", "cat feeds", "cat"]


class FixedRetriever(BaseRetriever):
    """Returns the same documents for every query and remembers on which path it was asked."""

    documents: list[Document]
    asked: list[str] = Field(default_factory=list)

    def _get_relevant_documents(self, query, *, run_manager):
        self.asked.append("sync")
        return self.documents

    async def _aget_relevant_documents(self, query, *, run_manager):
        self.asked.append("async")
        return self.documents


class Parents(BaseCallbackHandler):
    def __init__(self):
        self.names, self.edges, self.metadata = {}, set(), {}

    def _start(self, name, run_id, parent_run_id, metadata):
        self.names[run_id] = name
        self.edges.add((self.names.get(parent_run_id), name))
        self.metadata[name] = metadata

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, name=None, metadata=None, **kwargs):
        self._start(name, run_id, parent_run_id, metadata)

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, name=None, metadata=None, **kwargs):
        self._start(name, run_id, parent_run_id, metadata)


@pytest.fixture
def store():
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_texts(TEXTS)
    return store


@pytest.fixture
def reranker(model):
    return SemanticRerank(model=model)


@pytest.fixture
def documents():
    return [Document(id=text, page_content=text) for text in TEXTS]


def texts(found):
    return [document.page_content for document in found]


class TestStandardSuite(RetrieversIntegrationTests):
    """LangChain's own tests for retrievers, over a vector store."""

    @pytest.fixture(autouse=True)
    def _inputs(self, store, reranker):
        self.params = {"base": store, "reranker": reranker}

    @property
    def retriever_constructor(self):
        return SemanticRerankRetriever

    @property
    def retriever_constructor_params(self):
        return self.params

    @property
    def retriever_query_example(self):
        return QUERY


async def test_a_vector_store_is_reranked(store, reranker):
    retriever = SemanticRerankRetriever(base=store, k=3, reranker=reranker)
    assert texts(retriever.invoke(QUERY)) == BEST_FIRST
    assert texts(await retriever.ainvoke(QUERY)) == BEST_FIRST


async def test_any_retriever_and_any_runnable_is_reranked(documents, reranker):
    for base in (FixedRetriever(documents=documents), RunnableLambda(lambda query: documents)):
        retriever = SemanticRerankRetriever(base=base, k=3, reranker=reranker)
        assert texts(retriever.invoke(QUERY)) == BEST_FIRST
        assert texts(await retriever.ainvoke(QUERY)) == BEST_FIRST


def test_the_first_stage_is_asked_for_fetch_k_documents(store, reranker):
    everything = SemanticRerankRetriever(base=store, k=6, reranker=reranker)
    assert len(everything.invoke(QUERY)) == 6
    first_two = texts(store.similarity_search(QUERY, k=2))
    narrow = SemanticRerankRetriever(base=store, k=1, fetch_k=2, reranker=reranker)
    assert texts(narrow.invoke(QUERY))[0] in first_two
    assert len(narrow.invoke(QUERY, k=4)) == 4, "fetch_k is never fewer than k"


def test_a_store_retriever_is_asked_for_fetch_k_unless_it_was_given_a_k(store, reranker):
    free, fixed = store.as_retriever(), store.as_retriever(search_kwargs={"k": 2})
    assert len(SemanticRerankRetriever(base=free, k=6, reranker=reranker).invoke(QUERY)) == 6
    assert len(SemanticRerankRetriever(base=fixed, k=6, reranker=reranker).invoke(QUERY)) == 2


async def test_of_other_retrievers_the_first_fetch_k_are_reranked(documents, reranker):
    retriever = SemanticRerankRetriever(base=FixedRetriever(documents=documents), k=2, fetch_k=3, reranker=reranker)
    assert texts(retriever.invoke(QUERY)) == ["cat feeds", "cat"]
    assert texts(await retriever.ainvoke(QUERY)) == ["cat feeds", "cat"]


async def test_ainvoke_scores_off_the_event_loop(documents, reranker, monkeypatch):
    threads = []
    rank = CrossEncoder.rank

    def noted(self, *args, **options):
        threads.append(threading.current_thread().name)
        return rank(self, *args, **options)

    monkeypatch.setattr(CrossEncoder, "rank", noted)
    await SemanticRerankRetriever(base=FixedRetriever(documents=documents), reranker=reranker).ainvoke(QUERY)
    assert [name.startswith("semantic-ranker") for name in threads] == [True]


def test_nothing_found_is_nothing_returned():
    retriever = SemanticRerankRetriever(
        base=FixedRetriever(documents=[]), reranker=SemanticRerank(model="no/such/folder")
    )
    assert retriever.invoke(QUERY) == []


@pytest.mark.parametrize("field", ["k", "fetch_k"])
@pytest.mark.parametrize("value", [0, -1, True, 2.5])
def test_wrong_numbers_are_refused_at_construction(store, field, value):
    with pytest.raises(ValidationError):
        SemanticRerankRetriever(base=store, **{field: value})


@pytest.mark.parametrize("k", [0, -1, True, 2.5])
def test_a_wrong_k_is_refused_at_the_call(store, reranker, k):
    with pytest.raises(InvalidInputError, match="k"):
        SemanticRerankRetriever(base=store, reranker=reranker).invoke(QUERY, k=k)


def test_a_base_that_retrieves_nothing_is_refused():
    with pytest.raises(ValidationError):
        SemanticRerankRetriever(base="index")


def test_both_stages_are_traced_below_the_retriever(documents, reranker):
    parents = Parents()
    SemanticRerankRetriever(base=FixedRetriever(documents=documents), reranker=reranker).invoke(
        QUERY, {"callbacks": [parents]}
    )
    assert parents.edges == {
        (None, "SemanticRerankRetriever"),
        ("SemanticRerankRetriever", "FixedRetriever"),
        ("SemanticRerankRetriever", "SemanticRerank"),
    }


def test_traces_name_the_store_and_the_embedding(store, reranker):
    parents = Parents()
    SemanticRerankRetriever(base=store, reranker=reranker).invoke(QUERY, {"callbacks": [parents]})
    metadata = parents.metadata["SemanticRerankRetriever"]
    assert metadata["ls_retriever_name"] == "semanticrerank"
    assert metadata["ls_vector_store_provider"] == "InMemoryVectorStore"
    assert metadata["ls_embedding_provider"] == "DeterministicFakeEmbedding"


async def test_each_path_asks_the_first_stage_on_the_same_path(documents, reranker):
    base = FixedRetriever(documents=documents)
    retriever = SemanticRerankRetriever(base=base, reranker=reranker)
    assert await retriever.ainvoke(QUERY) == retriever.invoke(QUERY)
    assert retriever.base.asked == ["async", "sync"]
    assert await retriever.abatch([QUERY, QUERY]) == retriever.batch([QUERY, QUERY])
