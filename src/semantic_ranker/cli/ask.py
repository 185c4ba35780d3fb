"""``semantic-ranker ask``: an answer from an index, by a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, write

if TYPE_CHECKING:
    from semantic_ranker.assistant import Answer, Assistant
    from semantic_ranker.feedback import FeedbackLog

_LOG = "feedback.jsonl"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    ask = commands.add_parser(
        "ask",
        help="answer a question from an index with a language model",
        description="OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY, in the environment or in .env, name the model.",
    )
    ask.add_argument("index", metavar="INDEX", help="folder that `index` made")
    ask.add_argument("question")
    ask.add_argument("--system", metavar="FILE", help="text that says who the assistant is")
    ask.add_argument("--intents", metavar="FILE", help="intents.json: what users want, with examples")
    ask.add_argument("--env", metavar="FILE", help="settings of the model (default: .env, if there is one)")
    ask.add_argument("--log", metavar="FILE", help=f"feedback log (default: {_LOG} in the index)")
    ask.add_argument("--no-log", action="store_true", help="keep nothing")
    ask.add_argument("--no-redact", action="store_true", help="keep personal data in the log")
    ask.add_argument("--top-k", type=count, metavar="N", help="passages that the model is shown (default: 5)")
    ask.add_argument("--max-tokens", type=count, default=2000, metavar="N", help="of the passages (default: 2000)")
    ask.add_argument("--timeout", type=float, default=60.0, metavar="S", help="for the model (default: 60)")
    ask.add_argument("--json", action="store_true", help="print JSON")
    ask.set_defaults(run=_ask)


def _ask(options: argparse.Namespace) -> int:
    answer = _assistant(options).reply(options.question)
    if options.json:
        print(json.dumps(answer.to_dict(), indent=2))
    else:
        _print_answer(answer)
    return 0


def _assistant(options: argparse.Namespace) -> Assistant:
    from semantic_ranker.assistant import DEFAULT_SYSTEM_PROMPT, Assistant, IntentMatcher, OpenAICompatibleLLM
    from semantic_ranker.pipeline import RAGPipeline

    llm = OpenAICompatibleLLM.from_env(options.env, timeout_s=options.timeout)
    system_prompt = _text_of(options.system) if options.system else DEFAULT_SYSTEM_PROMPT
    pipeline = RAGPipeline.load(options.index, read_only=True)
    intents = IntentMatcher.from_file(options.intents, pipeline.index.embedder) if options.intents else None
    return Assistant(
        pipeline,
        llm,
        system_prompt=system_prompt,
        intents=intents,
        log=_log(options),
        top_k=options.top_k,
        max_tokens=options.max_tokens,
    )


def _log(options: argparse.Namespace) -> FeedbackLog | None:
    from semantic_ranker.documents import Redactor
    from semantic_ranker.feedback import FeedbackLog

    if options.no_log:
        return None
    path = Path(options.log) if options.log else Path(options.index) / _LOG
    return FeedbackLog(path, redact=None if options.no_redact else Redactor())


def _text_of(path: str) -> str:
    from semantic_ranker.errors import InvalidInputError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInputError(f"Cannot read the system prompt from {path!r}: {reason}.") from error


def _print_answer(answer: Answer) -> None:
    if answer.degraded:
        print(f"semantic-ranker: second best: {answer.degraded}", file=sys.stderr)
    for line in _steady(answer.text).split("\n"):
        write(line)
    if answer.passages:
        write("")
    for number, item in enumerate(answer.passages, start=1):
        write(f"[{number}] {_steady(item.passage.citation)}")
    if answer.citations and (made_up := [of.label for of in answer.citations.citations if not of.exists]):
        print(f"semantic-ranker: the answer cites passages that are not there: {', '.join(made_up)}", file=sys.stderr)
    if answer.interaction_id:
        print(f"semantic-ranker: logged as {answer.interaction_id}", file=sys.stderr)


def _steady(text: str) -> str:
    """Return a text that cannot steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
