"""Any LlamaIndex LLM as the language model of an `Assistant`."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM

from semantic_ranker.assistant import Message
from semantic_ranker.errors import LLMError


class LlamaIndexLLM:
    """Asks a LlamaIndex LLM; messages go in as they are, through no template.

    Args:
        llm: The model.

    Example:
        >>> from llama_index.core.llms import MockLLM
        >>> LlamaIndexLLM(MockLLM()).complete([Message("user", "May I?")]).split()
        ['user:', 'May', 'I?', 'assistant:']
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    @property
    def name(self) -> str:
        """The model's own name, else its class."""
        named = self._llm.metadata.model_name
        return named if isinstance(named, str) and named not in ("", "unknown") else type(self._llm).__name__

    def complete(self, messages: Sequence[Message]) -> str:
        """Return the model's answer.

        Raises:
            LLMError: The model failed, or said nothing.
        """
        given = [ChatMessage(role=MessageRole(message.role), content=message.content) for message in messages]
        try:
            text = (self._llm.chat(given).message.content or "").strip()
        except Exception as error:
            raise LLMError(f"The language model failed with {type(error).__name__}: {error}") from error
        if not text:
            raise LLMError("Expected an answer from the language model, got an empty one.")
        return text
