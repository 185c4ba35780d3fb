"""Two stages: the order is the reranker's where it is heard, the first stage's and said so where it is not."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from semantic_ranker.errors import EmbeddingError, InvalidInputError, ModelLoadError
from semantic_ranker.indexes import Candidates, Hit, Passage, PassageIndex
from semantic_ranker.retrieval import TwoStageRetriever
from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder

TEXTS = ["cats sleep", "dogs bark", "cats and dogs play", "water boils", "birds sing"]


class Fixed:
    """A first stage that finds everything in the order of the list."""

    def __init__(self):
        self.calls = []

    def search_many(self, queries, k, *, where=None):
        self.calls.append((list(queries), k, where))
        hits = tuple(Hit(Passage(id=f"p{place}", text=text), 1 - place / 10) for place, text in enumerate(TEXTS[:k]))
        return [Candidates(hits=hits) for _ in queries]


def ids(found):
    return [item.id for item in found]


def test_reranker_decides_and_the_first_stage_is_remembered():
    retriever = TwoStageRetriever(Fixed(), FakeCrossEncoder(), top_n=3)
    found = retriever.retrieve("dogs play")
    assert ids(found) == ["p2", "p1", "p0"]
    assert (found[0].first_rank, found[0].first_score, found.degraded) == (3, 0.8, None)
    assert 1 >= found[0].score > found[1].score > 0
    assert [hit.passage.id for hit in found.candidates] == [f"p{place}" for place in range(5)]
    assert {"first_stage", "rerank", "total"} <= set(found.latency_ms)
    assert ids(TwoStageRetriever(Fixed()).retrieve("dogs", top_n=2)) == ["p0", "p1"]


def test_far_out_logits_keep_their_order():
    logits = {"cats sleep": 900.0, "dogs bark": 1000.0, "water boils": -1000.0, "birds sing": -900.0}
    retriever = TwoStageRetriever(Fixed(), FakeCrossEncoder(lambda query, text: logits.get(text, 0.0)))
    found = retriever.retrieve("x")
    assert ids(found) == ["p1", "p0", "p2", "p4", "p3"]
    assert all(0 <= item.score <= 1 for item in found)


def test_fusion_keeps_something_of_the_first_stage():
    encoder = FakeCrossEncoder(lambda query, text: {"birds sing": 3.0, "cats sleep": 2.9}.get(text, -1.0))
    assert ids(TwoStageRetriever(Fixed(), encoder).retrieve("x", top_n=2)) == ["p4", "p0"]
    assert ids(TwoStageRetriever(Fixed(), encoder, fusion="rrf").retrieve("x", top_n=1)) == ["p0"]
    assert ids(TwoStageRetriever(Fixed(), encoder, fusion=0.0).retrieve("x")) == [f"p{place}" for place in range(5)]
    assert ids(TwoStageRetriever(Fixed(), encoder, fusion=1.0).retrieve("x", top_n=1)) == ["p4"]


def test_passages_are_known_by_their_source():
    class Sourced(Fixed):
        def search_many(self, queries, k, *, where=None):
            sources = ["b.md", "a.md", "a.md", "", ""]
            return [
                Candidates(
                    hits=tuple(
                        Hit(Passage(id=hit.passage.id, text=hit.passage.text, source=source), hit.score)
                        for hit, source in zip(found.hits, sources, strict=True)
                    )
                )
                for found in super().search_many(queries, k)
            ]

    logits = dict(zip(TEXTS, [2.0, 1.0, 4.0, 1.5, -3.0], strict=True))

    def retriever(weight, **options):
        return TwoStageRetriever(
            Sourced(), FakeCrossEncoder(lambda _, text: logits[text], source_weight=weight), **options
        )

    assert ids(retriever(None).retrieve("x")) == ["p2", "p0", "p3", "p1", "p4"]
    found = retriever(0.5).retrieve("x")
    assert ids(found) == ["p2", "p1", "p0", "p3", "p4"], "passages without a source keep their scores"
    assert found[1].score == pytest.approx(1 / (1 + np.exp(-2.5)))
    assert ids(retriever(0.5, fusion=1.0).retrieve("x", top_n=2)) == ["p2", "p1"]


def test_many_queries_are_one_call_of_each_stage():
    first, encoder, calls = Fixed(), FakeCrossEncoder(), []
    score_many = encoder.score_many
    encoder.score_many = lambda queries, texts: calls.append(list(queries)) or score_many(queries, texts)
    retriever = TwoStageRetriever(first, encoder, k=4, top_n=3)
    many = retriever.retrieve_many(["dogs bark", "water"], where={"source": ""})
    assert first.calls == [(["dogs bark", "water"], 4, {"source": ""})]
    assert calls == [["dogs bark", "water"]]
    assert [ids(found)[0] for found in many] == ["p1", "p3"]
    assert retriever.retrieve_many([]) == []


def failing(error):
    def score(query, text):
        raise error

    return FakeCrossEncoder(score)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (failing(RuntimeError("broken")), "the reranker failed: RuntimeError: broken"),
        (failing(MemoryError()), "the reranker failed: MemoryError"),
        (FakeCrossEncoder(lambda query, text: np.nan), "the reranker failed: NonFiniteScoreError"),
    ],
)
@pytest.mark.parametrize("deadline_s", [None, 20])
def test_reranker_that_fails_leaves_the_first_order_marked(encoder, reason, deadline_s):
    found = TwoStageRetriever(Fixed(), encoder, deadline_s=deadline_s).retrieve("x", top_n=3)
    assert ids(found) == ["p0", "p1", "p2"]
    assert found.degraded.startswith(reason)
    assert [item.score for item in found] == [item.first_score for item in found]


def test_wrong_number_of_scores_is_no_order():
    encoder = FakeCrossEncoder()
    encoder.score_many = lambda queries, texts: [np.zeros(2, np.float32) for _ in queries]
    found = TwoStageRetriever(Fixed(), encoder).retrieve("x")
    assert (ids(found)[0], "ScoreCountError" in found.degraded) == ("p0", True)


def test_wrong_settings_are_no_degradation(tmp_path):
    from semantic_ranker import CrossEncoder

    with pytest.raises(ModelLoadError):
        TwoStageRetriever(Fixed(), CrossEncoder(tmp_path)).retrieve("x")
    for bad in ({"k": 0}, {"top_n": True}, {"fusion": "best"}, {"fusion": 1.1}, {"deadline_s": 0}, {"deadline_s": "1"}):
        with pytest.raises(InvalidInputError):
            TwoStageRetriever(Fixed(), **bad)
    for query in (3, None):
        with pytest.raises(InvalidInputError):
            TwoStageRetriever(Fixed()).retrieve(query)
    with pytest.raises(InvalidInputError):
        TwoStageRetriever(Fixed()).retrieve_many("one string")


def test_late_reranker_is_not_waited_for_and_a_few_at_most_run_on():
    release, begun = threading.Event(), threading.Semaphore(0)

    def slow(query, text):
        begun.release()
        release.wait(60)
        return 1.0

    retriever = TwoStageRetriever(Fixed(), FakeCrossEncoder(slow), deadline_s=0.02)
    before = threading.active_count()
    for _ in range(8):
        found = retriever.retrieve("x")
        assert (ids(found), found.degraded) == ([f"p{place}" for place in range(5)], "the reranker was late")
    assert threading.active_count() - before == 4
    release.set()
    for thread in threading.enumerate():
        if thread.name == "semantic-ranker-rerank":
            thread.join(60)
    retriever = TwoStageRetriever(Fixed(), retriever.reranker, deadline_s=60)
    assert retriever.retrieve("x").degraded is None


def test_first_stage_that_takes_the_whole_time_leaves_none_for_the_reranker(monkeypatch):
    now = iter([0.0, 5.0, 5.0])
    monkeypatch.setattr("semantic_ranker.retrieval.time", SimpleNamespace(monotonic=lambda: next(now)))
    encoder = FakeCrossEncoder()
    found = TwoStageRetriever(Fixed(), encoder, deadline_s=1).retrieve("dogs")
    assert (found.degraded, encoder.calls) == ("the reranker was late", [])


def test_language_that_the_reranker_was_not_made_for_keeps_the_order():
    from semantic_ranker import CrossEncoder

    index = PassageIndex()
    texts = [
        "Los gatos duermen todo el día en la casa.",
        "Para cambiar una contraseña olvidada, abra la configuración de la cuenta.",
        "Los perros ladran por la noche cuando alguien pasa por la calle.",
    ]
    index.add([Passage(id=f"p{place}", text=text) for place, text in enumerate(texts)])
    found = TwoStageRetriever(index, CrossEncoder()).retrieve("¿cómo cambio la contraseña de mi cuenta si la olvidé?")
    assert "not made for this language (es)" in found.degraded
    assert ids(found) == [hit.passage.id for hit in found.candidates]


def test_both_stages_fail_and_words_still_answer():
    embedder = FakeEmbedder()
    index = PassageIndex(embedder)
    index.add([Passage(id=f"p{place}", text=text) for place, text in enumerate(TEXTS)])
    embedder.error = EmbeddingError("no model")
    found = TwoStageRetriever(index, failing(RuntimeError("x"))).retrieve("water boils")
    assert ids(found) == ["p3"]
    assert found.degraded == "by words alone: no model; the reranker failed: RuntimeError: x"


def test_pipeline_evaluator_measures_each_stage():
    from semantic_ranker import PipelineEvaluator
    from semantic_ranker.collections import Collection

    retriever = TwoStageRetriever(Fixed(), FakeCrossEncoder())
    corpus = {f"p{place}": text for place, text in enumerate(TEXTS)}
    collection = Collection(name="c", corpus=corpus, queries={"q": "water boils"}, qrels={"q": {"p3": 1}})
    report = PipelineEvaluator(lambda query: retriever.retrieve(query).to_pipeline_result()).evaluate(collection)
    assert (report["first_stage"].mean["RR@10"], report["final"].mean["RR@10"]) == (0.25, 1.0)
    assert {"first_stage", "rerank", "total"} <= set(report.latency_ms)


def test_feedback_log_keeps_what_was_found(tmp_path):
    from semantic_ranker.documents import Redactor
    from semantic_ranker.feedback import FeedbackLog

    found = TwoStageRetriever(Fixed(), failing(RuntimeError("x"))).retrieve("dogs", top_n=2)
    log = FeedbackLog(tmp_path / "log.jsonl", redact=Redactor())
    log.append(found.to_interaction("They bark, says ana@example.org.", intent="pets"))
    kept = next(iter(log))
    assert [(item.id, item.score) for item in kept.retrieved] == [("p0", 1.0), ("p1", 0.9)]
    assert (kept.query, kept.answer, kept.intent, kept.degraded) == ("dogs", "They bark, says [EMAIL].", "pets", True)
    assert kept.total_ms == pytest.approx(found.latency_ms["total"], abs=0.01)
