"""Existing clients, unchanged, against a server that was really started."""

import base64

import cohere
import httpx
import numpy as np
import openai
import pytest
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from semantic_ranker import CrossEncoder
from semantic_ranker.embedder import Embedder

QUERY = "how do I reset my password"
TEXTS = [
    "Cats sleep all day and hunt at night.",
    "The password of the coffee machine is on its back.",
    "To change a forgotten password, open Settings and choose Reset.",
]


@pytest.fixture(scope="module")
def expected():
    return CrossEncoder().rank(QUERY, TEXTS)


def nodes():
    return [
        NodeWithScore(node=TextNode(text=text, id_=str(place)), score=1 - place / 10)
        for place, text in enumerate(TEXTS)
    ]


def test_llama_index_tei_reranker(server, expected):
    reranker = TextEmbeddingInference(base_url=server, top_n=2)
    found = reranker.postprocess_nodes(nodes(), QueryBundle(QUERY))
    assert [(int(node.node_id), node.score) for node in found] == [
        (item.index, item.relevance_score) for item in expected[:2]
    ]


@pytest.fixture
def jina_reranker():
    made = []

    def make(server, top_n):
        made.append(JinaRerank(base_url=f"{server}/v1", api_key="none", top_n=top_n))
        return made[-1]

    yield make
    for reranker in made:
        reranker._session.close()  # it never does itself


def test_llama_index_jina_reranker(server, expected, jina_reranker):
    reranker = jina_reranker(server, 2)
    found = reranker.postprocess_nodes(nodes(), QueryBundle(QUERY))
    assert [(int(node.node_id), node.score) for node in found] == [
        (item.index, item.relevance_score) for item in expected[:2]
    ]


def test_llama_index_jina_reranker_says_what_was_wrong(server, jina_reranker):
    reranker = jina_reranker(server, 0)
    with pytest.raises(RuntimeError, match="Expected top_n to be a whole number of 1 or more, got 0"):
        reranker.postprocess_nodes(nodes(), QueryBundle(QUERY))


def test_langchain_cohere_reranker(server, expected):
    documents = [Document(text, metadata={"n": place}) for place, text in enumerate(TEXTS)]
    reranker = CohereRerank(base_url=server, cohere_api_key="none", model="any", top_n=2)
    found = reranker.compress_documents(documents, QUERY)
    reranker.client._client_wrapper.httpx_client.httpx_client.close()  # it never does itself
    assert [(item.metadata["n"], item.metadata["relevance_score"]) for item in found] == [
        (item.index, item.relevance_score) for item in expected[:2]
    ]


def test_cohere_clients(server, expected):
    with httpx.Client() as http:
        first = cohere.Client("none", base_url=server, httpx_client=http)
        found = first.rerank(query=QUERY, documents=TEXTS, model="any", return_documents=True)
        assert [item.index for item in found.results] == [item.index for item in expected]
        assert found.results[0].document.text == TEXTS[2]
        second = cohere.ClientV2("none", base_url=server, httpx_client=http)
        found = second.rerank(query=QUERY, documents=TEXTS, model="any", top_n=1, max_tokens_per_doc=9)
        assert [item.index for item in found.results] == [2]
        assert found.meta.warnings == ["max_tokens_per_doc is not used"]
        with pytest.raises(cohere.UnprocessableEntityError, match="top_n"):
            second.rerank(query=QUERY, documents=TEXTS, model="any", top_n=-1)


def test_openai_client_embeds(server):
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        wanted = Embedder().embed_documents(TEXTS)
        for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            found = client.embeddings.create(model="any", input=TEXTS, **options)
            rows = [item.embedding for item in found.data]
            if "base64" in options.values():
                rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
            np.testing.assert_array_equal(np.asarray(rows, np.float32), wanted)
        assert found.model == "embedder-static-en"
        assert [len(client.embeddings.create(model="any", input="one").data[0].embedding)] == [wanted.shape[1]]
        assert "embedder-static-en" in [model.id for model in client.models.list()]
        with pytest.raises(openai.UnprocessableEntityError, match="Expected dimensions 256"):
            client.embeddings.create(model="any", input=TEXTS, dimensions=64)
        with pytest.raises(openai.UnprocessableEntityError, match="numbers of tokens"):
            client.embeddings.create(model="any", input=[1, 2, 3])


async def test_openai_async_client_embeds(server):
    async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        found = await client.embeddings.create(model="any", input=TEXTS)
    np.testing.assert_array_equal(
        np.asarray([item.embedding for item in found.data], np.float32), Embedder().embed_documents(TEXTS)
    )
