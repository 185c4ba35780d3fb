"""MS MARCO, TREC, BEIR, Quora, triples, labelled pairs and hub data sets, read and written."""

import gzip
import json

import pytest

from semantic_ranker.collections import load_beir, read_run, write_run
from semantic_ranker.collections import read_qrels as read_core_qrels
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data import (
    Group,
    Reading,
    Record,
    Triple,
    files,
    msmarco,
    read_beir,
    read_groups,
    read_hub,
    read_msmarco,
    trec,
    write_beir,
)

QUERIES = {"1": "how tall", "2": "who ran", "3": "unjudged"}
PASSAGES = {"10": "two metres", "11": "anna ran", "12": "nobody", "13": "unused"}
QRELS = {"1": {"10": 1}, "2": {"11": 2, "12": 0}}


@pytest.fixture
def marco(tmp_path):
    msmarco.write_collection(tmp_path / "collection.tsv", PASSAGES)
    msmarco.write_collection(tmp_path / "queries.train.tsv", QUERIES)
    trec.write_qrels(tmp_path / "qrels.train.tsv", QRELS)
    return tmp_path


def test_msmarco_files(marco):
    assert (marco / "qrels.train.tsv").read_text().splitlines()[0] == "1\t0\t10\t1"
    assert dict(msmarco.read_collection(marco / "collection.tsv")) == PASSAGES
    records = list(read_msmarco(marco))
    assert [(r.query_id, r.document_id, r.label) for r in records] == [
        ("1", "10", 1.0),
        ("2", "11", 2.0),
        ("2", "12", 0.0),
    ]
    assert list(read_groups(marco)) == [
        Group("how tall", ("two metres",), (1.0,), source=marco.name),
        Group("who ran", ("anna ran", "nobody"), (2.0, 0.0), source=marco.name),
    ]


def test_msmarco_files_may_be_gzipped(marco):
    for name in ("collection.tsv", "queries.train.tsv", "qrels.train.tsv"):
        (marco / f"{name}.gz").write_bytes(gzip.compress((marco / name).read_bytes()))
        (marco / name).unlink()
    assert len(list(read_msmarco(marco))) == 3


def test_trec_dl_names_are_found(marco):
    (marco / "queries.train.tsv").rename(marco / "msmarco-test2019-queries.tsv")
    (marco / "qrels.train.tsv").rename(marco / "2019qrels-pass.txt")
    assert len(list(read_msmarco(marco, "test"))) == 3
    (marco / "2020qrels-pass.txt").write_text("1 0 10 1\n")
    with pytest.raises(DataFormatError, match=r"alike: 2019qrels-pass\.txt, 2020qrels-pass\.txt"):
        list(read_msmarco(marco, "test"))


def test_a_judgment_without_its_text_is_reported(marco):
    (marco / "qrels.train.tsv").write_text("1\t0\t10\t1\n1\t0\t99\t1\n")
    with pytest.raises(DataFormatError, match="document '99'"):
        list(read_msmarco(marco))
    reading = Reading(on_error="skip")
    assert len(list(read_msmarco(marco, reading=reading))) == 1
    assert reading.skipped == 1
    (marco / "qrels.train.tsv").write_text("1\t0\t99\t1\n")
    with pytest.raises(DataFormatError, match="judged pairs with texts"):
        list(read_msmarco(marco, reading=Reading(on_error="skip")))


def test_msmarco_triples_with_texts_and_with_ids(tmp_path):
    triples = [Triple("how tall", "two metres", "anna ran"), Triple("who ran", "anna ran", "nobody")]
    assert msmarco.write_triples(tmp_path / "triples.train.small.tsv.gz", triples) == 2
    assert list(msmarco.read_triples(tmp_path / "triples.train.small.tsv.gz")) == triples
    msmarco.write_triple_ids(tmp_path / "qidpidtriples.tsv", [("1", "10", "11"), ("2", "11", "12")])
    assert list(msmarco.read_triple_ids(tmp_path / "qidpidtriples.tsv", QUERIES, PASSAGES)) == triples
    with pytest.raises(DataFormatError, match=r":1: .*passage '10'"):
        list(msmarco.read_triple_ids(tmp_path / "qidpidtriples.tsv", QUERIES, {}))
    with pytest.raises(InvalidInputError, match="with a negative"):
        msmarco.write_triples(tmp_path / "t.tsv", [Triple("q", "p")])


@pytest.mark.parametrize("line", ["a\tb", "a\tb\t", "a\tb\tb", "a b c"])
def test_a_broken_triple_is_named(tmp_path, line):
    (tmp_path / "t.tsv").write_text(f"q\tp\tn\n{line}\n")
    with pytest.raises(DataFormatError, match=r"t\.tsv:2: "):
        list(msmarco.read_triples(tmp_path / "t.tsv"))
    assert len(list(msmarco.read_triples(tmp_path / "t.tsv", reading=Reading(on_error="skip")))) == 1


def test_tabs_and_line_ends_inside_a_text_do_not_break_a_row(tmp_path):
    msmarco.write_collection(tmp_path / "c.tsv", {"1": "a\tb\nc\r\nd"})
    assert dict(msmarco.read_collection(tmp_path / "c.tsv")) == {"1": "a b c  d"}


def test_trec_topics_in_both_forms(tmp_path):
    trec.write_topics(tmp_path / "t.tsv", QUERIES)
    assert trec.read_topics(tmp_path / "t.tsv") == QUERIES
    (tmp_path / "classic.txt").write_text(
        "<top>\n<num> Number: 301\n<title> Organized Crime \n<desc> Description:\nx\n</top>\n"
        "<top><num>302</num><title>polio\nafter war</title></top>\n"
    )
    assert trec.read_topics(tmp_path / "classic.txt") == {"301": "Organized Crime", "302": "polio after war"}
    (tmp_path / "classic.txt").write_text("<top>\n<num> 3\n</top>\n")
    with pytest.raises(DataFormatError, match="<num> and <title>"):
        trec.read_topics(tmp_path / "classic.txt")
    (tmp_path / "classic.txt").write_text("<top>\n<num> 3\n<title> x\n")
    with pytest.raises(DataFormatError, match="closed <top>"):
        trec.read_topics(tmp_path / "classic.txt")
    (tmp_path / "t.tsv").write_text("1\ta\n1\tb\n")
    with pytest.raises(DataFormatError, match=r"t\.tsv:2: .*each id once"):
        trec.read_topics(tmp_path / "t.tsv")


def test_judgments_are_read_as_evaluation_reads_them(tmp_path):
    for text in ("1 0 10 1\n2 0 11 2\n2 0 12 0\n", "query-id\tcorpus-id\tscore\n1\t10\t1\n2\t11\t2\n2\t12\t0\n"):
        (tmp_path / "q").write_text(text)
        assert trec.read_qrels(tmp_path / "q") == QRELS == read_core_qrels(tmp_path / "q")
    (tmp_path / "q.gz").write_bytes(gzip.compress(b"1 0 10 1\nbroken\n1 0 10 2\n1 0 x y\n"))
    reading = Reading(on_error="skip")
    assert trec.read_qrels(tmp_path / "q.gz", reading=reading) == {"1": {"10": 1}}
    assert reading.skipped == 3


def test_runs_are_streamed_as_evaluation_writes_them(tmp_path):
    run = {"1": {"a": 2.0, "b": 1.5}, "2": {"a": -1.0}}
    write_run(tmp_path / "run.txt", run)
    rows = list(trec.read_run_rows(tmp_path / "run.txt"))
    assert {(row.query_id, row.document_id): row.score for row in rows} == {
        ("1", "a"): 2.0,
        ("1", "b"): 1.5,
        ("2", "a"): -1.0,
    }
    assert read_run(tmp_path / "run.txt") == run
    for line in ("1 Q0 a 1 nan t", "1 Q0 a 1", "1 Q0 a 1 high t", "1 Q0 a 1 2.0 t x"):
        (tmp_path / "run.txt").write_text(line + "\n")
        with pytest.raises(DataFormatError, match=r"run\.txt:1: "):
            list(trec.read_run_rows(tmp_path / "run.txt"))


def test_beir_folders(tmp_path):
    records = [
        Record(query="how tall", document="two metres", label=1, query_id="q1", document_id="d1"),
        Record(query="how tall", document="blue", label=0, query_id="q1"),
        Record(query="who", document="anna", label=2),
    ]
    assert write_beir(tmp_path / "b", records, split="test", corpus={"d9": "unjudged"}) == 3
    collection = load_beir(tmp_path / "b")
    assert sorted(collection.corpus.values()) == ["anna", "blue", "two metres", "unjudged"]
    found = list(read_beir(tmp_path / "b", "test"))
    assert [(r.query, r.document, r.label) for r in found] == [(r.query, r.document, r.label) for r in records]
    for path in (tmp_path / "b").glob("*.jsonl"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert list(read_beir(tmp_path / "b", "test")) == found
    with pytest.raises(DataFormatError, match=r"got none; there: test\.tsv"):
        list(read_beir(tmp_path / "b", "train"))
    with pytest.raises(InvalidInputError, match="whole numbers"):
        write_beir(tmp_path / "c", [Record(query="q", document="d", label=0.5)])
    with pytest.raises(InvalidInputError, match="one text an id"):
        write_beir(tmp_path / "c", records, corpus={"d1": "other"})


def test_titles_stand_before_texts_and_spam_grades_are_not_relevant(tmp_path):
    write_beir(tmp_path, [Record(query="q", document="body", label=1, query_id="q", document_id="d")])
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "title": "Head", "text": "body"}\n{"_id": "e", "text": "x"}\n')
    (tmp_path / "qrels" / "train.tsv").write_text("q\td\t1\nq\te\t-2\n")
    assert list(read_groups(tmp_path)) == [Group("q", ("Head body", "x"), (1.0, 0.0), source=tmp_path.name)]
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d"}\n')
    with pytest.raises(DataFormatError, match=r"corpus\.jsonl:1: expected an object"):
        list(read_beir(tmp_path))
    (tmp_path / "corpus.jsonl").write_text("{\n")
    with pytest.raises(DataFormatError, match=r"corpus\.jsonl:1: .*broken JSON"):
        list(read_beir(tmp_path))


def test_quora_pairs(tmp_path):
    records = [
        Record(query='Is "this" it?', document="Is it\tthis?", label=1, query_id="1", document_id="2", source="quora"),
        Record(query="a", document="b", label=0, query_id="3", document_id="4", source="quora"),
    ]
    assert files.write_quora(tmp_path / "q.tsv", records) == 2
    assert (tmp_path / "q.tsv").read_text().splitlines()[0] == "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    assert list(files.read_quora(tmp_path / "q.tsv")) == records
    with open(tmp_path / "q.tsv", "a") as out:
        out.write("2\t5\t6\tc\td\t3\n")
    with pytest.raises(DataFormatError, match=r"q\.tsv:4: .*0 or 1"):
        list(files.read_quora(tmp_path / "q.tsv"))
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DataFormatError, match="lacks"):
        list(files.read_quora(tmp_path / "other.tsv"))
    with pytest.raises(InvalidInputError, match="0 or 1"):
        files.write_quora(tmp_path / "q.tsv", [Record(query="a", document="b", label=0.5)])


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "json.gz", "csv.gz"])
def test_the_guides_triples(tmp_path, ending):
    triples = [Triple("q, 1", "p\n2", "n"), Triple("z", "y")]
    path = tmp_path / f"triples.{ending}"
    assert files.write_triples(path, triples) == 2
    assert list(files.read_triples(path)) == triples


def test_json_triples_are_a_list_that_json_reads(tmp_path):
    files.write_triples(tmp_path / "t.json", [Triple("q", "p", "n"), Triple("z", "y")])
    assert json.loads((tmp_path / "t.json").read_text()) == [
        {"query": "q", "positive": "p", "negative": "n"},
        {"query": "z", "positive": "y"},
    ]
    files.write_triples(tmp_path / "e.json", [])
    assert json.loads((tmp_path / "e.json").read_text()) == []
    with pytest.raises(InvalidInputError, match="ends in"):
        files.write_triples(tmp_path / "t.parquet", [])


def test_rows_with_several_texts_give_a_triple_a_pair(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"query": "q", "pos": ["a", "b"], "neg": ["c", "d"]}\n')
    assert [tuple(t) for t in files.read_triples(tmp_path / "t.jsonl")] == [("q", p, n) for p in "ab" for n in "cd"]
    (tmp_path / "t.jsonl").write_text('{"query": "q", "text": "a", "label": 1}\n')
    with pytest.raises(DataFormatError, match="got a judged pair"):
        list(files.read_triples(tmp_path / "t.jsonl"))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "tsv.gz"])
def test_plain_labelled_pairs(tmp_path, ending):
    records = [
        Record(query="q", document='d "x", y', label=0.5, query_id="1", source="s"),
        Record(query="q", document="e", label=3.0, document_id="9"),
    ]
    path = tmp_path / f"pairs.{ending}"
    assert files.write_labelled(path, records) == 2
    assert list(files.read_labelled(path)) == records
    other = tmp_path / "group.jsonl"
    other.write_text('{"query": "q", "positive": "p"}\n')
    with pytest.raises(DataFormatError, match="got a group"):
        list(files.read_labelled(other))


def test_a_data_set_that_the_package_datasets_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [
        {"sentence": "q", "text": "a", "label": 1},
        {"sentence": "q", "text": "b", "label": 0},
        {"sentence": "z", "text": "c", "label": 1},
    ]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    expected = [Group("q", ("a", "b"), (1.0, 0.0)), Group("z", ("c",), (1.0,))]
    assert list(read_hub(str(tmp_path / "saved"), columns={"sentence": "query"})) == expected
    (tmp_path / "plain").mkdir()
    triples = [{"query": "q", "positive": "p", "negative": "n"}, {"query": "", "positive": "p", "negative": "n"}]
    (tmp_path / "plain" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in triples))
    reading = Reading(on_error="skip")
    assert list(read_hub(str(tmp_path / "plain"), reading=reading)) == [Group("q", ("p", "n"), (1.0, 0.0))]
    assert reading.problems[0].startswith(f"{tmp_path / 'plain'}:2: ")
    with pytest.raises(DataFormatError, match="Cannot read split 'dev'"):
        list(read_hub(str(tmp_path / "plain"), "dev"))


def test_a_hub_out_of_reach_is_said_so():
    pytest.importorskip("datasets")
    with pytest.raises(DataFormatError, match="Offline, give a folder or file on this machine"):
        list(read_hub("nobody/no-such-data-set-0"))
