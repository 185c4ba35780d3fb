"""`semantic-ranker feedback review`, and from its words to what training and evaluation read."""

import json

import pytest

from semantic_ranker.cli import main
from semantic_ranker.collections import load_beir
from semantic_ranker.feedback import FeedbackLog, Interaction, Retrieved, Review, measure
from semantic_ranker.pipeline import RAGPipeline


@pytest.fixture
def log(tmp_path):
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    for name, query in (("aa01", "may I keep \x1b[31mmy leave"), ("ab02", "reset my password"), ("b3", "lunch?")):
        log.append(
            Interaction(
                id=name,
                query=query,
                answer=f"Answer of {name} [1].",
                retrieved=(Retrieved(id="leave", score=0.9), Retrieved(id="wifi", score=0.2)),
            )
        )
    return log


def reviews(log):
    return {item.id: item.review for item in log}


def test_what_waits_is_listed_shown_and_labelled(log, capsys):
    command = ["feedback", "review", str(log.path)]
    assert main([*command, "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "aa01", "ab02"]
    assert "\x1b" not in lines[1]
    assert main([*command, "--id", "aa"]) == 0
    shown = capsys.readouterr().out
    assert "answer: Answer of aa01 [1]." in shown
    assert "2. 0.2000  wifi" in shown
    assert main([*command, "--id", "aa", "--resolved", "yes", "--relevant", "1", "--irrelevant", "wifi"]) == 0
    assert main([*command, "--id", "aa01", "--out-of-context", "no"]) == 0
    wanted = Review(resolved=True, relevant=("leave",), irrelevant=("wifi",), out_of_context=False)
    assert reviews(log)["aa01"] == wanted
    assert main([*command, "--id", "aa01", "--irrelevant", "1"]) == 0  # judged anew: it is no longer relevant
    assert (reviews(log)["aa01"].relevant, reviews(log)["aa01"].irrelevant) == ((), ("leave",))
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)] == ["ab02", "b3"]
    assert main([*command, "--all"]) == 0
    assert "resolved" in capsys.readouterr().out.splitlines()[1]


def test_each_is_asked_for(log, monkeypatch, capsys):
    words = iter(["perhaps", "y", "1", "9", "2", "n", "", "", "", "", "q"])
    monkeypatch.setattr("builtins.input", lambda _: next(words))
    assert main(["feedback", "review", str(log.path), "--interactive"]) == 0
    assert "Expected passages by number (1 to 2) or id, got '9'." in capsys.readouterr().out
    found = reviews(log)
    assert found["aa01"] == Review(resolved=True, relevant=("leave",), irrelevant=("wifi",), out_of_context=False)
    assert found["ab02"].is_empty
    assert found["b3"].is_empty


def test_mistakes_are_one_line(log, capsys):
    for words, message in (
        (["--resolved", "yes"], "Expected --id"),
        (["--id", "a"], "got 'a', which 2 begin with."),
        (["--id", "zz"], "got 'zz', which 0 begin with."),
        (["--id", "b3", "--relevant", "3"], "Expected passages by number (1 to 2)"),
    ):
        assert main(["feedback", "review", str(log.path), *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_from_questions_to_what_training_and_evaluation_read(tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "leave.md").write_text("# Leave\n\nUp to five days may be taken into the next year.\n")
    (tmp_path / "docs" / "wifi.md").write_text("# Wi-Fi\n\nThe password changes every Monday.\n")
    index, path = str(tmp_path / "index"), str(tmp_path / "log.jsonl")
    pipeline = RAGPipeline()
    pipeline.index_folder(tmp_path / "docs", index)
    log = FeedbackLog(path)
    asked = log.append(pipeline.retrieve("can I keep my leave").to_interaction("Yes [1]."))
    review = ["feedback", "review", path, "--id", asked.id]
    assert main([*review, "--index", index]) == 0
    assert "Up to five days" in capsys.readouterr().out
    assert main([*review, "--resolved", "yes", "--relevant", "1", "--irrelevant", "2"]) == 0
    export = ["feedback", "export", path, "--index", index]
    assert main([*export, "--out", str(tmp_path / "judged")]) == 0
    judged = load_beir(tmp_path / "judged")
    assert list(judged.queries.values()) == ["can I keep my leave"]
    assert [sorted(grades.values()) for grades in judged.qrels.values()] == [[0, 1]]
    assert main([*export, "--as", "pairs", "--out", str(tmp_path / "pairs.jsonl")]) == 0
    (pair,) = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert (pair["query"], len(pair["negatives"])) == ("can I keep my leave", 1)
    assert "Up to five days" in pair["positive"]
    assert measure(log).resolution.value == 1.0
    capsys.readouterr()
    assert main(["evaluate", "bm25", "--data", str(tmp_path / "judged"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_figures_become_a_page(log, tmp_path, capsys):
    log.append(Interaction(query="<b>hi</b>", intent="<i>", latency_ms={"total": 12.3}, review=Review(resolved=True)))
    page = tmp_path / "page.html"
    assert main(["feedback", "metrics", str(log.path), "--html", str(page)]) == 0
    text = page.read_text()
    for wanted in ("automatic resolution", "answers out of context", "&lt;i&gt;", "12.3", "4 interactions"):
        assert wanted in text
