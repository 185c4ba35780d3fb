"""Pins what users of the adapters build on.

A failure here means a change that breaks somebody: a removed or renamed field, another default, another
signature. Additions at the end are fine; update the table with them.
"""

from __future__ import annotations

import inspect

import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.embeddings import Embeddings
from langchain_core.load.serializable import Serializable
from langchain_core.retrievers import BaseRetriever as LangChainRetriever
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index

MODEL_FIELDS = {
    "model": None,
    "precision": "auto",
    "max_length": None,
    "long_text": "truncate",
    "states": None,
    "score_cache_bytes": 0,
    "score_cache_url": None,
}
EMBEDDING_FIELDS = {
    "model": None,
    "precision": "auto",
    "backend": "auto",
    "max_length": None,
    "truncate_dim": None,
    "query_prompt": None,
    "document_prompt": None,
    "cache_bytes": 64 * 2**20,
    "cache_url": None,
    "cache_codec": "fp16",
}
INHERITED = {
    llama_index.SemanticRerank: {"callback_manager"},
    llama_index.SemanticEmbedding: {"callback_manager", "num_workers", "embeddings_cache", "rate_limiter"},
}
FIELDS = {
    langchain.SemanticEmbeddings: EMBEDDING_FIELDS,
    llama_index.SemanticEmbedding: {**EMBEDDING_FIELDS, "model_name": "", "embed_batch_size": 256},
    langchain.SemanticRerank: {
        **MODEL_FIELDS,
        "top_n": 3,
        "score_threshold": None,
        "score_key": "relevance_score",
        "metadata_fields": (),
        "other_languages": "keep_order",
        "mode": "full",
        "on_error": "raise",
        "source_weight": None,
        "source_key": "source",
    },
    langchain.SemanticCrossEncoder: MODEL_FIELDS,
    langchain.SemanticRerankRetriever: {
        "k": 4,
        "fetch_k": 50,
        "reranker": langchain.SemanticRerank(),
        "name": None,
        "tags": None,
        "metadata": None,
    },
    llama_index.SemanticRerank: {
        **MODEL_FIELDS,
        "top_n": 5,
        "score_threshold": None,
        "metadata_mode": MetadataMode.EMBED,
        "keep_retrieval_score": False,
        "other_languages": "keep_order",
        "mode": "full",
        "on_error": "raise",
        "source_weight": None,
        "source_key": None,
    },
}
BASES = {
    langchain.SemanticEmbeddings: (Embeddings, Serializable),
    llama_index.SemanticEmbedding: (BaseEmbedding,),
    langchain.SemanticRerank: (BaseDocumentCompressor, Serializable),
    langchain.SemanticCrossEncoder: (BaseCrossEncoder, Serializable),
    langchain.SemanticRerankRetriever: (LangChainRetriever,),
    llama_index.SemanticRerank: (BaseNodePostprocessor,),
    llama_index.SemanticRerankRetriever: (LlamaIndexRetriever,),
}
SIGNATURES = {
    langchain.SemanticRerank.compress_documents: "(self, documents, query, callbacks=None, *, top_n=-1)",
    langchain.SemanticRerank.acompress_documents: "(self, documents, query, callbacks=None, *, top_n=-1)",
    langchain.SemanticRerank.rerank: "(self, documents, query, *, top_n=-1)",
    langchain.SemanticRerank.as_runnable: "(self)",
    langchain.SemanticCrossEncoder.score: "(self, text_pairs)",
    llama_index.SemanticRerank.postprocess_nodes: "(self, nodes, query_bundle=None, query_str=None)",
    llama_index.SemanticRerank.apostprocess_nodes: "(self, nodes, query_bundle=None, query_str=None)",
    llama_index.SemanticRerankRetriever.__init__: (
        "(self, base, *, k=5, fetch_k=50, reranker=None, callback_manager=None)"
    ),
}


def test_exported_names():
    assert langchain.__all__ == [
        "LangChainFirstStage",
        "LangChainLLM",
        "PassageIndexRetriever",
        "SemanticCrossEncoder",
        "SemanticEmbeddings",
        "SemanticRerank",
        "SemanticRerankRetriever",
    ]
    assert llama_index.__all__ == [
        "LlamaIndexFirstStage",
        "LlamaIndexLLM",
        "PassageIndexRetriever",
        "SemanticEmbedding",
        "SemanticRerank",
        "SemanticRerankRetriever",
    ]


@pytest.mark.parametrize(("owner", "expected"), FIELDS.items(), ids=lambda value: getattr(value, "__module__", ""))
def test_fields_and_defaults(owner, expected):
    required = {"base"} if owner is langchain.SemanticRerankRetriever else set()
    inherited = INHERITED.get(owner, set())
    fields = owner.model_fields
    assert {name for name, field in fields.items() if field.is_required()} == required
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    assert {name: value for name, value in defaults.items() if name not in required | inherited} == expected
    assert owner.model_config["extra"] == "forbid"


@pytest.mark.parametrize(("owner", "expected"), BASES.items(), ids=lambda value: getattr(value, "__module__", ""))
def test_base_classes(owner, expected):
    assert all(issubclass(owner, base) for base in expected)


@pytest.mark.parametrize(("function", "expected"), SIGNATURES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_signatures(function, expected):
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == expected


def test_serialisation_names():
    assert langchain.SemanticRerank.lc_id() == ["semantic_ranker_langchain", "SemanticRerank"]
    assert langchain.SemanticCrossEncoder.lc_id() == ["semantic_ranker_langchain", "SemanticCrossEncoder"]
    assert llama_index.SemanticRerank.class_name() == "SemanticRerank"
