"""Systems as people name them: run files, models, and what each measures."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from semantic_ranker import EvaluationError
from semantic_ranker.collections import write_run
from semantic_ranker.evaluation.inputs import Measuring, data_at, kind_of

TEXTS = {"a": "green tea with hot water", "b": "the postman and the dog", "c": "a star in the milky way"}
QUERIES = {"q1": "how to brew green tea", "q2": "dog barks at the postman"}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    rows = {"corpus": TEXTS, "queries": QUERIES}
    for name, texts in rows.items():
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    for split in ("test", "dev"):
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tb\t1\n")
    return data_at(folder)


def test_bm25_and_the_bundled_reranker_need_only_their_names(data):
    measuring = Measuring(data=data, metrics=["mrr"], depth=2)
    assert measuring.measure("bm25").evaluation.mean == {"RR": 1.0}
    reranked = measuring.measure("bundled", "ours")
    assert (reranked.name, reranked.evaluation.mean) == ("ours", {"RR": 1.0})
    assert reranked.rerank is not None
    assert len(reranked.latency_ms) == 2
    assert 0 <= float(reranked.relevance([0.0])[0]) <= 1


def test_given_candidates_are_cut_at_the_depth(data, tmp_path):
    write_run(tmp_path / "first.trec", {"q1": {"c": 3.0, "a": 2.0, "b": 1.0}, "q2": {"b": 1.0}})
    measuring = Measuring(data=data, metrics=["mrr"], depth=2, candidates=tmp_path / "first.trec")
    run = measuring.measure("bundled").run
    assert {qid: set(of) for qid, of in run.items()} == {"q1": {"a", "c"}, "q2": {"b"}}


def test_the_folder_of_an_embedder_is_searched_and_not_reranked(data):
    folder = resources.files("semantic_ranker") / "models" / "embedder-static-en"
    found = Measuring(data=data, metrics=["mrr"]).measure(str(folder))
    assert (found.name, found.kind, found.evaluation.mean) == ("embedder-static-en", "embedder", {"RR": 1.0})
    assert found.rerank is None
    assert set(found.run["q1"]) == set(TEXTS)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"semantic_ranker.json": '{"kind": "embedder"}'}, "embedder"),
        ({"semantic_ranker.json": '{"kind": "reranker"}', "modules.json": '[{"type": "x.Pooling"}]'}, "reranker"),
        ({"modules.json": '[{"type": "sentence_transformers.models.Pooling"}]'}, "embedder"),
        ({"config.json": "{}"}, "reranker"),
        ({"semantic_ranker.json": "{"}, "reranker"),
    ],
)
def test_a_folder_says_what_it_holds(tmp_path, files, kind):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert kind_of(tmp_path) == kind


def test_a_file_named_like_a_word_is_a_file(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run("bm25", {"q1": {"c": 1.0}, "q2": {"b": 1.0}})
    assert Measuring(data=data, metrics=["mrr"]).measure("bm25").evaluation.mean == {"RR": 0.5}


def test_unknown_documents_are_found_where_the_texts_are_known(data, tmp_path):
    write_run(tmp_path / "run.trec", {"q1": {"zzz": 1.0}})
    with pytest.raises(EvaluationError, match="'zzz'"):
        Measuring(data=data).measure(str(tmp_path / "run.trec"))


def test_judgments_alone_measure_runs_and_no_models(data, tmp_path):
    alone = data_at(data.path / "qrels" / "dev.tsv")
    assert (alone.name, alone.collection, len(alone.qrels)) == ("dev.tsv", None, 2)
    write_run(tmp_path / "run.trec", {"q1": {"a": 1.0}})
    assert Measuring(data=alone, metrics=["mrr"]).measure(str(tmp_path / "run.trec")).evaluation.mean == {"RR": 0.5}
    with pytest.raises(EvaluationError, match="BEIR folder"):
        Measuring(data=alone).measure("bundled")


def test_a_large_corpus_is_not_read_to_check_ids(data, tmp_path, monkeypatch):
    monkeypatch.setattr("semantic_ranker.evaluation.inputs._LARGEST_CHECKED", 10)
    write_run(tmp_path / "run.trec", {"q1": {"zzz": 1.0}})
    assert data.collection is None
    assert Measuring(data=data, metrics=["mrr"]).measure(str(tmp_path / "run.trec")).evaluation.mean == {"RR": 0.0}
    assert data.texts().corpus == TEXTS


def test_more_queries_than_are_timed(data, monkeypatch):
    monkeypatch.setattr("semantic_ranker.evaluation.inputs._TIMED", 1)
    monkeypatch.setattr("semantic_ranker.evaluation.ranker._QUERIES_AT_ONCE", 1)
    found = Measuring(data=data, metrics=["mrr"], depth=2).measure("bundled")
    assert len(found.latency_ms) == 1
    assert found.evaluation.mean == {"RR": 1.0}


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="got nothing there"):
        data_at(tmp_path / "none")
