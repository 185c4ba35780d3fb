"""The assistant end to end: passages, model, checks, and the log."""

import pytest

from semantic_ranker.assistant import Assistant, Intent, IntentMatcher, ScriptedLLM
from semantic_ranker.documents import Redactor
from semantic_ranker.errors import InvalidInputError, LLMError
from semantic_ranker.feedback import FeedbackLog, measure
from semantic_ranker.indexes import Passage
from semantic_ranker.pipeline import RAGPipeline
from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder

PASSAGES = [
    Passage(id="cats", text="Cats sleep all day.", source="cats.md"),
    Passage(id="password", text="To change a forgotten password, open Settings.", source="it.md"),
]


@pytest.fixture
def pipeline():
    pipeline = RAGPipeline(FakeEmbedder(), FakeCrossEncoder())
    pipeline.index_documents(PASSAGES)
    return pipeline


@pytest.fixture
def log(tmp_path):
    return FeedbackLog(tmp_path / "feedback.jsonl", redact=Redactor())


def test_answer_is_checked_and_logged(pipeline, log):
    llm = ScriptedLLM(["Open Settings to change a forgotten password [1]. Then call Bob [7]."])
    answer = Assistant(pipeline, llm, log=log).reply("forgotten password? I am ana@example.org")
    assert answer.by == "model"
    assert answer.passages[0].id == "password"
    assert [(of.label, of.exists, of.supported) for of in answer.citations.citations] == [
        ("1", True, True),
        ("7", False, False),
    ]
    kept = next(iter(log))
    assert (kept.id, kept.query) == (answer.interaction_id, "forgotten password? I am [EMAIL]")
    assert [item.id for item in kept.retrieved] == [item.id for item in answer.passages]
    assert (kept.answer, kept.degraded, kept.model) == (answer.text, False, "fake + scripted")
    assert list(kept.latency_ms) == ["first_stage", "rerank", "llm", "total"]
    assert measure(log).latency["llm"].count == 1
    assert "ana@example.org" in llm.calls[0][1].content  # the model sees what was asked


def test_nothing_found_is_said_without_a_model(pipeline, log):
    llm = ScriptedLLM([])
    answer = Assistant(pipeline, llm, log=log).reply("password", where={"source": "none.md"})
    assert (answer.by, answer.text, answer.passages) == (
        "nothing_found",
        "The documents say nothing about this.",
        (),
    )
    assert llm.calls == []
    assert next(iter(log)).retrieved == ()


def test_intents_narrow_reply_and_are_logged(pipeline, log):
    intents = [
        Intent(name="it", examples=("forgotten password",), where={"source": "it.md"}),
        Intent(name="hello", examples=("hello",), reply="Hello {you}!"),
    ]
    llm = ScriptedLLM(["A [1].", "B [1]."])
    assistant = Assistant(pipeline, llm, intents=IntentMatcher(intents, FakeEmbedder(), threshold=0.6), log=log)
    assert [item.id for item in assistant.reply("forgotten password").passages] == ["password"]
    assert assistant.reply("hello").text == "Hello {you}!"
    assert len(assistant.reply("cats all day").passages) == 2
    assert [(item.intent, bool(item.retrieved)) for item in log] == [("it", True), ("hello", False), (None, True)]
    assert list(measure(log).by_intent) == ["(none)", "hello", "it"]


def test_model_that_fails_leaves_a_line(pipeline, log):
    with pytest.raises(LLMError, match="end"):
        Assistant(pipeline, ScriptedLLM([]), log=log).reply("forgotten password")
    kept = next(iter(log))
    assert (kept.answer, kept.degraded, kept.retrieved[0].id) == ("", True, "password")


def test_log_that_fails_does_not_take_the_answer(pipeline, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    for log in (FeedbackLog(tmp_path / "file" / "log.jsonl"), FeedbackLog(tmp_path / "log.jsonl", redact=lambda _: 3)):
        answer = Assistant(pipeline, ScriptedLLM(["Yes."]), log=log).reply("forgotten password")
        assert (answer.text, answer.interaction_id) == ("Yes.", None)
    assert caplog.text.count("was not logged") == 2


def test_second_best_passages_are_said(pipeline, log):
    pipeline.retriever.reranker = FakeCrossEncoder(lambda *_: float("nan"))
    answer = Assistant(pipeline, ScriptedLLM(["Yes."]), log=log).reply("forgotten password")
    assert "NonFiniteScoreError" in answer.degraded
    assert next(iter(log)).degraded
    assert answer.to_dict()["degraded"] == answer.degraded


def test_wrong_use_is_refused(pipeline):
    with pytest.raises(InvalidInputError, match="system_prompt"):
        Assistant(pipeline, ScriptedLLM([]), system_prompt=" ")
    for message in ("", "  ", None, "x" * 20_001):
        with pytest.raises(InvalidInputError, match="message"):
            Assistant(pipeline, ScriptedLLM([])).reply(message)
    with pytest.raises(InvalidInputError, match="list"):
        ScriptedLLM("yes")
