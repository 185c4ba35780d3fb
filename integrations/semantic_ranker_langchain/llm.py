"""Any LangChain chat model as the language model of an `Assistant`."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable

from semantic_ranker.assistant import Message
from semantic_ranker.errors import LLMError

_CLASSES = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


class LangChainLLM:
    """Asks a LangChain chat model, or a Runnable around one; messages go in as they are, through no template.

    Args:
        model: The chat model.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> LangChainLLM(FakeListChatModel(responses=["Yes [1]."])).complete([Message("user", "May I?")])
        'Yes [1].'
    """

    def __init__(self, model: Runnable[LanguageModelInput, AIMessage | BaseMessage]) -> None:
        self._model = model

    @property
    def name(self) -> str:
        """The model's own name, else its class."""
        named = getattr(self._model, "model_name", None) or getattr(self._model, "model", None)
        return named if isinstance(named, str) else type(self._model).__name__

    def complete(self, messages: Sequence[Message]) -> str:
        """Return the model's answer.

        Raises:
            LLMError: The model failed, or said nothing.
        """
        given: LanguageModelInput = [_CLASSES[message.role](content=message.content) for message in messages]
        try:
            text = str(self._model.invoke(given).text).strip()
        except Exception as error:
            raise LLMError(f"The language model failed with {type(error).__name__}: {error}") from error
        if not text:
            raise LLMError("Expected an answer from the language model, got an empty one.")
        return text
