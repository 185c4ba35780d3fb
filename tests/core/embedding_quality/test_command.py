import json

import numpy as np
import pytest

from semantic_ranker.cli import main
from semantic_ranker.embedding_quality.files import read_labelled, read_pairs, read_vectors
from semantic_ranker.embedding_quality.measure import measure_vectors
from semantic_ranker.errors import EvaluationError

pytest.importorskip("sklearn")

PAIRS = [
    ("A cat sleeps", "A cat is sleeping", 5),
    ("A man eats", "The stock market fell", 0),
    ("Reset the password", "Change your password", 4),
    ("A dog runs", "A cat sits", 1.5),
]
ANIMALS = ["the cat sat", "dogs bark loudly", "a horse runs", "birds fly south", "fish swim", "cows eat grass"]
CODE = ["python code", "compile the program", "a function returns", "debug the software", "unit tests", "software bugs"]


@pytest.fixture
def sts(tmp_path):
    path = tmp_path / "sts.jsonl"
    path.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s}) + "\n" for a, b, s in PAIRS))
    return path


@pytest.fixture
def clusters(tmp_path):
    path = tmp_path / "clusters.csv"
    rows = [f"{text},animal" for text in ANIMALS] + [f"{text},code" for text in CODE]
    path.write_text("\ufefftext,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "notes"
    (folder / "qrels").mkdir(parents=True)
    texts = [*ANIMALS, *CODE]
    lines = [json.dumps({"_id": str(number), "title": "", "text": text}) for number, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    queries = {"q1": "a sleeping cat", "q2": "bugs in software"}
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in queries.items()))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t0\t1\nq2\t11\t1\n")
    return folder


def test_everything_at_once_as_json_table_and_page(sts, clusters, collection, tmp_path, capsys):
    vectors = tmp_path / "stored.npy"
    np.save(vectors, np.random.default_rng(0).standard_normal((40, 8)))
    words = ["embed-eval", "--sts", str(sts), "--clusters", str(clusters), "--collection", str(collection)]
    words += ["--vectors", str(vectors), "--out", str(tmp_path / "out.json"), "--html", str(tmp_path / "page.html")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert found["model"] == "embedder-static-en"
    assert found["space"]["dim"] == 256
    kinds = {task["kind"]: task for task in found["tasks"]}
    assert list(kinds) == ["sts", "clustering", "retrieval", "vectors"]
    assert kinds["sts"]["scores"]["cosine_spearman"] > 0.7
    assert kinds["sts"]["scores"]["alignment"] < 1
    assert kinds["clustering"]["scores"]["v_measure"] > 0
    assert kinds["retrieval"]["scores"]["ndcg_at_10"] > 0.8
    assert {impact["storage"] for impact in kinds["retrieval"]["quantization"]} == {
        "fp16", "int8", "int8-calibrated", "binary",
    }  # fmt: skip
    assert kinds["vectors"]["geometry"]["dim"] == 8
    page = (tmp_path / "page.html").read_text()
    assert "Embedding quality: embedder-static-en" in page
    assert "<svg" in page
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "retrieval: notes" in table
    assert "int8-calibrated" in table


def test_stored_vectors_need_no_model(tmp_path, capsys):
    path = tmp_path / "stored.npy"
    np.save(path, np.random.default_rng(0).standard_normal((40, 8)).astype(np.float16))
    assert main(["embed-eval", "no-such-model", "--vectors", str(path)]) == 0
    assert "iso_score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "something to measure, got nothing"),
        (["--sts", "absent.jsonl"], "a file at absent.jsonl, got none"),
        (["--collection", "absent"], "absent"),
        (["--vectors", "absent.npy"], "a file at absent.npy, got none"),
        (["--config", "absent.toml", "--sts", "{sts}"], "absent.toml"),
        (["no/such/model", "--sts", "{sts}"], "no/such/model"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(words, message, sts, capsys):
    assert main(["embed-eval", *(word.format(sts=sts) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_config_file_chooses_the_model(sts, tmp_path, capsys):
    config = tmp_path / "settings.toml"
    config.write_text('[embedder]\nmodel = "embedder-static-en"\ndocument_prompt = "note: "\n')
    assert main(["embed-eval", "--sts", str(sts), "--config", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["space"]["document_prompt"] == "note: "


def test_tables_may_be_tab_separated(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("text1\ttext2\tscore\na, b\tc\t0.5\n")
    pairs = read_pairs(path)
    assert (pairs.left, pairs.right, pairs.scores) == (["a, b"], ["c"], [0.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected lines"),
        ('{"sentence1": "a"}', ":1: expected a column 'sentence2'"),
        (
            '\n{"sentence1": "a", "sentence2": "b", "score": "high"}',
            ":2: expected a finite number as 'score'",
        ),
        ('{"sentence1": "a", "sentence2": "b", "score": NaN}', "finite number"),
        ('{"sentence1": 3, "sentence2": "b", "score": 1}', "a string as 'sentence1', got int"),
        ("[1]", "JSON object, got list"),
        ("nonsense", "JSON object"),
    ],
)
def test_broken_lines_are_named(tmp_path, text, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_pairs(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"text,label\n\xff,a\n")
    with pytest.raises(EvaluationError, match="UTF-8"):
        read_labelled(path)


@pytest.mark.parametrize("content", [np.zeros(3), np.array([["a"]]), np.array([{}], dtype=object)])
def test_files_that_hold_no_vectors_are_refused(tmp_path, content):
    path = tmp_path / "stored.npy"
    np.save(path, content, allow_pickle=True)
    with pytest.raises(EvaluationError, match=r"\.npy file of numbers|matrix of numbers"):
        read_vectors(path)


def test_too_few_vectors_are_refused():
    with pytest.raises(EvaluationError, match="12 or more"):
        measure_vectors(np.eye(3), "three")
