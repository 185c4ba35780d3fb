"""The examples run as a user runs them, offline, and put the section that answers on top."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RANKED_LINE = re.compile(r"  (?P<score>\d\.\d+) .*?(?P<section>\w+#[\w-]+)$")


def _run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error::UserWarning:__main__", str(EXAMPLES / script), *arguments]
    offline = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    offline |= {"HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, env=offline, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rankings(printed: str) -> dict[str, list[tuple[str, float]]]:
    """Read `{question: [(section, score)]}` out of what the short examples print."""
    rankings: dict[str, list[tuple[str, float]]] = {}
    question = ""
    for line in printed.splitlines():
        hit = RANKED_LINE.match(line)
        if hit:
            rankings[question].append((hit["section"], float(hit["score"])))
        elif not line.startswith(" "):
            question = line
            rankings[question] = []
    return rankings


@pytest.mark.parametrize(
    ("script", "answers"),
    [
        (
            "01_langchain.py",
            {
                "how much notice do I have to give if I quit while still on trial?": "people#probation",
                "Do you pay petrol if I take my own car to the customer?": "expenses#driving-your-own-car-for-work",
            },
        ),
        (
            "02_llama_index.py",
            {
                "Got a new iPhone, how do I get the login codes on it?": "accounts#moving-sign-in-codes-to-a-new-phone",
                "My father died yesterday. How long can I be off?": "leave#bereavement-and-family-emergencies",
            },
        ),
        (
            "03_plain_python.py",
            {
                "I threw away the taxi receipt, can I still get the money?": (
                    "expenses#receipts-and-what-to-do-without-one"
                ),
            },
        ),
    ],
)
def test_short_examples_put_the_answer_first(script: str, answers: dict[str, str]) -> None:
    rankings = _rankings(_run(script))
    for question, section in answers.items():
        scores = [score for _, score in rankings[question]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert rankings[question][0][0] == section


def test_short_examples_are_short() -> None:
    for script in EXAMPLES.glob("0*.py"):
        assert len(script.read_text(encoding="utf-8").splitlines()) < 60, script.name


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    path = tmp_path_factory.mktemp("demo") / "report.json"
    printed = _run("demo.py", "--json", str(path))
    return printed, json.loads(path.read_text(encoding="utf-8"))


def test_the_demo_prints_every_part_within_a_hundred_columns_and_without_colour(
    demo: tuple[str, dict[str, Any]],
) -> None:
    printed, _ = demo
    for part in ("LangChain", "LlamaIndex", "BM25", "reranked", "nDCG@10", "Success@1", "median", "●"):
        assert part in printed
    assert max(len(line) for line in printed.splitlines()) <= 100
    assert "\033[" not in printed


def test_the_demo_reports_every_question_with_the_same_sections_before_and_after(
    demo: tuple[str, dict[str, Any]],
) -> None:
    _, report = demo
    assert len(report["questions"]) == 40
    for question in report["questions"]:
        assert question["before"].keys() == question["after"].keys()
        logits = list(question["after"].values())
        assert logits == sorted(logits, reverse=True)


def test_the_demo_shows_a_gain_in_english_and_measures_spanish_apart(demo: tuple[str, dict[str, Any]]) -> None:
    printed, report = demo
    rows = {(row["group"], row["metric"]): row for row in report["quality"]}
    assert {group for group, _ in rows} == {"English", "Spanish", "together"}
    assert rows["English", "nDCG@10"]["difference"] > 0
    for row in rows.values():
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["difference"] == pytest.approx(row["after"] - row["before"])
        assert f"{row['before']:.3f}" in printed


def test_both_frameworks_and_the_core_give_the_same_order(
    demo: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    from demo_frameworks import through_langchain, through_llama_index
    from staff_handbook import load_questions, load_sections

    _, report = demo
    core = {question["question"]["id"]: list(question["after"])[:5] for question in report["questions"]}
    questions = load_questions()[::5]
    for search in (through_langchain, through_llama_index):
        answers = list(search(load_sections(), questions))
        assert [answer.question for answer in answers] == questions
        for answer in answers:
            assert [hit.id for hit in answer.after] == core[answer.question.id]
