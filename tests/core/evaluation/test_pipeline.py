from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from semantic_ranker import BM25Index, EvaluationError
from semantic_ranker.collections import Collection
from semantic_ranker.evaluation import PipelineEvaluator, PipelineResult
from semantic_ranker_langchain import SemanticRerank, SemanticRerankRetriever

CORPUS = {
    "pw": "To change a forgotten password, open Settings and then Security.",
    "cat": "Cats sleep most of the day and reset nothing.",
    "lunch": "Lunch is served in the canteen at noon.",
    "trip": "Book a business trip two weeks ahead in the travel tool.",
}
QUERIES = {"q1": "how do I reset my password", "q2": "when can I eat lunch", "q3": "booking business travel"}
QRELS = {"q1": {"pw": 1}, "q2": {"lunch": 1}, "q3": {"trip": 1}}
COLLECTION = Collection(name="staff", corpus=CORPUS, queries=QUERIES, qrels=QRELS)
IDS = list(CORPUS)
BY_QUERY = {text: qid for qid, text in QUERIES.items()}


class Everything(BaseRetriever):
    """A real LangChain retriever that finds every document, the least similar first, so that a reranker has work."""

    def _get_relevant_documents(self, query, *, run_manager):
        scores = BM25Index(list(CORPUS.values())).scores(query)
        order = sorted(range(len(IDS)), key=lambda place: scores[place])
        return [Document(page_content=CORPUS[IDS[place]], metadata={"id": IDS[place]}) for place in order]


def perfect(query):
    relevant = next(iter(QRELS[BY_QUERY[query]]))
    return [relevant, *(document for document in IDS if document != relevant)]


def test_a_langchain_retriever_and_the_reranking_one_are_measured_alike():
    plain = PipelineEvaluator(Everything().invoke).evaluate(COLLECTION, ["mrr@10", "recall@4"])
    retriever = SemanticRerankRetriever(base=Everything(), k=4, reranker=SemanticRerank())
    reranked = PipelineEvaluator(retriever.invoke).evaluate(COLLECTION, ["mrr@10", "recall@4"])
    assert plain.mean["Recall@4"] == reranked.mean["Recall@4"] == 1.0
    assert plain.mean["RR@10"] < reranked.mean["RR@10"] == 1.0
    assert set(reranked.latency_ms) == {"total"}
    assert 0 < reranked.latency_ms["total"]["p50"] <= reranked.latency_ms["total"]["p95"]
    assert (reranked.degraded, reranked.failed, reranked.queries) == (0, 0, 3)


def test_a_retriever_that_keeps_the_order_in_another_language_is_counted_as_degraded():
    spanish = "¿Cómo puedo cambiar la contraseña que he olvidado de mi cuenta de usuario?"
    collection = Collection(name="es", corpus=CORPUS, queries={"q": spanish}, qrels={"q": {"pw": 1}})
    retriever = SemanticRerankRetriever(base=Everything(), k=2, reranker=SemanticRerank())
    assert PipelineEvaluator(retriever.invoke).evaluate(collection).degraded == 1.0


def test_every_stage_gets_its_figures_and_its_latency():
    def retrieve(query):
        answer = perfect(query)
        return PipelineResult(
            stages={"bm25": {d: float(rank) for rank, d in enumerate(answer)}, "rerank": answer[:2]},
            latency_ms={"bm25": 2.0, "rerank": 5.0 if query == QUERIES["q1"] else 3.0},
            degraded=query == QUERIES["q2"],
        )

    report = PipelineEvaluator(retrieve).evaluate(COLLECTION, ["mrr", "recall@10"])
    assert [stage.name for stage in report.stages] == ["bm25", "rerank"]
    assert report["bm25"].mean["RR"] == pytest.approx(1 / 4)  # scores turn the list round
    assert report["rerank"].mean == report.mean == {"RR": 1.0, "Recall@10": 1.0}
    assert (report["bm25"].results, report["rerank"].results) == (4, 2)
    assert report.latency_ms["bm25"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert report.latency_ms["rerank"]["p50"] == 3.0 < report.latency_ms["rerank"]["p95"] <= 5.0
    assert list(report.latency_ms) == ["bm25", "rerank", "total"]
    assert report.degraded == pytest.approx(1 / 3)
    with pytest.raises(KeyError):
        report["other"]
    assert json.loads(json.dumps(report.to_dict()))["stages"][1]["mean"]["RR"] == 1.0
    assert "33.3% degraded" in str(report)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda id_: id_,
        lambda id_: CORPUS[id_],
        lambda id_: Document(page_content="chunk", id=id_),
        lambda id_: Document(page_content=CORPUS[id_], metadata={"source": "file"}),
        lambda id_: {"id": id_, "score": 1.0},
        lambda id_: {"text": CORPUS[id_]},
        lambda id_: SimpleNamespace(node=SimpleNamespace(node_id=id_, metadata={})),
        lambda id_: SimpleNamespace(document=SimpleNamespace(id=None, metadata={"doc_id": id_})),
    ],
)
def test_results_are_recognised_in_their_usual_forms(wrap):
    report = PipelineEvaluator(lambda query: [wrap(document) for document in perfect(query)]).evaluate(
        COLLECTION, "mrr"
    )
    assert report.mean == {"RR": 1.0}


def test_answers_that_hold_their_documents_are_opened():
    answer = lambda query: SimpleNamespace(answer="text", documents=perfect(query))  # noqa: E731
    assert PipelineEvaluator(answer).evaluate(COLLECTION, "mrr").mean == {"RR": 1.0}


def test_chunks_of_one_document_count_once_at_the_best_place():
    def chunks(query):
        first, second, *_ = perfect(query)
        return [SimpleNamespace(metadata={"file": name}) for name in (second, first, first, second)]

    evaluator = PipelineEvaluator(chunks, document_id=lambda chunk: chunk.metadata["file"])
    assert evaluator.evaluate(COLLECTION, ["mrr", "p@2"]).mean == {"RR": 0.5, "P@2": 0.5}


def test_errors_end_the_evaluation_or_are_counted_as_zero():
    def flaky(query):
        if query == QUERIES["q3"]:
            raise TimeoutError("no answer")
        return perfect(query)

    with pytest.raises(TimeoutError):
        PipelineEvaluator(flaky).evaluate(COLLECTION)
    report = PipelineEvaluator(flaky, on_error="count").evaluate(COLLECTION, "mrr")
    assert report.mean["RR"] == pytest.approx(2 / 3)
    assert report.failed == pytest.approx(1 / 3)
    assert report.errors == {"TimeoutError": 1}
    with pytest.raises(EvaluationError, match="got none"):
        PipelineEvaluator(lambda query: 1 / 0, on_error="count").evaluate(COLLECTION)


def test_a_query_without_results_counts_as_zero():
    def retrieve(query):
        return perfect(query) if query != QUERIES["q1"] else []

    assert PipelineEvaluator(retrieve).evaluate(COLLECTION, "mrr").mean["RR"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("retrieve", "says"),
    [
        (lambda query: ["no such document"], "names a document of the collection, got a str of 16 characters"),
        (lambda query: [object()], "got a object"),
        (lambda query: "pw", "list of results"),
        (lambda query: 7, "list of results"),
        (lambda query: {"elsewhere": 1.0}, "documents of the collection"),
        (lambda query: {"pw": float("nan")}, "NaN"),
    ],
)
def test_results_that_name_no_document_are_refused(retrieve, says):
    with pytest.raises(EvaluationError, match=says):
        PipelineEvaluator(retrieve).evaluate(COLLECTION)


def test_the_message_never_holds_the_text_of_a_result():
    with pytest.raises(EvaluationError) as caught:
        PipelineEvaluator(lambda query: ["secret text"]).evaluate(COLLECTION)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"retrieve": Everything()}, {"retrieve": perfect, "on_error": "ignore"}])
def test_what_cannot_be_asked_is_refused(options):
    with pytest.raises(EvaluationError, match="Expected a function"):
        PipelineEvaluator(**options)
