"""Takes personal data out of texts, counts what it took out, and keeps the originals apart where that is wanted."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker.documents.identifiers import FINDERS, Span
from semantic_ranker.errors import InvalidInputError, StorageError

KINDS = tuple(FINDERS)
"""Kinds that are found without another package."""

FindNames = Callable[[str], Iterable[Span]]
"""Text to the places of names in it."""

_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something personal was; never what.

    Attributes:
        kind: One of `KINDS`, or ``name``.
        start: Its first character in the text that was given.
        end: The character after its last.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Redaction:
    """A text without personal data.

    Attributes:
        text: The text, with ``[EMAIL]`` or ``[EMAIL_1]`` for each.
        findings: What was where, in order.
    """

    text: str = field(repr=False)
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))


class Redactor:
    """Takes personal data out of texts; a function of a string, safe to call from several threads.

    Args:
        kinds: Which of `KINDS`; all by default.
        names: Finds names of people, such as `presidio_names`; none by default.
        reversible: Whether each value gets its own mark, ``[EMAIL_1]``, and `save_map` can write what it stands for.

    Raises:
        InvalidInputError: A kind that is none.
    """

    def __init__(
        self, kinds: Sequence[str] = KINDS, *, names: FindNames | None = None, reversible: bool = False
    ) -> None:
        if isinstance(kinds, str) or (unknown := sorted(set(kinds) - set(KINDS))):
            given = repr(kinds) if isinstance(kinds, str) else ", ".join(map(repr, unknown))
            raise InvalidInputError(f"Expected a list of kinds of {', '.join(KINDS)}, got {given}.")
        self._kinds = tuple(kind for kind in KINDS if kind in kinds)
        self._names = names
        self._reversible = reversible
        self._marks: dict[tuple[str, str], str] = {}
        self._per_kind: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> str:
        """Return a text without personal data."""
        return self.redact(text).text

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind were taken out of all texts so far."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def redact(self, text: str) -> Redaction:
        """Return a text without personal data, and where it was.

        Raises:
            InvalidInputError: It is no string, or the finder of names gave places outside of it.
        """
        if not isinstance(text, str):
            raise InvalidInputError(f"Expected a text to redact, got {type(text).__name__}.")
        findings = self._find(text)
        parts: list[str] = []
        place = 0
        for finding in findings:
            parts += text[place : finding.start], self._mark(finding.kind, text[finding.start : finding.end])
            place = finding.end
        with self._lock:
            self._counts.update(finding.kind for finding in findings)
        return Redaction("".join((*parts, text[place:])), tuple(findings))

    def save_map(self, path: StrPath) -> None:
        """Write what each mark stands for, to a file that only its owner may read. Keep it apart from the documents.

        Raises:
            InvalidInputError: The redactor is not reversible.
            StorageError: The file cannot be written.
        """
        if not self._reversible:
            raise InvalidInputError("Expected Redactor(reversible=True): nothing is kept of what was taken out.")
        with self._lock:
            originals = {mark: value for (_, value), mark in self._marks.items()}
        target = Path(os.path.realpath(path))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # The file has its mode before it has its content.
            with suppress(FileExistsError):
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
            os.chmod(target, _PRIVATE)
        except OSError as error:
            raise StorageError(f"Cannot write {os.fspath(path)!r}: {error.strerror}.") from error
        content = {"schema_version": 1, "kind": "redaction-map", "originals": originals}
        write_atomically(target, json.dumps(content, ensure_ascii=True, indent=2) + "\n")

    def _find(self, text: str) -> list[Finding]:
        found: list[Finding] = []
        for kind in self._kinds:
            _add(found, kind, FINDERS[kind](text))
        if self._names is not None and text.strip():
            spans = list(self._names(text))
            if not all(0 <= start < end <= len(text) for start, end in spans):
                raise InvalidInputError("Expected places inside the text from the finder of names, got others.")
            _add(found, "name", spans)
        return found

    def _mark(self, kind: str, value: str) -> str:
        if not self._reversible:
            return f"[{kind.upper()}]"
        with self._lock:
            if (kind, value) not in self._marks:
                self._per_kind[kind] += 1
                self._marks[kind, value] = f"[{kind.upper()}_{self._per_kind[kind]}]"
            return self._marks[kind, value]


def restore(text: str, path: StrPath) -> str:
    """Return a text with the originals of its marks, as `Redactor.save_map` wrote them.

    Raises:
        StorageError: The file cannot be read.
        InvalidInputError: It is no such file, or other users may read it.
    """
    import re

    target = Path(path)
    try:
        if os.name == "posix" and stat.S_IMODE(target.stat().st_mode) & 0o077:
            raise InvalidInputError(f"Expected {os.fspath(path)!r} to be its owner's alone; run chmod 600 on it.")
        content: Any = json.loads(target.read_bytes())
    except OSError as error:
        raise StorageError(f"Cannot read {os.fspath(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"Expected a map of redactions in {os.fspath(path)!r}, got broken JSON.") from error
    originals = content.get("originals") if isinstance(content, dict) else None
    if not isinstance(originals, dict) or content.get("kind") != "redaction-map":
        raise InvalidInputError(f"Expected a map of redactions in {os.fspath(path)!r}, got something else.")
    return re.sub(r"\[[A-Z_]{1,20}_\d{1,9}\]", lambda found: str(originals.get(found.group(), found.group())), text)


def presidio_names(language: str = "en", *, min_score: float = 0.5, model: str | None = None) -> FindNames:
    """Return a finder of people's names through Microsoft Presidio, which brings a language model of its own.

    Args:
        language: ``en`` or ``es``; Presidio needs spaCy's model of it.
        min_score: Least confidence, from 0 to 1.
        model: spaCy's model; None is ``en_core_web_lg`` or ``es_core_news_md``.

    Raises:
        ModuleNotFoundError: Presidio is not installed.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "'presidio_analyzer' is not installed; run: pip install presidio-analyzer, and download spaCy's model of "
            "the language",
            name=error.name,
        ) from error
    model = model or {"en": "en_core_web_lg", "es": "es_core_news_md"}.get(language, language)
    provider = NlpEngineProvider(
        nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": language, "model_name": model}]}
    )
    engine = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=[language])

    def find(text: str) -> list[Span]:
        found = engine.analyze(text, language=language, entities=["PERSON"], score_threshold=min_score)
        return [(item.start, item.end) for item in found]

    return find


def _add(found: list[Finding], kind: str, spans: Iterable[Span]) -> None:
    """Add what does not overlap with what was found before; keeps the list in order."""
    taken = [(item.start, item.end) for item in found]
    new: list[Finding] = []
    last, place = 0, 0
    for start, end in sorted(spans):
        while place < len(taken) and taken[place][1] <= start:
            place += 1
        if start >= last and (place == len(taken) or end <= taken[place][0]):
            new.append(Finding(kind, start, end))
            last = end
    found += new
    found.sort(key=lambda item: item.start)
