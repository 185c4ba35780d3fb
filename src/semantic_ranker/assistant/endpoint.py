"""A language model behind an OpenAI-compatible endpoint, over plain HTTP; set up by the environment or a ``.env``."""

from __future__ import annotations

import email.message
import http.client
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from semantic_ranker._extras import requires_extra
from semantic_ranker.assistant.llm import Message
from semantic_ranker.errors import InvalidInputError, LLMError

_MOST_BYTES = 4_000_000
_LONGEST_WAIT_S = 20.0
_AGAIN = (408, 429, 500, 502, 503, 504)
_URL, _MODEL, _KEY = "OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY"


class OpenAICompatibleLLM:
    """Asks ``POST BASE_URL/chat/completions``, which OpenAI, vLLM, llama.cpp, Ollama and many others speak.

    Args:
        base_url: Such as ``http://127.0.0.1:11434/v1``.
        model: As the server calls it.
        api_key: Sent to this server only, redirects are refused; None sends none.
        temperature: 0 repeats itself best.
        max_tokens: Of an answer; None is the server's choice.
        timeout_s: Seconds for one answer.
        retries: How often to ask again when the server is busy or not reached.

    Raises:
        InvalidInputError: A value is not one of these.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        temperature: float | None = 0.0,
        max_tokens: int | None = None,
        timeout_s: float = 60.0,
        retries: int = 2,
    ) -> None:
        parts = urllib.parse.urlsplit(base_url) if isinstance(base_url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise InvalidInputError("Expected base_url such as http://127.0.0.1:11434/v1, got another kind of address.")
        if not isinstance(model, str) or not model.strip():
            raise InvalidInputError(f"Expected the name of a model, got {model!r}.")
        if not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < math.inf or retries < 0:
            raise InvalidInputError(f"Expected timeout_s above 0 and retries of 0 or more, got {timeout_s}, {retries}.")
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model, self._key = model, api_key
        given = {"temperature": temperature, "max_tokens": max_tokens}
        self._options = {name: value for name, value in given.items() if value is not None}
        self._timeout_s, self._retries = timeout_s, retries

    @classmethod
    def from_env(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> Self:
        """Read ``OPENAI_BASE_URL``, ``OPENAI_MODEL`` and, if there is one, ``OPENAI_API_KEY``.

        Args:
            path: A ``.env`` file; what the environment says counts more. None reads ``.env`` here if there is one.
            **options: As in the class.

        Raises:
            InvalidInputError: Address or model is not set, or there is no such file.
            ModuleNotFoundError: There is a file, and the extra ``assistant`` is not installed.
        """
        values = _values(path)
        missing = [name for name in (_URL, _MODEL) if not values.get(name)]
        if missing:
            raise InvalidInputError(
                f"Expected {' and '.join(missing)} in the environment or in .env, got none: set {_URL} (such as "
                f"http://127.0.0.1:11434/v1), {_MODEL} and, if the server wants one, {_KEY}."
            )
        return cls(values[_URL], values[_MODEL], api_key=values.get(_KEY) or None, **options)

    @property
    def name(self) -> str:
        """The model, as the server calls it."""
        return self._model

    def complete(self, messages: Sequence[Message]) -> str:
        """Return the answer.

        Raises:
            LLMError: The server refuses, is not reached, is late, or says something else.
        """
        content = [{"role": message.role, "content": message.content} for message in messages]
        body = json.dumps({"model": self._model, "messages": content, **self._options}).encode("ascii")
        for attempt in range(self._retries + 1):
            try:
                return _answer_of(self._asked(body))
            except _BusyError as error:
                if attempt == self._retries:
                    raise LLMError(str(error)) from error
                time.sleep(min(_LONGEST_WAIT_S, error.wait_s or 0.5 * 2**attempt))
        raise AssertionError("unreachable")

    def _asked(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with _OPENER.open(request, timeout=self._timeout_s) as response:
                data: bytes = response.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            kind = f"{type(error).__name__}: {reason}" if not isinstance(error, TimeoutError) else "it is late"
            raise _BusyError(f"Cannot reach the language model at {self._where()} ({kind}).") from error
        if len(data) > _MOST_BYTES:
            raise LLMError(f"Expected an answer of {_MOST_BYTES} bytes at most from {self._where()}, got more.")
        return data

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        said = _message_of(error.read(20_000))
        text = f"The language model at {self._where()} refused with {error.code}{f': {said}' if said else ''}."
        if error.code in _AGAIN:
            return _BusyError(text, _seconds(error.headers.get("retry-after")))
        return LLMError(text)

    def _where(self) -> str:
        parts = urllib.parse.urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    def __repr__(self) -> str:
        return f"OpenAICompatibleLLM({self._where()!r}, {self._model!r})"


class _BusyError(Exception):
    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry key and documents to another place."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: email.message.Message,
        newurl: str,
    ) -> None:
        """Return None: the answer with the redirect is an error."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _values(path: str | os.PathLike[str] | None) -> Mapping[str, str]:
    file = Path(".env" if path is None else path)
    if path is not None and not file.is_file():
        raise InvalidInputError(f"Expected a file with settings, got {str(file)!r}, which is none.")
    kept: dict[str, str] = {}
    if file.is_file():
        with requires_extra("assistant"):
            from dotenv import dotenv_values
        kept = {name: value for name, value in dotenv_values(file).items() if value}
    return {**kept, **{name: os.environ[name] for name in (_URL, _MODEL, _KEY) if os.environ.get(name)}}


def _answer_of(data: bytes) -> str:
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise LLMError("Expected choices[0].message.content from the language model, got something else.") from error
    if not isinstance(content, str) or not content.strip():
        raise LLMError("Expected an answer from the language model, got an empty one.")
    return content.strip()


def _message_of(data: bytes) -> str:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    error = found.get("error", found) if isinstance(found, dict) else None
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return " ".join(str(message).split())[:300] if message else ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.strip().isdecimal() else None
