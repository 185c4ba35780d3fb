"""Both adapters open the cascade and the cache of pair scores by plain settings, and score less for it."""

from __future__ import annotations

import json

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index
from semantic_ranker.segments.engine import SegmentEngine

QUERY = "how do I reset my password"
BEST = "To change a forgotten password, open Settings."
TEXTS = [f"Room {number} is on floor {number // 10}, behind the stairs." for number in range(40)] + [BEST]


def compressed(**settings):
    found = langchain.SemanticRerank(**settings).compress_documents([Document(text) for text in TEXTS], QUERY)
    return [(document.page_content, document.metadata["relevance_score"]) for document in found]


def postprocessed(**settings):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = llama_index.SemanticRerank(**settings).postprocess_nodes(nodes, QueryBundle(QUERY))
    return [(hit.node.get_content(), hit.score) for hit in found]


@pytest.fixture(params=[compressed, postprocessed])
def reranked(request):
    return request.param


@pytest.fixture
def scored(monkeypatch):
    """How many texts the model was asked for, call by call."""
    counts, real = [], SegmentEngine.score

    def counted(self, queries, groups, options):
        counts.append(sum(map(len, groups)))
        return real(self, queries, groups, options)

    monkeypatch.setattr(SegmentEngine, "score", counted)
    return counts


def test_cascade_scores_what_can_enter_the_top(reranked, scored):
    full, cascaded = reranked(top_n=1), reranked(top_n=1, mode="cascade")
    assert cascaded == full
    assert full[0][0] == BEST
    assert scored[0] == len(TEXTS)
    assert scored[1] < len(TEXTS)


def test_scores_kept_in_this_process_are_not_computed_again(reranked, scored, request):
    settings = {"top_n": 2, "score_cache_bytes": 1_000_000 + len(request.node.name)}
    assert reranked(**settings) == reranked(**settings)
    assert scored == [len(TEXTS)]


def test_both_frameworks_share_one_cache(scored):
    settings = {"top_n": 2, "score_cache_bytes": 2_000_000}
    assert compressed(**settings) == postprocessed(**settings)
    assert scored == [len(TEXTS)]


def test_a_dead_redis_changes_nothing(reranked):
    assert reranked(top_n=2, score_cache_url="redis://:geheim@127.0.0.1:1/0") == reranked(top_n=2)


def test_the_password_of_redis_is_never_written():
    settings = {"score_cache_url": "redis://:geheim@127.0.0.1:1/0"}
    compressor, processor = langchain.SemanticRerank(**settings), llama_index.SemanticRerank(**settings)
    for said in (repr(compressor), json.dumps(dumpd(compressor)), repr(processor), processor.to_json()):
        assert "geheim" not in said
    assert "SEMANTIC_RANKER_SCORE_CACHE_URL" in json.dumps(dumpd(compressor))
