"""`Assistant`: a message in, an answer with its sources out, and a line in the log whatever happens."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from semantic_ranker.assistant.prompt import DEFAULT_SYSTEM_PROMPT, build_messages
from semantic_ranker.context import Context, build_context
from semantic_ranker.errors import InvalidInputError, SemanticRankerError

if TYPE_CHECKING:
    from semantic_ranker.assistant.intents import IntentMatch, IntentMatcher
    from semantic_ranker.assistant.llm import LLM
    from semantic_ranker.evaluation.citations import CitationFigures
    from semantic_ranker.feedback import FeedbackLog
    from semantic_ranker.indexes.filters import Where
    from semantic_ranker.pipeline import RAGPipeline
    from semantic_ranker.retrieval import RankedPassage, Retrieval

logger = logging.getLogger(__name__)
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an assistant said.

    Attributes:
        text: For the user.
        passages: What the model was shown; ``[2]`` in the text is the second.
        by: Who said it: ``model``, ``intent`` (a fixed reply, or a question for what is missing), or ``nothing_found``.
        intent: What the user wanted; None without intents.
        citations: Whether the text's citations exist and are supported; None where no model spoke.
        degraded: Why the passages are second best, or None.
        latency_ms: Milliseconds by stage.
        interaction_id: In the feedback log; None where nothing was logged.
    """

    text: str
    passages: tuple[RankedPassage, ...] = ()
    by: str = "model"
    intent: IntentMatch | None = None
    citations: CitationFigures | None = None
    degraded: str | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    interaction_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "answer": self.text,
            "by": self.by,
            "intent": self.intent.to_dict() if self.intent else None,
            "passages": [
                {"number": number, "score": item.score, **item.passage.to_dict()}
                for number, item in enumerate(self.passages, start=1)
            ],
            "citations": self.citations.to_dict() if self.citations else None,
            "degraded": self.degraded,
            "latency_ms": {name: round(value, 3) for name, value in self.latency_ms.items()},
            "interaction_id": self.interaction_id,
        }


class Assistant:
    """Answers from the documents of an index.

    Args:
        pipeline: Finds passages.
        llm: Writes the answer.
        system_prompt: Who the assistant is; taken as it is written, braces too.
        intents: Says what the user wants; None does not ask.
        log: Keeps every interaction; personal data is the log's to redact.
        top_k: Passages that the model is shown at most; None is the pipeline's number.
        max_tokens: Most tokens of the passages.
        no_answer: What is said where nothing was found; the model is not asked then.

    Raises:
        InvalidInputError: The system prompt is empty.

    Example:
        >>> from semantic_ranker.assistant import Assistant, ScriptedLLM
        >>> from semantic_ranker.pipeline import RAGPipeline
        >>> pipeline = RAGPipeline()
        >>> pipeline.index_documents(["Cats sleep all day.", "To change a forgotten password, open Settings."])
        2
        >>> Assistant(pipeline, ScriptedLLM(["Open Settings [1]."])).reply("how do I reset my password").text
        'Open Settings [1].'
    """

    def __init__(
        self,
        pipeline: RAGPipeline,
        llm: LLM,
        *,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        intents: IntentMatcher | None = None,
        log: FeedbackLog | None = None,
        top_k: int | None = None,
        max_tokens: int | None = 2000,
        no_answer: str = "The documents say nothing about this.",
    ) -> None:
        if not isinstance(system_prompt, str) or not system_prompt.strip():
            raise InvalidInputError("Expected a system_prompt with words, got an empty one.")
        self._pipeline, self._llm, self._system_prompt = pipeline, llm, system_prompt
        self._intents, self._log = intents, log
        self._top_k, self._max_tokens, self._no_answer = top_k, max_tokens, no_answer

    def reply(self, message: str, *, where: Where | None = None) -> Answer:
        """Answer a message, and log what happened, whatever happens.

        Args:
            message: Of the user.
            where: Which passages count; an intent's own filter is used where this is None.

        Raises:
            InvalidInputError: The message is empty or far too long.
            LLMError: The model gave no answer; the interaction is logged without one.
        """
        if not isinstance(message, str) or not message.strip() or len(message) > _MOST_CHARACTERS:
            raise InvalidInputError(f"Expected a message of 1 to {_MOST_CHARACTERS} characters, got another.")
        start = time.monotonic()
        match = self._intents.match(message) if self._intents is not None else None
        intent_ms = 1000 * (time.monotonic() - start)
        if match is not None and (said := match.reply) is not None:
            answer = Answer(text=said, by="intent", intent=match, latency_ms={"intent": intent_ms, "total": intent_ms})
            return self._logged(message, answer)
        found = self._pipeline.retrieve(message, self._top_k, where=where or (match.where if match else None))
        context = build_context(found, max_tokens=self._max_tokens)
        times = {**found.latency_ms, **({"intent": intent_ms} if match else {})}
        begun = time.monotonic()
        try:
            text, by = self._written(context, message)
        except Exception:
            times["total"] = 1000 * (time.monotonic() - start)
            failed = Answer(text="", intent=match, degraded="the language model failed", latency_ms=times)
            self._logged(message, failed, found)
            raise
        ended = time.monotonic()
        times = {**times, "llm": 1000 * (ended - begun), "total": 1000 * (ended - start)}
        answer = Answer(
            text=text, passages=context.passages, by=by, intent=match, degraded=found.degraded, latency_ms=times
        )
        return self._logged(message, self._checked(answer, context), found)

    def _written(self, context: Context, message: str) -> tuple[str, str]:
        if not context.passages:
            return self._no_answer, "nothing_found"
        return self._llm.complete(build_messages(self._system_prompt, context, message)), "model"

    @staticmethod
    def _checked(answer: Answer, context: Context) -> Answer:
        if answer.by != "model":
            return answer
        from semantic_ranker.evaluation import check_citations

        return replace(answer, citations=check_citations(answer.text, list(context.texts)))

    def _logged(self, message: str, answer: Answer, found: Retrieval | None = None) -> Answer:
        if self._log is None:
            return answer
        from semantic_ranker.feedback import Interaction, Retrieved

        reranker = self._pipeline.retriever.reranker
        shown = answer.passages or (tuple(found) if found is not None else ())
        kept = {name: answer.latency_ms[name] for name in _STAGES if name in answer.latency_ms}
        interaction = Interaction(
            query=message,
            retrieved=tuple(Retrieved(id=item.id, score=item.score) for item in shown),
            answer=answer.text,
            intent=answer.intent.name if answer.intent else None,
            latency_ms=kept,
            degraded=answer.degraded is not None,
            model=" + ".join(name for name in (reranker.model_name if reranker else "", self._llm.name) if name),
        )
        try:
            return replace(answer, interaction_id=self._log.append(interaction).id)
        except SemanticRankerError as error:  # the user gets the answer all the same
            logger.error("the interaction was not logged: %s", error)
            return answer


_STAGES = ("intent", "first_stage", "rerank", "llm", "total")
