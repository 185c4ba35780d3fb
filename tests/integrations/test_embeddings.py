"""What both frameworks' embeddings must do; the model is the bundled one."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading

import numpy as np
import pytest
from langchain_core.load import dumpd
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from pydantic import ValidationError

from semantic_ranker import Embedder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_langchain import SemanticEmbeddings
from semantic_ranker_llama_index import SemanticEmbedding

LIMIT_S = 10
TEXTS = ["Cats sleep all day.", "line one\nline two\r\n\n", "", "Cats sleep all day.", " padded "]
DEAD = "redis://:geheim@127.0.0.1:1/0"


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return SemanticEmbeddings


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return SemanticEmbeddings


class LangChainFace:
    kind = SemanticEmbeddings
    documents = staticmethod(lambda it, texts: it.embed_documents(texts))
    query = staticmethod(lambda it, text: it.embed_query(text))
    adocuments = staticmethod(lambda it, texts: it.aembed_documents(texts))
    aquery = staticmethod(lambda it, text: it.aembed_query(text))


class LlamaIndexFace:
    kind = SemanticEmbedding
    documents = staticmethod(lambda it, texts: it.get_text_embedding_batch(texts))
    query = staticmethod(lambda it, text: it.get_query_embedding(text))
    adocuments = staticmethod(lambda it, texts: it.aget_text_embedding_batch(texts))
    aquery = staticmethod(lambda it, text: it.aget_query_embedding(text))


@pytest.fixture(params=[LangChainFace, LlamaIndexFace])
def face(request):
    return request.param


@pytest.fixture
def asked(monkeypatch):
    """Record what reaches the core, role by role."""
    calls = []
    for name in ("embed_documents", "embed_queries"):
        real = getattr(Embedder, name)

        def recorded(self, texts, *rest, name=name, real=real, **options):
            calls.append((name, list(texts)))
            return real(self, texts, *rest, **options)

        monkeypatch.setattr(Embedder, name, recorded)
    return calls


def test_vectors_are_those_of_the_core_as_plain_floats(face):
    core = Embedder()
    vectors = face.documents(face.kind(cache_codec="fp32"), TEXTS)
    assert {type(number) for vector in vectors for number in vector} == {float}
    np.testing.assert_allclose(vectors, core.embed_documents(TEXTS), atol=1e-6)
    np.testing.assert_allclose(face.query(face.kind(), TEXTS[0]), core.embed_queries(TEXTS[:1])[0], atol=1e-3)


async def test_async_equals_sync(face):
    embeddings = face.kind()
    assert await face.adocuments(embeddings, TEXTS) == face.documents(embeddings, TEXTS)
    assert await face.aquery(embeddings, TEXTS[0]) == face.query(embeddings, TEXTS[0])


@pytest.mark.parametrize("role", ["documents", "queries"])
async def test_the_event_loop_stays_free(face, monkeypatch, role):
    entered, go = threading.Event(), threading.Event()
    real = getattr(Embedder, f"embed_{role}")

    def slow(self, texts, *rest, **options):
        entered.set()
        assert go.wait(LIMIT_S), "the loop never ran while a text was embedded"
        return real(self, texts, *rest, **options)

    monkeypatch.setattr(Embedder, f"embed_{role}", slow)
    embeddings = face.kind()
    task = asyncio.ensure_future(
        face.adocuments(embeddings, TEXTS) if role == "documents" else face.aquery(embeddings, TEXTS[0])
    )
    while not entered.is_set():
        await asyncio.sleep(0.001)
    go.set()
    assert await asyncio.wait_for(task, LIMIT_S)


def test_texts_arrive_whole_in_batches_and_unchanged(face, asked):
    texts = TEXTS + [f"text\n{number}" for number in range(295)]
    face.documents(face.kind(), texts)
    face.query(face.kind(), "a\nb ")
    assert [text for name, part in asked[:-1] for text in part] == texts
    assert {name for name, _ in asked[:-1]} == {"embed_documents"}
    assert asked[-1] == ("embed_queries", ["a\nb "])
    assert len(asked) == (2 if face is LangChainFace else 3)


async def test_async_batches_are_kept_too(face, asked):
    await face.adocuments(face.kind(), [f"text {number}" for number in range(300)])
    assert sorted(len(part) for _, part in asked) == ([300] if face is LangChainFace else [44, 256])


def test_prompts_roles_and_models_never_share_a_vector(face):
    plain, prompted = face.kind(), face.kind(query_prompt="how to reset: ", document_prompt="cat story: ")
    for _ in range(2):
        vectors = [face.documents(one, ["password"])[0] for one in (plain, prompted)]
        vectors += [face.query(prompted, "password")]
        assert len({tuple(vector) for vector in vectors}) == 3
    core = Embedder(query_prompt="how to reset: ", document_prompt="cat story: ")
    np.testing.assert_allclose(vectors[1], core.embed_documents(["password"])[0], atol=1e-3)
    np.testing.assert_allclose(vectors[2], core.embed_queries(["password"])[0], atol=1e-3)


def test_a_text_is_computed_once_for_all_instances(face):
    first, second = face.kind(cache_bytes=1_000_001), face.kind(cache_bytes=1_000_001)
    face.documents(first, ["only once"])
    before = first._embedder()._cache.stats()
    face.documents(second, ["only once"])
    after = second._embedder()._cache.stats()
    assert (after.hits - before.hits, after.misses) == (1, before.misses)


def test_a_dead_redis_changes_nothing(face):
    with_redis, without = face.kind(cache_url=DEAD), face.kind()
    assert face.documents(with_redis, TEXTS) == face.documents(without, TEXTS)
    assert face.query(with_redis, TEXTS[0]) == face.query(without, TEXTS[0])


def test_the_password_is_never_written(face):
    embeddings = face.kind(cache_url=DEAD)
    written = [repr(embeddings), str(embeddings), embeddings.model_dump_json()]
    written.append(json.dumps(dumpd(embeddings) if face is LangChainFace else embeddings.to_dict()))
    assert not any("geheim" in one for one in written)


def test_pickles_embed_the_same(face):
    embeddings = face.kind(cache_codec="int8")
    expected = face.documents(embeddings, TEXTS)
    content = pickle.dumps(embeddings)
    assert len(content) < 10_000
    assert face.documents(pickle.loads(content), TEXTS) == expected


def test_no_texts_no_vectors(face):
    assert face.documents(face.kind(), []) == []


@pytest.mark.parametrize("settings", [{"modle": "x"}, {"cache_codec": "fp8"}, {"cache_bytes": -1}, {"max_length": 0}])
def test_wrong_settings_are_refused(face, settings):
    with pytest.raises(ValidationError):
        face.kind(**settings)


def ingestion_key(**settings):
    return get_transformation_hash([TextNode(text="cat", id_="1")], SemanticEmbedding(**settings))


@pytest.mark.parametrize(
    "settings",
    [{"document_prompt": "passage: "}, {"cache_codec": "int8"}, {"cache_bytes": 0}],
)
def test_the_ingestion_key_follows_what_changes_vectors(settings):
    assert ingestion_key(**settings) != ingestion_key()


@pytest.mark.parametrize(
    "settings",
    [
        {"cache_bytes": 1_000_000},
        {"cache_url": DEAD},
        {"embed_batch_size": 7},
        {"num_workers": 2},
        {"model_name": "a name for traces"},
    ],
)
def test_the_ingestion_key_ignores_what_changes_none(settings):
    assert ingestion_key(**settings) == ingestion_key()


def test_without_a_cache_the_codec_is_not_in_the_key():
    assert ingestion_key(cache_bytes=0, cache_codec="int8") == ingestion_key(cache_bytes=0, cache_codec="fp32")


def test_an_ingestion_pipeline_embeds_again_only_when_it_must(asked):
    cache, nodes = IngestionCache(), [TextNode(text=text, id_=text) for text in ("cat", "dog")]
    for settings in ({}, {"embed_batch_size": 1}, {"document_prompt": "passage: "}):
        pipeline = IngestionPipeline(transformations=[SemanticEmbedding(**settings)], cache=cache)
        assert all(node.embedding for node in pipeline.run(nodes=[node.model_copy() for node in nodes]))
    assert len(asked) == 2


def test_a_cache_by_text_alone_is_refused():
    from llama_index.core.storage.kvstore import SimpleKVStore

    with pytest.raises(ValidationError, match="use cache_url or cache_bytes"):
        SemanticEmbedding(embeddings_cache=SimpleKVStore())


def test_settings_come_back_from_json_and_a_key_does_not():
    embedding = SemanticEmbedding(cache_codec="int8", document_prompt="passage: ", cache_url=DEAD)
    again = SemanticEmbedding.from_json(embedding.to_json())
    assert again.to_dict() == embedding.to_dict()
    with pytest.raises(InvalidInputError, match="to_json"):
        SemanticEmbedding.from_dict(embedding.to_dict())
