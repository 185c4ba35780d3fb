"""The command line as people use it: readable output, one-line errors, exit codes."""

import io
import json
import subprocess
import sys

import pytest

from semantic_ranker.cli import main

DOCUMENTS = ["Cats sleep all day.", "To change a forgotten password, open Settings.", "Lunch is at noon."]
QUERY = "how do I reset my password"


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(DOCUMENTS) + "\n")
    return str(path)


def test_rank_prints_the_best_first(documents, capsys):
    assert main(["rank", QUERY, "--docs", documents, "--top-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert DOCUMENTS[1] in lines[1]


def test_rank_prints_json(documents, capsys):
    assert main(["rank", QUERY, "--docs", documents, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in found["results"]] == [1, 2, 3]
    assert found["results"][0]["index"] == 1
    assert 0 <= found["results"][2]["relevance_score"] <= found["results"][0]["relevance_score"] <= 1


def test_rank_reads_json_lines_and_standard_input(tmp_path, capsys, monkeypatch):
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in DOCUMENTS))
    assert main(["rank", QUERY, "--docs", str(path), "--top-k", "1"]) == 0
    assert DOCUMENTS[1] in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(DOCUMENTS).encode())))
    assert main(["rank", QUERY, "--docs", "-", "--top-k", "1"]) == 0
    assert DOCUMENTS[1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--docs", "no-such-file.txt"], "no-such-file.txt"),
        (["--docs", "{documents}", "--model", "no/such/folder/here"], "no/such/folder/here"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(documents, capsys, arguments, message):
    assert main(["rank", QUERY, *(argument.format(documents=documents) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_broken_line_is_numbered(tmp_path, capsys):
    path = tmp_path / "documents.jsonl"
    path.write_text('{"text": "fine"}\n{broken\n')
    assert main(["rank", QUERY, "--docs", str(path)]) == 2
    assert "2" in capsys.readouterr().err


@pytest.mark.parametrize("top_k", ["0", "-1", "many"])
def test_bad_counts_are_refused(documents, capsys, top_k):
    with pytest.raises(SystemExit) as stopped:
        main(["rank", QUERY, "--docs", documents, "--top-k", top_k])
    assert stopped.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_doctor_says_that_the_core_works_and_what_is_missing(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "The core works." in text
    assert "reranker-en" in text
    assert "onnxruntime" in text
    assert main(["doctor", "--json"]) == 0
    assert "langchain" in capsys.readouterr().out


def test_export_of_nothing_is_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none"), str(tmp_path / "out")]) != 0
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("semantic-ranker 0.")


def test_a_reader_that_goes_away_is_not_an_error(documents):
    command = f"{sys.executable} -m semantic_ranker.cli rank '{QUERY}' --docs {documents} --json | head -c 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stdout == "{"
    assert "Traceback" not in result.stderr
