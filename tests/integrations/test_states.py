"""Both adapters rank precomputed passages as they rank others."""

from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index
from semantic_ranker import CrossEncoder
from semantic_ranker.segments.engine import SegmentBackend

QUERY = "how do I reset my password"
TEXTS = ["Cats sleep all day.", "To change a forgotten password, open Settings.", "Lunch is at noon."]


def test_both_adapters_read_the_states(tmp_path, monkeypatch):
    expected = CrossEncoder(cache_bytes=0).rank(QUERY, TEXTS)
    CrossEncoder().precompute(TEXTS, tmp_path / "states")
    lengths, real = [], SegmentBackend.encode

    def encode(backend, ids):
        lengths.append(len(ids))
        return real(backend, ids)

    monkeypatch.setattr(SegmentBackend, "encode", encode)
    compressor = langchain.SemanticRerank(states=tmp_path / "states", top_n=None)
    found = compressor.compress_documents([Document(text) for text in TEXTS], QUERY)
    assert [document.page_content for document in found] == [hit.text for hit in expected]
    assert [document.metadata["relevance_score"] for document in found] == [hit.relevance_score for hit in expected]
    processor = llama_index.SemanticRerank(states=tmp_path / "states", top_n=None)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    # Only metadata differs between what the two frameworks show a model; these nodes have none.
    kept = processor.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [hit.score for hit in kept] == [hit.relevance_score for hit in expected]
    assert len(lengths) == 2  # the query, once each
