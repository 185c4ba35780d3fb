"""The adapters with the model that ships, and every example that their documentation prints."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

import semantic_ranker_langchain.cross_encoder
import semantic_ranker_langchain.rerank
import semantic_ranker_langchain.retriever
import semantic_ranker_llama_index.rerank
import semantic_ranker_llama_index.retriever

README = Path(__file__).parents[2] / "integrations" / "README.md"
QUERY = "how do I reset my password"
TEXTS = [
    "Cats sleep all day.",
    "The canteen opens at noon.",
    "To change a forgotten password, open Settings.",
    "Travel costs are paid back within two weeks.",
]
MODULES = [
    semantic_ranker_langchain.cross_encoder,
    semantic_ranker_langchain.rerank,
    semantic_ranker_langchain.retriever,
    semantic_ranker_llama_index.rerank,
    semantic_ranker_llama_index.retriever,
]


async def test_the_default_model_finds_the_answer(framework):
    reranker = framework.rerank_class(top_n=2)
    items = framework.items(TEXTS)
    best = framework.hit(framework.run(reranker, items, QUERY)[0])
    assert best.id == "id-2"
    assert type(best.score) is float
    assert await framework.arun(reranker, items, QUERY) == framework.run(reranker, items, QUERY)


def test_pair_scores_of_the_default_model_agree_with_its_order():
    scores = semantic_ranker_langchain.SemanticCrossEncoder().score([(QUERY, text) for text in TEXTS])
    assert max(range(len(TEXTS)), key=scores.__getitem__) == 2
    assert all(type(score) is float for score in scores)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstring_examples(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
def test_readme_examples_print_what_the_readme_says(block):
    vector_store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, str(README), "exec"), {"vector_store": vector_store})
    assert printed.getvalue().splitlines() == [line[2:] for line in block.splitlines() if line.startswith("# ")]
