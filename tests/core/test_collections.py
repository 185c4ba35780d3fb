from __future__ import annotations

import json

import pytest

from semantic_ranker import EvaluationError
from semantic_ranker.collections import load_beir, read_qrels, read_run, write_run

CORPUS = [{"_id": "d1", "title": "Cats", "text": "They purr."}, {"_id": "d2", "title": "", "text": "Dogs bark."}]
QUERIES = [{"_id": "q1", "text": "purr?"}, {"_id": "unjudged", "text": "bark?"}]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "animals"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, CORPUS)) + "\n", encoding="utf-8")
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, QUERIES)) + "\n\n", encoding="utf-8")
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n", encoding="utf-8")
    return root


def test_reads_a_beir_folder(folder):
    found = load_beir(folder)
    assert found.name == "animals"
    assert found.corpus == {"d1": "Cats They purr.", "d2": "Dogs bark."}
    assert found.queries == {"q1": "purr?"}
    assert found.qrels == {"q1": {"d1": 2, "d2": 0}}


def test_a_corpus_without_titles_and_with_null_titles_is_fine(folder):
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "b", "title": null, "text": "y"}\n')
    assert load_beir(folder).corpus == {"a": "x", "b": "y"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{broken', r"corpus\.jsonl:2: expected a JSON object"),
        ("corpus.jsonl", "[1]", r"corpus\.jsonl:1: expected a JSON object, got '\[1\]'"),
        ("corpus.jsonl", '{"_id": 7, "text": "x"}', r"corpus\.jsonl:1: expected a string as '_id', got 7"),
        ("corpus.jsonl", '{"_id": "a"}', r"corpus\.jsonl:1: expected a string as 'text'"),
        ("corpus.jsonl", '{"_id": "a", "text": ""}\n\n{"_id": "a", "text": ""}', r":3: expected ids that occur once"),
        ("queries.jsonl", '{"_id": "other", "text": "x"}', "text for every judged query, got none for 1, such as 'q1'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\tmuch", r"test\.tsv:2: expected a whole number"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t0", r"test\.tsv:2: expected each document once"),
        ("qrels/test.tsv", "q1\td1", r"test\.tsv:1: expected 'query document grade'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "Expected judgments"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(folder, name, text, says):
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=says):
        load_beir(folder)


def test_a_missing_split_names_those_that_are_there(folder):
    with pytest.raises(EvaluationError, match=r"'dev'.*splits there: test"):
        load_beir(folder, split="dev")


def test_a_missing_folder_or_file_is_refused(folder, tmp_path):
    with pytest.raises(EvaluationError, match="Expected a file"):
        load_beir(tmp_path / "nowhere")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(EvaluationError, match=r"corpus\.jsonl"):
        load_beir(folder)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "run.trec").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="UTF-8"):
        read_run(tmp_path / "run.trec")


def test_reads_trec_judgments_and_ids_with_spaces(tmp_path):
    (tmp_path / "qrels").write_text("q1 0 d1 1\nq1 0 d2 -1\nq2 0 d1 3\n")
    assert read_qrels(tmp_path / "qrels") == {"q1": {"d1": 1, "d2": -1}, "q2": {"d1": 3}}
    (tmp_path / "tabs").write_text("query one\tdoc one\t1\n")
    assert read_qrels(tmp_path / "tabs") == {"query one": {"doc one": 1}}


def test_a_run_survives_writing_and_reading(tmp_path):
    run = {"q1": {"b": 0.1 + 0.2, "a": 1e-17}, "q2": {"c": -5.0}}
    write_run(tmp_path / "run", run, tag="mine")
    assert read_run(tmp_path / "run") == run
    assert (tmp_path / "run").read_text().splitlines()[0] == "q1 Q0 b 1 0.30000000000000004 mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q Q0 d 1 0.5", r":1: expected 'query Q0 document rank score tag'"),
        ("q Q0 d 1 0.5 t\nq Q0 e 2 high t", r":2: expected a number as score, got 'high'"),
        ("q Q0 d 1 nan t", r":1: expected a number"),
        ("q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t", r":2: expected each document once for query 'q', got 'd'"),
        ("", "got no lines"),
    ],
)
def test_a_damaged_run_is_refused(tmp_path, text, says):
    (tmp_path / "run").write_text(text)
    with pytest.raises(EvaluationError, match=says):
        read_run(tmp_path / "run")


def test_ids_that_a_trec_run_cannot_hold_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="white space"):
        write_run(tmp_path / "run", {"q": {"two words": 1.0}})


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_an_id(folder):
    (folder / "qrels" / "test.tsv").write_bytes(b"\xef\xbb\xbfq1\td1\t1\r\n")
    (folder / "queries.jsonl").write_bytes(b'\xef\xbb\xbf{"_id": "q1", "text": "x"}\r\n')
    assert load_beir(folder).qrels == {"q1": {"d1": 1}}
