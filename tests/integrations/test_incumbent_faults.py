"""Faults that were reproduced in the rerankers users have today, each as a test that ours does not have it.

The numbers are those of the review that found them; what each incumbent does is in the docstring.
"""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
import threading

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load import dumpd, load
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from pydantic import ValidationError

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index
from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError, ModelLoadError, NonFiniteScoreError, ScoreCountError

QUERY = "cat feeds dog"


def documents(*texts):
    return [Document(id=text, page_content=text) for text in texts]


def nodes(*texts):
    return [NodeWithScore(node=TextNode(id_=text, text=text), score=0.5) for text in texts]


def test_fault_1_the_score_is_in_the_metadata_of_a_copy(model):
    """CrossEncoderReranker returns the same objects and no score."""
    given = documents("dog", "cat feeds dog")
    best = langchain.SemanticRerank(model=model).compress_documents(given, QUERY)[0]
    assert best.metadata["relevance_score"] > 0.5
    assert best is not given[1]
    assert given[1].metadata == {}


@pytest.mark.parametrize("top_n", [-1, 0])
def test_fault_2_a_wrong_top_n_is_an_error(model, top_n):
    """CrossEncoderReranker slices from the end for -1 and returns nothing for 0."""
    for rerank_class in (langchain.SemanticRerank, llama_index.SemanticRerank):
        with pytest.raises(ValidationError):
            rerank_class(model=model, top_n=top_n)


@pytest.mark.parametrize("top_n", [-2, 0])
def test_fault_2_holds_for_the_top_n_of_a_call(model, top_n):
    reranker = langchain.SemanticRerank(model=model)
    with pytest.raises(InvalidInputError):
        reranker.rerank(documents("cat"), QUERY, top_n=top_n)
    with pytest.raises(InvalidInputError):
        reranker.compress_documents(documents("cat"), QUERY, top_n=top_n)


def test_fault_3_a_short_answer_of_the_model_loses_no_document(miscounting_model):
    """CrossEncoderReranker drops every document beyond the scores it got."""
    with pytest.raises((ScoreCountError, ModelLoadError)):
        langchain.SemanticRerank(model=miscounting_model).compress_documents(documents("cat", "dog", "red"), QUERY)
    kept = langchain.SemanticRerank(model=miscounting_model, on_error="passthrough")
    assert len(kept.compress_documents(documents("cat", "dog", "red"), QUERY)) == 3


def test_fault_3_holds_for_pair_scores_too(miscounting_model):
    with pytest.raises((ScoreCountError, ModelLoadError)):
        langchain.SemanticCrossEncoder(model=miscounting_model).score([(QUERY, "cat"), (QUERY, "dog")])


def test_fault_4_nan_is_an_error_and_never_a_rank(model):
    """CrossEncoderReranker and SentenceTransformerRerank sort NaN anywhere and lose the best document."""
    texts = ("dog", "poison", "cat feeds dog", "cat")
    with pytest.raises(NonFiniteScoreError) as caught:
        langchain.SemanticRerank(model=model, top_n=2).compress_documents(documents(*texts), QUERY)
    assert list(caught.value.indices) == [1]
    with pytest.raises(NonFiniteScoreError):
        llama_index.SemanticRerank(model=model, top_n=2).postprocess_nodes(nodes(*texts), query_str=QUERY)
    with pytest.raises(NonFiniteScoreError):
        langchain.SemanticCrossEncoder(model=model).score([(QUERY, text) for text in texts])


def test_fault_5_the_kept_retrieval_score_reaches_no_model_and_survives_a_second_pass(model):
    """SentenceTransformerRerank writes it into the caller's node, where it becomes part of the embedded text."""
    given = nodes("dog", "cat feeds dog")
    before = copy.deepcopy(given)
    reranker = llama_index.SemanticRerank(model=model, keep_retrieval_score=True)
    once = reranker.postprocess_nodes(given, query_str=QUERY)
    assert given == before
    assert once[0].node.metadata == {"retrieval_score": 0.5}
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert once[0].node.get_content(metadata_mode=mode) == "cat feeds dog"
    twice = reranker.postprocess_nodes(once, query_str=QUERY)
    assert [hit.score for hit in twice] == [hit.score for hit in once]
    assert twice[0].node.metadata == {"retrieval_score": 0.5}


def test_fault_5_holds_when_all_metadata_is_shown_to_the_model(model, monkeypatch):
    seen = []
    rank = CrossEncoder.rank
    monkeypatch.setattr(CrossEncoder, "rank", lambda self, *args, **kw: seen.append(args[1]) or rank(self, *args, **kw))
    reranker = llama_index.SemanticRerank(model=model, keep_retrieval_score=True, metadata_mode=MetadataMode.ALL)
    once = reranker.postprocess_nodes(nodes("cat", "dog"), query_str=QUERY)
    reranker.postprocess_nodes(once, query_str=QUERY)
    assert seen == [["cat", "dog"], ["cat", "dog"]]


def test_fault_6_a_reranked_node_is_json_serialisable(model):
    """SentenceTransformerRerank leaves a numpy float32, on which `to_json` raises TypeError."""
    best = llama_index.SemanticRerank(model=model).postprocess_nodes(nodes("cat"), query_str=QUERY)[0]
    assert json.loads(best.to_json())["score"] == best.score
    assert type(best.score) is float


def test_fault_7_the_new_score_wins_and_the_id_stays(model):
    """FlashrankRerank lets an old relevance_score win, drops the id and returns numpy floats."""
    old = Document(id="kept", page_content="cat feeds dog", metadata={"relevance_score": 0.0, "id": "old"})
    [new] = langchain.SemanticRerank(model=model).compress_documents([old], QUERY)
    assert new.id == "kept"
    assert new.metadata["id"] == "old"
    assert new.metadata["relevance_score"] > 0.5
    assert type(new.metadata["relevance_score"]) is float


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [
        ("semantic_ranker_langchain", "langchain_core", "langchain"),
        ("semantic_ranker_llama_index", "llama_index", "llama-index"),
    ],
)
def test_fault_8_a_missing_framework_is_an_error_that_names_the_extra(package, framework, extra):
    """`rerankers` prints a line and returns None in place of the compressor."""
    code = f"import sys; sys.modules[{framework!r}] = None; import {package}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ModuleNotFoundError" in result.stderr
    assert f"pip install 'semantic-ranker[{extra}]'" in result.stderr


def test_fault_8_the_compressor_is_a_compressor():
    assert isinstance(langchain.SemanticRerank(), BaseDocumentCompressor)


async def test_fault_9_async_scores_a_whole_list_in_one_call_off_the_loop(model, monkeypatch):
    """LlamaIndex's default async paths work one by one, on the event loop."""
    calls = []
    rank = CrossEncoder.rank

    def counted(self, query, texts, top_k=None, **options):
        calls.append((len(texts), threading.current_thread() is threading.main_thread()))
        return rank(self, query, texts, top_k, **options)

    monkeypatch.setattr(CrossEncoder, "rank", counted)
    await asyncio.gather(
        llama_index.SemanticRerank(model=model).apostprocess_nodes(nodes("cat", "dog"), query_str=QUERY),
        langchain.SemanticRerank(model=model).acompress_documents(documents("cat", "dog"), QUERY),
    )
    assert calls == [(2, False), (2, False)]


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_fault_10_json_round_trip(model):
    """A third-party class loads back only if its namespace is named as well; ours says which in its docstring."""
    namespaces = ["semantic_ranker_langchain"]
    assert f'valid_namespaces=["{namespaces[0]}"]' in langchain.SemanticRerank.__doc__
    for given in (
        langchain.SemanticRerank(model=model, top_n=None, score_threshold=0.0, metadata_fields=("title",)),
        langchain.SemanticRerank(),
        langchain.SemanticCrossEncoder(model=model, precision="fp32"),
    ):
        data = json.loads(json.dumps(dumpd(given)))
        restored = load(data, allowed_objects=[type(given)], valid_namespaces=namespaces)
        assert type(restored) is type(given)
        assert restored == given


def test_fault_11_an_error_never_empties_the_context(tmp_path):
    """langchain-pinecone logs any exception and returns an empty list."""
    missing = str(tmp_path / "missing")
    with pytest.raises(ModelLoadError):
        langchain.SemanticRerank(model=missing).compress_documents(documents("cat"), QUERY)
    with pytest.raises(ModelLoadError):
        langchain.SemanticRerank(model=missing, on_error="passthrough").rerank(documents("cat"), QUERY)
    kept = langchain.SemanticRerank(model=missing, on_error="passthrough").compress_documents(documents("cat"), QUERY)
    assert [document.page_content for document in kept] == ["cat"]


def test_drop_in_reranker_of_langchain_classic_gets_real_floats(model):
    scorer = langchain.SemanticCrossEncoder(model=model)
    scores = scorer.score([(QUERY, "cat"), (QUERY, "cat feeds dog")])
    assert [type(score) for score in scores] == [float, float]
    assert langchain.SemanticCrossEncoder(model="no/such/folder").score([]) == []
    best = CrossEncoderReranker(model=scorer, top_n=1).compress_documents(documents("cat", "cat feeds dog"), QUERY)
    assert [document.id for document in best] == ["cat feeds dog"]
