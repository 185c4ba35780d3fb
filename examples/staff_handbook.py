"""Reads the staff handbook beside this file: its sections, the questions and the judgments."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "handbook"
# Folder of a language -> its Snowball stemmer, for BM25.
STEMMERS = {"en": "english", "es": "spanish"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One `##` section. `id` is the file's stem and the heading's slug: `leave#booking-time-off`."""

    id: str
    title: str
    body: str
    language: str

    @property
    def text(self) -> str:
        """What is indexed and scored: the heading and the body."""
        return f"{self.title}\n{self.body}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, as somebody on the staff would type it."""

    id: str
    text: str
    language: str


def load_sections(folder: Path = FOLDER) -> list[Section]:
    """Return every section of every handbook file, English first."""
    return [section for path in sorted(folder.glob("*/*.md")) for section in _sections_of(path)]


def load_questions(folder: Path = FOLDER) -> list[Question]:
    """Return the questions in the order of `questions.jsonl`."""
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Question(id=row["_id"], text=row["text"], language=row["language"]) for row in rows]


def load_judgments(folder: Path = FOLDER) -> dict[str, dict[str, int]]:
    """Return `{question id: {section id: grade}}`; grade 2 answers the question, 1 helps."""
    judgments: dict[str, dict[str, int]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            judgments.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return judgments


def _sections_of(path: Path) -> list[Section]:
    parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    sections = []
    for part in parts:
        title, _, body = part.partition("\n")
        section_id = f"{path.stem}#{_slug(title)}"
        sections.append(Section(id=section_id, title=title, body=" ".join(body.split()), language=path.parent.name))
    return sections


def _slug(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading.replace("'", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
