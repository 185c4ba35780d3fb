"""The handbook's data holds together: ids, grades, languages, and questions that are not copies."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
COPIED_WORDS = 5


@pytest.fixture
def handbook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    import staff_handbook

    return staff_handbook


def _word_runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + COPIED_WORDS]) for start in range(len(words) - COPIED_WORDS + 1)}


def test_sections_are_many_short_and_uniquely_named(handbook: ModuleType) -> None:
    sections = handbook.load_sections()
    assert len({section.id for section in sections}) == len(sections)
    assert {section.language for section in sections} == {"en", "es"}
    assert all(80 <= len(section.body.split()) <= 200 for section in sections)


def test_every_judgment_names_a_section_in_the_language_of_its_question(handbook: ModuleType) -> None:
    language_of = {section.id: section.language for section in handbook.load_sections()}
    judgments = handbook.load_judgments()
    for question in handbook.load_questions():
        grades = judgments.pop(question.id)
        assert {language_of[section] for section in grades} == {question.language}
        assert set(grades.values()) <= {1, 2}
        assert 2 in grades.values(), f"nothing answers {question.id}"
    assert judgments == {}


def test_questions_are_not_copied_from_the_sections_that_answer_them(handbook: ModuleType) -> None:
    sections = {section.id: section.text for section in handbook.load_sections()}
    judgments = handbook.load_judgments()
    for question in handbook.load_questions():
        for section in judgments[question.id]:
            assert not _word_runs(question.text) & _word_runs(sections[section]), question.id


def test_the_description_counts_right(handbook: ModuleType) -> None:
    described = (EXAMPLES / "handbook" / "README.md").read_text(encoding="utf-8")
    sections = [section.language for section in handbook.load_sections()]
    questions = [question.language for question in handbook.load_questions()]
    judged = sum(len(grades) for grades in handbook.load_judgments().values())
    assert f"| sections | {sections.count('en')} English, {sections.count('es')} Spanish |" in described
    assert f"| questions | {questions.count('en')} English, {questions.count('es')} Spanish |" in described
    assert f"| judgments | {judged} |" in described
