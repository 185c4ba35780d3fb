"""The questions on the 18F handbook hold together, and their judged sections map to passages of any length."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from semantic_ranker.documents import ChunkConfig, DocumentSet, read_folder
from semantic_ranker.errors import InvalidInputError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEAVE = "# Leave\n\nAsk early.\n\n## Jury duty\n\nThe court pays nothing.\n\n## Moving\n\nTell us your new address.\n"
TRAVEL = "# Travel\n\nBook a train.\n"


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import handbook_questions

    return handbook_questions


@pytest.fixture
def documents(tmp_path: Path) -> DocumentSet:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "leave.md").write_text(LEAVE)
    (tmp_path / "docs" / "travel.md").write_text(TRAVEL)
    return read_folder(tmp_path / "docs")


def _written(path: Path, reader: ModuleType, documents: DocumentSet, *judged: tuple[str, str, int]) -> Path:
    """Write one question whose judged sections are given by their first and last words, and grade."""
    text = documents.documents[0].text
    judgments = [
        {
            "source": "leave.md",
            "title_path": ["Leave"],
            "start": text.index(first),
            "end": text.index(last) + len(last),
            "grade": grade,
        }
        for first, last, grade in judged
    ]
    content: dict[str, Any] = {
        f"{kind}_sha256": reader.fingerprint(documents.documents, kind) for kind in ("documents", "texts")
    }
    content["questions"] = [{"id": "q1", "text": "summoned to court", "kind": "keywords", "judgments": judgments}]
    path.write_text(json.dumps(content))
    return path


def _graded(reader: ModuleType, path: Path, documents: DocumentSet, config: ChunkConfig) -> dict[str, int]:
    chunks = list(documents.chunks(config))
    found = reader.qrels(reader.load(documents.documents, path), chunks)["q1"]
    return {chunk.text: found[chunk.id] for chunk in chunks if chunk.id in found}


def test_a_section_maps_to_the_passage_that_holds_it_however_long_passages_are(
    tmp_path: Path, reader: ModuleType, documents: DocumentSet
) -> None:
    path = _written(tmp_path / "q.json", reader, documents, ("Jury duty", "nothing.", 2))
    fine = _graded(reader, path, documents, ChunkConfig(min_tokens=0, max_tokens=600))
    assert list(fine.items()) == [("The court pays nothing.", 2)]
    whole = _graded(reader, path, documents, ChunkConfig(min_tokens=600, max_tokens=600))
    assert [("Tell us your new address." in text, grade) for text, grade in whole.items()] == [(True, 2)]


def test_a_passage_with_two_judged_sections_has_the_better_grade(
    tmp_path: Path, reader: ModuleType, documents: DocumentSet
) -> None:
    judged = ("Jury duty", "nothing.", 2), ("Moving", "address.", 1)
    path = _written(tmp_path / "q.json", reader, documents, *judged)
    whole = _graded(reader, path, documents, ChunkConfig(min_tokens=600, max_tokens=600))
    assert list(whole.values()) == [2]
    fine = _graded(reader, path, documents, ChunkConfig(min_tokens=0, max_tokens=600))
    assert list(fine.values()) == [2, 1]


def test_a_section_of_which_a_passage_holds_little_does_not_count(
    tmp_path: Path, reader: ModuleType, documents: DocumentSet
) -> None:
    path = _written(tmp_path / "q.json", reader, documents, ("nothing.", "Tell us your new address.", 2))
    fine = _graded(reader, path, documents, ChunkConfig(min_tokens=0, max_tokens=600))
    assert list(fine) == ["Tell us your new address."]


def test_other_files_and_another_reading_of_them_are_refused(
    tmp_path: Path, reader: ModuleType, documents: DocumentSet
) -> None:
    path = _written(tmp_path / "q.json", reader, documents, ("Jury duty", "nothing.", 2))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"texts_sha256": "0" * 64}))
    with pytest.raises(InvalidInputError, match="Expected the texts that were judged"):
        reader.load(documents.documents, path)
    path.write_text(json.dumps(content))
    (tmp_path / "docs" / "travel.md").write_text(TRAVEL + "\nOr a bus.\n")
    with pytest.raises(InvalidInputError, match=r"Expected the documents that were judged .* of 2 documents"):
        reader.load(read_folder(tmp_path / "docs").documents, path)


def test_the_questions_are_sixty_and_each_is_answered() -> None:
    questions = json.loads((BENCHMARKS / "questions" / "handbook.json").read_text(encoding="utf-8"))["questions"]
    assert len({question["id"] for question in questions}) == len({question["text"] for question in questions}) == 60
    assert {question["kind"] for question in questions} == {"question", "keywords", "situation", "typo"}
    answers = [judged for question in questions for judged in question["judgments"] if judged["grade"] == 2]
    assert len({judged["source"] for judged in answers}) >= 35
    for question in questions:
        judged = question["judgments"]
        assert {entry["grade"] for entry in judged} in ({2}, {1, 2}), f"nothing answers {question['id']}"
        places = [(entry["source"], entry["start"], entry["end"]) for entry in judged]
        assert len(set(places)) == len(places)
        assert all(0 <= start < end for _, start, end in places)
