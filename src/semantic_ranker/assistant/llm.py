"""What an assistant asks of a language model, and one that says what a test wrote down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from semantic_ranker.errors import InvalidInputError, LLMError


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation.

    Attributes:
        role: Who says it.
        content: Its text; nothing in it is a template.
    """

    role: Literal["system", "user", "assistant"]
    content: str


class LLM(Protocol):
    """A language model; `OpenAICompatibleLLM` is one, the adapters of LangChain and LlamaIndex make others."""

    @property
    def name(self) -> str:
        """What the log calls it."""

    def complete(self, messages: Sequence[Message]) -> str:
        """Return the model's answer.

        Raises:
            LLMError: There is none.
        """


class ScriptedLLM:
    """Says what it was given, for tests and for trying an assistant without a model.

    Args:
        replies: Answers in order, or a function from messages to the answer.

    Attributes:
        calls: The messages of each call so far.

    Example:
        >>> ScriptedLLM(["Yes [1]."]).complete([Message("user", "May I?")])
        'Yes [1].'
    """

    name = "scripted"

    def __init__(self, replies: Iterable[str] | Callable[[Sequence[Message]], str]) -> None:
        if isinstance(replies, str):
            raise InvalidInputError("Expected a list of replies or a function, got a str: put it in a list.")
        self._function = replies if callable(replies) else None
        self._replies = iter(()) if callable(replies) else iter(replies)
        self.calls: list[tuple[Message, ...]] = []

    def complete(self, messages: Sequence[Message]) -> str:
        """Return the next reply.

        Raises:
            LLMError: There is no further one.
        """
        self.calls.append(tuple(messages))
        if self._function is not None:
            return self._function(messages)
        if (reply := next(self._replies, None)) is None:
            raise LLMError(f"Expected a reply for call {len(self.calls)}, got none: the script is at its end.")
        return reply
