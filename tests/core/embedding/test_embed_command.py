import json

import numpy as np
import pytest

from semantic_ranker.cli import main
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.manifest import SpaceGuard


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("cats sleep\n\nreset your password\n", encoding="utf-8")
    return str(path)


def test_vectors_and_their_space_are_written(tmp_path, texts, capsys):
    out = tmp_path / "vectors.npy"
    assert main(["embed", texts, "--out", str(out)]) == 0
    vectors = np.load(out, allow_pickle=False)
    assert np.array_equal(vectors, Embedder().embed_documents(["cats sleep", "reset your password"]))
    SpaceGuard(tmp_path / "vectors.npy.space.json").open(Embedder())
    printed = capsys.readouterr().out
    assert "dimensions" in printed
    assert Embedder().space.short in printed


def test_json_lines_and_json_report(tmp_path, texts, capsys):
    out = tmp_path / "vectors.jsonl"
    assert main(["embed", texts, "--out", str(out), "--role", "query", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["texts"] == 2
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    found = np.asarray([row["embedding"] for row in rows], np.float32)
    assert np.array_equal(found, Embedder().embed_queries(["cats sleep", "reset your password"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "vectors.txt"], ".npy or .jsonl"),
        (["--out", "v.npy", "--model", "all-minilm-l6-v3"], "did you mean"),
        (["--out", "v.npy", "--truncate-dim", "64"], "allow_lossy_truncation"),
    ],
)
def test_bad_arguments_end_with_one_line_and_write_nothing(tmp_path, texts, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["embed", texts, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("v*"))


def test_a_folder_that_had_to_fall_back_is_said(tmp_path, texts, capsys, onnx_folder):
    (onnx_folder / "onnx" / "model_qint8.onnx").write_bytes(b"broken")
    assert main(["embed", texts, "--out", str(tmp_path / "v.npy"), "--model", str(onnx_folder)]) == 0
    assert "degraded: onnx fp32 instead of onnx int8" in capsys.readouterr().err


def test_no_text_gives_an_empty_table(tmp_path, capsys):
    (tmp_path / "none.txt").write_text("\n")
    assert main(["embed", str(tmp_path / "none.txt"), "--out", str(tmp_path / "v.npy")]) == 0
    assert np.load(tmp_path / "v.npy").shape == (0, Embedder().dim)
