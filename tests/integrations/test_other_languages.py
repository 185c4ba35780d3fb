"""What the adapters return for a language that the bundled model does not know: the first stage's order, marked."""

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import semantic_ranker_langchain as langchain
import semantic_ranker_llama_index as llama_index

QUERY = "¿Cómo puedo cambiar la contraseña de mi cuenta?"
TEXTS = [
    "El almuerzo se sirve al mediodía en el comedor de la planta baja.",
    "Para cambiar una contraseña olvidada hay que abrir los ajustes de la cuenta.",
    "La oficina abre a las nueve y cierra a las seis de la tarde.",
]


@pytest.fixture
def documents():
    return [Document(text, metadata={"place": place}) for place, text in enumerate(TEXTS)]


def test_langchain_keeps_the_order_and_marks_it(documents):
    found = langchain.SemanticRerank(top_n=2, score_threshold=0.9).compress_documents(documents, QUERY)
    assert [document.metadata["place"] for document in found] == [0, 1]
    assert [document.metadata["rerank_degraded"] for document in found] == ["language es"] * 2
    assert found[0].metadata["relevance_score"] > found[1].metadata["relevance_score"]


def test_langchain_scores_when_told_to(documents):
    found = langchain.SemanticRerank(top_n=1, other_languages="score").compress_documents(documents, QUERY)
    assert found[0].metadata["place"] == 1
    assert "rerank_degraded" not in found[0].metadata


def test_langchain_rerank_gives_the_reason():
    (found,) = langchain.SemanticRerank(top_n=1).rerank(TEXTS, QUERY)
    assert (found["index"], found["rerank_degraded"]) == (0, "language es")


def test_llama_index_keeps_order_and_scores_of_the_first_stage():
    nodes = [NodeWithScore(node=TextNode(text=text), score=1.0 - place / 10) for place, text in enumerate(TEXTS)]
    found = llama_index.SemanticRerank(top_n=2, score_threshold=0.9).postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [hit.node.get_content() for hit in found] == TEXTS[:2]
    assert [hit.score for hit in found] == [1.0, 0.9]
    assert {hit.node.metadata["rerank_degraded"] for hit in found} == {"language es"}
    assert "language" not in found[0].node.get_content(metadata_mode="embed")
