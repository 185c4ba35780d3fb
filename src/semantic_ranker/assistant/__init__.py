"""An assistant over an index: passages and a message to a language model, an answer with its sources to the log."""

from semantic_ranker.assistant.endpoint import OpenAICompatibleLLM
from semantic_ranker.assistant.intents import Intent, IntentMatch, IntentMatcher, read_intents
from semantic_ranker.assistant.llm import LLM, Message, ScriptedLLM
from semantic_ranker.assistant.parameters import Parameter
from semantic_ranker.assistant.prompt import DEFAULT_SYSTEM_PROMPT, build_messages
from semantic_ranker.assistant.runtime import Answer, Assistant

__all__ = [
    "DEFAULT_SYSTEM_PROMPT",
    "LLM",
    "Answer",
    "Assistant",
    "Intent",
    "IntentMatch",
    "IntentMatcher",
    "Message",
    "OpenAICompatibleLLM",
    "Parameter",
    "ScriptedLLM",
    "build_messages",
    "read_intents",
]
