"""Reads the judged questions on the 18F handbook, and says which passages of it answer them.

Sections are named by places in the text that the package's reader makes of a file, so passages of any length map to
them. The handbook is no part of this repository; questions/handbook.json says what it is. Never train on the questions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ranker.documents import Chunk, Document
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.indexes import Passage

FILE = Path(__file__).parent / "questions" / "handbook.json"


@dataclass(frozen=True, slots=True)
class Judgment:
    """A section, or the part of a long one, that answers a question: fully (grade 2) or in part (1)."""

    source: str
    title_path: tuple[str, ...]
    start: int
    end: int
    grade: int


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    kind: str
    text: str
    judgments: tuple[Judgment, ...]


def load(documents: Sequence[Document], path: Path = FILE) -> tuple[Question, ...]:
    """Return the questions; raise InvalidInputError unless these documents were judged, read as they were read then."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for kind, remedy in (("documents", "get those files"), ("texts", "the reader has changed, find the places anew")):
        expected, found = content[f"{kind}_sha256"], fingerprint(documents, kind)
        if found != expected:
            raise InvalidInputError(
                f"Expected the {kind} that were judged ({expected[:12]}), got {found[:12]} of {len(documents)} "
                f"documents. The places of the judged sections do not hold for these: {remedy}."
            )
    return tuple(_question(item) for item in content["questions"])


def fingerprint(documents: Iterable[Document], kind: str) -> str:
    """Return a hash of the sorted paths, each with the hash of the file (``documents``) or of its text (``texts``)."""
    whole = hashlib.sha256()
    for item in sorted(documents, key=lambda item: item.source):
        own = item.sha256 if kind == "documents" else hashlib.sha256(item.text.encode()).hexdigest()
        whole.update(f"{item.source}\0{own}\n".encode())
    return whole.hexdigest()


def qrels(questions: Sequence[Question], chunks: Iterable[Chunk | Passage]) -> dict[str, dict[str, int]]:
    """Return the best grade of each passage that shares half of itself, or half of a judged section, with it."""
    passages: dict[str, list[Any]] = {}
    for chunk in chunks:
        passages.setdefault(chunk.source, []).append(chunk)
    grades: dict[str, dict[str, int]] = {question.id: {} for question in questions}
    for question, found in zip(questions, grades.values(), strict=True):
        for judged in question.judgments:
            for chunk in passages.get(judged.source, []):
                start, end = chunk.span
                if 2 * (min(end, judged.end) - max(start, judged.start)) >= min(end - start, judged.end - judged.start):
                    found[chunk.id] = max(judged.grade, found.get(chunk.id, 0))
    return grades


def _question(item: dict[str, Any]) -> Question:
    judged = (Judgment(**entry | {"title_path": tuple(entry["title_path"])}) for entry in item["judgments"])
    return Question(**item | {"judgments": tuple(judged)})
