"""Both adapters tell the model which documents passages are from, each in its framework's own words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from langchain_core.documents import Document
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index
from semantic_ranker._staging import file_entries

QUERY = "cat feeds dog"
PASSAGES = [("house", "a"), ("cat", "b"), ("cat feeds dog", "a")]
"""By itself the second passage is second; known by its document, the first is."""
BY_PASSAGE, BY_DOCUMENT = [2, 1, 0], [2, 0, 1]


@pytest.fixture
def fitted(model, tmp_path):
    """The model as `tune` writes it: with a source weight."""
    folder = tmp_path / "fitted"
    shutil.copytree(model, folder)
    manifest = {"schema_version": 1, "kind": "reranker", "source_weight": 0.5, "files": file_entries(folder)}
    (folder / "semantic_ranker.json").write_text(json.dumps(manifest))
    return str(folder)


def documents(key="source"):
    return [Document(text, metadata={key: source}) for text, source in PASSAGES]


def nodes(**metadata):
    found = [TextNode(text=text) for text, _ in PASSAGES]
    for node, (_, source) in zip(found, PASSAGES, strict=True):
        if metadata:
            node.metadata = {key: f"{value}/{source}" for key, value in metadata.items()}
            node.excluded_embed_metadata_keys = list(metadata)
        else:
            node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=source)
    return [NodeWithScore(node=node, score=0.5) for node in found]


def in_langchain(given, **settings):
    ranked = langchain.SemanticRerank(**settings).compress_documents(given, QUERY)
    return [[document.page_content for document in given].index(hit.page_content) for hit in ranked]


def in_llama_index(given, **settings):
    ranked = llama_index.SemanticRerank(**settings).postprocess_nodes(given, query_str=QUERY)
    return [[hit.node.node_id for hit in given].index(hit.node.node_id) for hit in ranked]


def test_langchain_goes_by_the_metadata_that_loaders_write(model, fitted):
    assert in_langchain(documents(), model=fitted) == BY_DOCUMENT
    assert in_langchain(documents(), model=fitted, source_weight=0.0) == BY_PASSAGE
    assert in_langchain(documents(), model=model) == BY_PASSAGE
    assert in_langchain(documents(), model=model, source_weight=0.5) == BY_DOCUMENT
    assert in_langchain(documents("path"), model=fitted) == BY_PASSAGE
    assert in_langchain(documents("path"), model=fitted, source_key="path") == BY_DOCUMENT
    lists = [Document(text, metadata={"source": [source]}) for text, source in PASSAGES]
    assert in_langchain(lists, model=fitted) == BY_DOCUMENT


def test_langchain_shows_the_score_that_decided(model):
    rerank = langchain.SemanticRerank(model=model, source_weight=0.5, score_threshold=0.2)
    scores = [hit.metadata["relevance_score"] for hit in rerank.compress_documents(documents(), QUERY)]
    assert scores == sorted(scores, reverse=True)
    found = rerank.rerank([{"text": text, "metadata": {"source": source}} for text, source in PASSAGES], QUERY)
    assert [hit["index"] for hit in found] == BY_DOCUMENT
    assert [hit["relevance_score"] for hit in found] == scores


def test_llama_index_goes_by_the_file_and_else_by_the_document(model, fitted):
    assert in_llama_index(nodes(), model=fitted) == BY_DOCUMENT
    assert in_llama_index(nodes(), model=fitted, source_weight=0.0) == BY_PASSAGE
    assert in_llama_index(nodes(), model=model) == BY_PASSAGE
    assert in_llama_index(nodes(file_path="docs"), model=model, source_weight=0.5) == BY_DOCUMENT
    assert in_llama_index(nodes(chapter="x"), model=fitted) == BY_PASSAGE
    assert in_llama_index(nodes(chapter="x"), model=fitted, source_key="chapter") == BY_DOCUMENT


def test_llama_index_splitters_say_the_document(fitted):
    """Nodes cut by the framework itself need no key."""
    texts = {"a": "# one\n\nhouse\n\n# two\n\ncat feeds dog", "b": "cat"}
    written = [LlamaDocument(text=text, id_=name) for name, text in texts.items()]
    found = MarkdownNodeParser(include_metadata=False).get_nodes_from_documents(written)
    given = [NodeWithScore(node=node, score=0.5) for node in found]
    ranked = llama_index.SemanticRerank(model=fitted).postprocess_nodes(given, query_str=QUERY)
    assert [hit.node.source_node.node_id for hit in ranked] == ["a", "a", "b"]


@pytest.mark.parametrize("rerank", [langchain.SemanticRerank, llama_index.SemanticRerank])
@pytest.mark.parametrize("weight", [-0.1, 1.5, "much"])
def test_weights_that_are_no_share_are_refused(rerank, weight):
    with pytest.raises(ValueError, match="source_weight"):
        rerank(source_weight=weight)


@pytest.mark.parametrize("weight", [2.0, "half", None])
def test_a_manifest_with_another_weight_is_refused(fitted, weight):
    path = Path(fitted) / "semantic_ranker.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "source_weight": weight}))
    with pytest.raises(Exception, match="source_weight"):
        in_langchain(documents(), model=fitted)
