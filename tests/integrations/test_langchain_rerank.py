from __future__ import annotations

import asyncio
import threading

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError, NonFiniteScoreError
from semantic_ranker_langchain import SemanticRerank

QUERY = "cat feeds dog"
DOCUMENTS = [Document(id=text, page_content=text) for text in ("red house", "cat", "cat feeds dog")]
BEST_FIRST = ["cat feeds dog", "cat", "red house"]


class FixedRetriever(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.documents


class Shout(BaseDocumentTransformer):
    """Stands for a splitter or a redundancy filter before the reranker."""

    def transform_documents(self, documents, **kwargs):
        return [document.model_copy(update={"page_content": document.page_content + "!"}) for document in documents]

    async def atransform_documents(self, documents, **kwargs):
        return self.transform_documents(documents)


class Runs(BaseCallbackHandler):
    """Writes down every run: its name, its parent and how it ended."""

    def __init__(self):
        self.runs, self.ended, self.failed, self.outputs = {}, [], [], {}

    def _start(self, name, run_id, parent_run_id):
        self.runs[run_id] = (name, parent_run_id)

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, name=None, **kwargs):
        self._start(name, run_id, parent_run_id)

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, name=None, **kwargs):
        self._start(name, run_id, parent_run_id)

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.ended.append(self.runs[run_id][0])
        self.outputs[self.runs[run_id][0]] = outputs

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.failed.append((self.runs[run_id][0], type(error)))

    def parent_of(self, name):
        [parent] = [parent for run_name, parent in self.runs.values() if run_name == name]
        return self.runs[parent][0] if parent else None


class AsyncRuns(AsyncCallbackHandler):
    def __init__(self):
        self.started, self.ended, self.failed = [], 0, 0

    async def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, name=None, **kwargs):
        self.started.append((name, inputs["query"]))

    async def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.ended += 1

    async def on_chain_error(self, error, *, run_id, **kwargs):
        self.failed += 1


def texts(documents):
    return [document.page_content for document in documents]


async def test_contextual_compression_retriever(model):
    base = FixedRetriever(documents=DOCUMENTS)
    retriever = ContextualCompressionRetriever(base_compressor=SemanticRerank(model=model), base_retriever=base)
    assert texts(retriever.invoke(QUERY)) == BEST_FIRST
    assert texts(await retriever.ainvoke(QUERY)) == BEST_FIRST


async def test_document_compressor_pipeline(model):
    pipeline = DocumentCompressorPipeline(transformers=[Shout(), SemanticRerank(model=model, top_n=2)])
    assert texts(pipeline.compress_documents(DOCUMENTS, QUERY)) == ["cat feeds dog!", "cat!"]
    assert texts(await pipeline.acompress_documents(DOCUMENTS, QUERY)) == ["cat feeds dog!", "cat!"]
    assert pipeline.compress_documents([], QUERY) == []


def test_the_reranking_is_a_run_of_its_own_below_the_retriever(model):
    runs = Runs()
    retriever = ContextualCompressionRetriever(
        base_compressor=SemanticRerank(model=model), base_retriever=FixedRetriever(documents=DOCUMENTS)
    )
    retriever.invoke(QUERY, {"callbacks": [runs]})
    assert runs.parent_of("SemanticRerank") == "ContextualCompressionRetriever"
    assert runs.ended == ["SemanticRerank"]
    assert texts(runs.outputs["SemanticRerank"]["documents"]) == BEST_FIRST


async def test_the_async_run_has_the_same_parent(model):
    runs = Runs()
    retriever = ContextualCompressionRetriever(
        base_compressor=SemanticRerank(model=model), base_retriever=FixedRetriever(documents=DOCUMENTS)
    )
    await retriever.ainvoke(QUERY, {"callbacks": [runs]})
    assert runs.parent_of("SemanticRerank") == "ContextualCompressionRetriever"
    assert runs.ended == ["SemanticRerank"]


def test_a_call_inside_a_runnable_finds_its_parent_without_callbacks(model):
    runs = Runs()
    reranker = SemanticRerank(model=model)
    chain = RunnableLambda(lambda query: reranker.compress_documents(DOCUMENTS, query), name="chain")
    chain.invoke(QUERY, {"callbacks": [runs]})
    assert runs.parent_of("SemanticRerank") == "chain"


@pytest.mark.parametrize("callbacks", [list, CallbackManager], ids=["list", "manager"])
def test_a_failed_reranking_ends_its_run_with_the_error(model, callbacks):
    runs = Runs()
    with pytest.raises(NonFiniteScoreError):
        SemanticRerank(model=model).compress_documents([Document("poison")], QUERY, callbacks([runs]))
    assert runs.failed == [("SemanticRerank", NonFiniteScoreError)]


async def test_async_callbacks_are_awaited_on_success_failure_and_empty_input(model):
    runs, reranker = AsyncRuns(), SemanticRerank(model=model)
    await reranker.acompress_documents(DOCUMENTS, QUERY, callbacks=[runs])
    await reranker.acompress_documents([], QUERY, callbacks=[runs])
    with pytest.raises(NonFiniteScoreError):
        await reranker.acompress_documents([Document("poison")], QUERY, callbacks=[runs])
    assert runs.started == [("SemanticRerank", QUERY)] * 3
    assert (runs.ended, runs.failed) == (2, 1)


async def test_a_cancelled_call_ends_its_run(model, monkeypatch):
    runs, scoring, release = AsyncRuns(), threading.Event(), threading.Event()

    def rank(self, *args, **options):
        scoring.set()
        assert release.wait(30)
        return []

    monkeypatch.setattr(CrossEncoder, "rank", rank)
    call = asyncio.ensure_future(SemanticRerank(model=model).acompress_documents(DOCUMENTS, QUERY, [runs]))
    assert await asyncio.to_thread(scoring.wait, 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    assert (runs.ended, runs.failed) == (0, 1)


def test_a_subclass_of_document_stays_one(model):
    class Page(Document):
        number: int = 0

    [page] = SemanticRerank(model=model).compress_documents([Page(page_content="cat", number=7)], QUERY)
    assert type(page) is Page
    assert page.number == 7


def test_the_score_key_can_be_chosen_and_the_retrievers_score_stays(model):
    given = Document("cat", metadata={"score": 0.125})
    [document] = SemanticRerank(model=model, score_key="rerank").compress_documents([given], QUERY)
    assert document.metadata["score"] == 0.125
    assert set(document.metadata) == {"score", "rerank"}


def test_metadata_fields_are_read_before_the_text(model, monkeypatch):
    seen = []
    rank = CrossEncoder.rank
    monkeypatch.setattr(CrossEncoder, "rank", lambda self, *args, **kw: seen.append(args[1]) or rank(self, *args, **kw))
    given = [
        Document("cat", metadata={"title": "red", "page": 0, "secret": "x"}),
        Document("dog", metadata={"title": None}),
    ]
    reranked = SemanticRerank(model=model, metadata_fields=("title", "page")).compress_documents(given, QUERY)
    assert seen == [["red\n0\ncat", "dog"]]
    assert sorted(texts(reranked)) == ["cat", "dog"]


def test_rerank_takes_strings_documents_and_dicts(model):
    given = ["red house", Document("cat"), {"text": "cat feeds"}, {"page_content": "cat feeds dog", "metadata": {}}]
    reranker = SemanticRerank(model=model, top_n=2)
    assert [hit["index"] for hit in reranker.rerank(given, QUERY)] == [3, 2]
    assert [hit["index"] for hit in reranker.rerank(given, QUERY, top_n=None)] == [3, 2, 1, 0]
    assert [hit["index"] for hit in reranker.rerank(given, QUERY, top_n=1)] == [3]
    assert reranker.rerank([], QUERY) == []
    [hit] = reranker.rerank(given, QUERY, top_n=1)
    assert set(hit) == {"index", "relevance_score"}
    assert type(hit["relevance_score"]) is float


def test_rerank_reads_metadata_fields_of_flat_and_nested_dicts(model):
    reranker = SemanticRerank(model=model, metadata_fields=("title",))
    flat, nested = {"title": "cat feeds", "text": "dog"}, {"text": "dog", "metadata": {"title": "cat feeds"}}
    first, second = reranker.rerank([flat, nested], QUERY)
    assert first["relevance_score"] == second["relevance_score"] > 0.5


@pytest.mark.parametrize("entry", [None, 3, b"cat", {}, {"text": None}, {"page_content": 1}])
def test_rerank_names_the_entry_without_a_text(model, entry):
    with pytest.raises(InvalidInputError) as caught:
        SemanticRerank(model=model).rerank(["cat", entry], QUERY)
    assert caught.value.index == 1


@pytest.mark.parametrize("top_n", [0, -2, True, 1.5, "3"])
def test_a_wrong_top_n_in_a_call_is_an_error_even_when_errors_pass_through(model, top_n):
    reranker = SemanticRerank(model=model, on_error="passthrough")
    with pytest.raises(InvalidInputError, match="top_n"):
        reranker.rerank(["cat"], QUERY, top_n=top_n)
    with pytest.raises(InvalidInputError, match="top_n"):
        reranker.compress_documents(DOCUMENTS, QUERY, top_n=top_n)


async def test_top_n_of_a_call_overrides_the_field(model):
    reranker = SemanticRerank(model=model, top_n=1)
    assert len(reranker.compress_documents(DOCUMENTS, QUERY)) == 1
    assert len(reranker.compress_documents(DOCUMENTS, QUERY, top_n=2)) == 2
    assert len(await reranker.acompress_documents(DOCUMENTS, QUERY, top_n=None)) == 3


async def test_as_runnable_is_a_link_of_a_chain(model):
    runs = Runs()
    chain = RunnableLambda(lambda query: {"query": query, "documents": DOCUMENTS}, name="first") | (
        SemanticRerank(model=model, top_n=2).as_runnable()
    )
    assert texts(chain.invoke(QUERY, {"callbacks": [runs]})) == BEST_FIRST[:2]
    assert texts(await chain.ainvoke(QUERY)) == BEST_FIRST[:2]
    assert runs.ended.count("SemanticRerank") == 2, "the Runnable and the reranking inside it"


def test_settings_and_texts_are_not_in_the_representation_of_an_unused_default():
    assert repr(SemanticRerank()) == "SemanticRerank()"


def test_equality_is_that_of_the_settings(model):
    used = SemanticRerank(model=model)
    used.compress_documents(DOCUMENTS, QUERY)
    assert used == SemanticRerank(model=model)
    assert used != SemanticRerank(model=model, top_n=2)
