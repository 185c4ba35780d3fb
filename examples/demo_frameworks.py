"""Asks the demo's questions through both frameworks; returns what the first stage and the reranker gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import langchain_bm25
import llama_index_bm25
from demo_print import Hit
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableParallel, RunnablePassthrough
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import NodeWithScore
from staff_handbook import STEMMERS, Question, Section

import semantic_ranker_langchain
import semantic_ranker_llama_index

RETRIEVED = 20
KEPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Both orders of one question: the first stage's candidates, and what the reranker kept of them."""

    question: Question
    before: list[Hit]
    after: list[Hit]


def through_langchain(sections: Sequence[Section], questions: Sequence[Question]) -> Iterator[Answer]:
    """Ask through an LCEL chain; yield for each question the order before and after."""
    chains = {language: _chain(sections, language) for language in STEMMERS}
    for question in questions:
        result = chains[question.language].invoke(question.text)
        before = [_document_hit(document, "score") for document in result["documents"]]
        after = [_document_hit(document, "relevance_score") for document in result["reranked"]]
        yield Answer(question=question, before=before, after=after)


def _chain(sections: Sequence[Section], language: str) -> Runnable[str, dict[str, list[Document]]]:
    retriever = langchain_bm25.HandbookRetriever(sections=sections, language=language, k=RETRIEVED)
    rerank = semantic_ranker_langchain.SemanticRerank(top_n=KEPT).as_runnable()
    # In an application `| rerank | prompt | llm` follows; `assign` keeps the old order for the comparison.
    return RunnableParallel(documents=retriever, query=RunnablePassthrough()).assign(reranked=rerank)


def through_llama_index(sections: Sequence[Section], questions: Sequence[Question]) -> Iterator[Answer]:
    """Ask through a query engine without an LLM; yield for each question the order before and after."""
    engines = {language: _engine(sections, language) for language in STEMMERS}
    for question in questions:
        engine = engines[question.language]
        before = [_node_hit(hit) for hit in engine.retriever.retrieve(question.text)]
        after = [_node_hit(hit) for hit in engine.query(question.text).source_nodes]
        yield Answer(question=question, before=before, after=after)


def _engine(sections: Sequence[Section], language: str) -> RetrieverQueryEngine:
    return RetrieverQueryEngine(
        llama_index_bm25.HandbookRetriever(sections, language=language, k=RETRIEVED),
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[semantic_ranker_llama_index.SemanticRerank(top_n=KEPT)],
    )


def _document_hit(document: Document, score_key: str) -> Hit:
    return Hit(id=document.id or "", title=document.metadata["title"], score=document.metadata[score_key])


def _node_hit(hit: NodeWithScore) -> Hit:
    return Hit(id=hit.node.node_id, title=hit.node.metadata["title"], score=hit.score or 0.0)
