"""`semantic-ranker index` and `query`, as a user types them."""

import json

import pytest

from semantic_ranker.cli import main


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nStaff get 20 days of annual leave. Ask ana@example.org.\n")
    (folder / "travel.md").write_text("# Travel\n\nBook a train ticket two weeks before you travel.\n")
    (folder / "logo.png").write_bytes(b"\x89PNG")
    return folder


def test_folder_is_indexed_asked_and_followed(docs, tmp_path, capsys):
    out = str(tmp_path / "index")
    assert main(["index", str(docs), "--out", out, "--redact"]) == 0
    said = capsys.readouterr().out
    assert "2 documents added" in said
    assert "left out 1: other kind" in said
    assert "redacted 1 email" in said
    assert main(["query", out, "how many days of vacation leave", "--top-k", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [item["source"] for item in found["results"]] == ["leave.md"]
    assert found["degraded"] is None
    assert main(["query", out, "train", "--where", '{"source": "travel.md"}']) == 0
    assert "travel.md, Travel" in capsys.readouterr().out
    assert main(["query", out, "annual leave", "--context", "--top-k", "1"]) == 0
    assert capsys.readouterr().out == "[1] leave.md, Leave\nStaff get 20 days of annual leave. Ask [EMAIL].\n"
    (docs / "travel.md").unlink()
    assert main(["index", str(docs), "--out", out, "--redact", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["documents"] == {"added": 0, "changed": 0, "deleted": 1, "unchanged": 1}
    assert report["passages"] == 1


def test_the_same_command_twice_is_fine_and_may_ask_for_states(docs, tmp_path, capsys):
    words = ["index", str(docs), "--out", str(tmp_path / "index"), "--language", "english", "--embedder", "bundled"]
    assert main(words) == 0
    assert not (tmp_path / "index" / "states").exists()
    assert main([*words, "--precompute"]) == 0
    assert "2 unchanged" in capsys.readouterr().out
    assert (tmp_path / "index" / "states" / "shard-00000").is_dir()
    assert main(["index", str(docs), "--out", str(tmp_path / "index")]) == 0
    assert json.loads((tmp_path / "index" / "pipeline.json").read_text())["precompute"] is True


def test_source_weight_is_kept_and_may_be_said_again(docs, tmp_path, capsys):
    words, settings = ["index", str(docs), "--out", str(tmp_path / "index")], tmp_path / "index" / "pipeline.json"
    for asked, kept in ((["--source-weight", "0.4"], 0.4), ([], 0.4), (["--source-weight", "0"], 0.0)):
        assert main([*words, *asked]) == 0
        assert json.loads(settings.read_text())["source_weight"] == kept
    capsys.readouterr()
    assert main([*words, "--source-weight", "2"]) == 2
    assert "source_weight to be None or a number from 0 to 1, got 2.0" in capsys.readouterr().err


def test_mistakes_are_one_line(docs, tmp_path, capsys):
    out = str(tmp_path / "index")
    assert main(["index", str(tmp_path / "none"), "--out", out]) == 2
    assert main(["index", str(docs), "--out", out, "--reranker", "none"]) == 0
    capsys.readouterr()
    for words, status, message in (
        (["query", str(tmp_path), "x"], 1, "Cannot read the pipeline"),
        (["query", out, "x", "--where", "{"], 2, "Expected JSON for --where"),
        (["query", out, "x", "--where", "[]"], 2, "Expected an object for --where"),
        (["query", out, "x", "--where", '{"a": {"$like": 1}}'], 2, "$like"),
        (["index", str(docs), "--out", out, "--embedder", "other"], 2, "Expected --embedder bundled"),
        (["index", str(docs), "--out", out, "--language", "spanish"], 2, "Expected --language english"),
        (["query", out, "zzzz qqqq", "--where", '{"source": "none"}'], 0, "nothing was found"),
    ):
        assert main(words) == status, words
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
