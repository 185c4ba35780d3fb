"""Language models of both frameworks behind the assistant."""

import pytest
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback

from semantic_ranker.assistant import Assistant
from semantic_ranker.errors import LLMError
from semantic_ranker.feedback import FeedbackLog
from semantic_ranker.pipeline import RAGPipeline
from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder
from semantic_ranker_langchain import LangChainLLM
from semantic_ranker_llama_index import LlamaIndexLLM

TEXT = "Say {question} and {{nothing}} to {0!r}. To change a forgotten password, open Settings."


@pytest.fixture
def pipeline():
    pipeline = RAGPipeline(FakeEmbedder(), FakeCrossEncoder())
    pipeline.index_documents([TEXT, "Cats sleep."])
    return pipeline


def test_langchain_chat_model_sees_roles_and_no_template(pipeline, tmp_path):
    seen = []

    def remember(messages):
        seen.extend(messages)
        return messages

    log = FeedbackLog(tmp_path / "log.jsonl")
    model = RunnableLambda(remember) | FakeListChatModel(responses=[" Open Settings [1]. "])
    answer = Assistant(pipeline, LangChainLLM(model), log=log).reply("forgotten {password}?")
    assert answer.text == "Open Settings [1]."
    assert [message.type for message in seen] == ["system", "human"]
    assert TEXT in seen[1].content
    assert seen[1].content.endswith("forgotten {password}?")
    assert next(iter(log)).answer == answer.text


def test_llama_index_llm_sees_roles_and_no_template(pipeline):
    answer = Assistant(pipeline, LlamaIndexLLM(MockLLM())).reply("forgotten {password}?")
    assert answer.text.startswith("system: You answer questions")
    assert TEXT in answer.text
    assert "forgotten {password}?" in answer.text


def test_models_that_fail_are_one_kind_of_error(pipeline):
    class Broken(MockLLM):
        @llm_chat_callback()
        def chat(self, messages, **kwargs):
            raise ConnectionError("no model here")

    for llm in (
        LlamaIndexLLM(Broken()),
        LangChainLLM(GenericFakeChatModel(messages=iter(()))),
        LangChainLLM(GenericFakeChatModel(messages=iter([AIMessage("  ")]))),
    ):
        with pytest.raises(LLMError):
            Assistant(pipeline, llm).reply("forgotten password")


def test_names():
    assert LangChainLLM(FakeListChatModel(responses=[])).name == "FakeListChatModel"
    assert LlamaIndexLLM(MockLLM()).name == "MockLLM"
