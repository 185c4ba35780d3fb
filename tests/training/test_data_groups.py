"""Groups are read from every row format, written back the same, and broken lines are named or counted."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from semantic_ranker.errors import DataFormatError, InvalidInputError, StorageError
from semantic_ranker_training.data import (
    Group,
    Reading,
    Record,
    Triple,
    as_groups,
    group_records,
    read_groups,
    write_groups,
)

GROUPS = [
    Group("how tall?", ("two metres", "blue", "green"), (1.0, 0.0, 0.0), (3.5, 1.0, -2.0), "a"),
    Group(
        "¿qué día?",
        ("lunes\nmartes", "rojo\tazul"),
        (2.0, 0.0),
        provenance=({"kind": "positive"}, {"kind": "hard", "rank": 3}),
    ),
    Group("日本?", ("東京",), (1.0,)),
]


@pytest.mark.parametrize("form", ["flag", "labelled"])
@pytest.mark.parametrize("name", ["groups.jsonl", "groups.jsonl.gz"])
def test_what_is_written_is_read_back(tmp_path, form, name):
    path = tmp_path / "deep" / name
    assert write_groups(path, iter(GROUPS), form=form) == 3
    assert list(read_groups(path)) == GROUPS
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_a_gzipped_file_has_the_same_bytes_each_time(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_groups(tmp_path / name, GROUPS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_positives_come_first_in_flag_embedding_rows(tmp_path):
    mixed = Group("q", ("n", "p"), (0.0, 1.0), (0.1, 0.9))
    write_groups(tmp_path / "g.jsonl", [mixed])
    row = json.loads((tmp_path / "g.jsonl").read_text())
    assert (row["pos"], row["neg"], row["pos_scores"], row["neg_scores"]) == (["p"], ["n"], [0.9], [0.1])
    assert list(read_groups(tmp_path / "g.jsonl")) == [Group("q", ("p", "n"), (1.0, 0.0), (0.9, 0.1))]


ROWS = {
    "flag": ({"query": "q", "pos": ["p"], "neg": ["n", "n"], "prompt": "x"}, Group("q", ("p", "n"), (1.0, 0.0))),
    "triple": ({"query": "q", "positive": "p", "negative": "n"}, Group("q", ("p", "n"), (1.0, 0.0))),
    "negatives": (
        {"query": "q", "positive": ["p", "o"], "negatives": ["n"]},
        Group("q", ("p", "o", "n"), (1.0, 1.0, 0.0)),
    ),
    "anchor": ({"anchor": "q", "positive": "p", "negative": None}, Group("q", ("p",), (1.0,))),
    "lists": ({"query": "q", "documents": ["n", "p"], "labels": [0, 2]}, Group("q", ("n", "p"), (0.0, 2.0))),
    "pair": ({"query": "q", "text": "p", "label": 1}, Group("q", ("p",), (1.0,))),
    "hub": (
        {"query": "q", "passages": {"passage_text": ["n", "p", "n"], "is_selected": [0, 1, 0]}},
        Group("q", ("p", "n"), (1.0, 0.0)),
    ),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_rows_of_every_kind(tmp_path, kind, ending):
    row, expected = ROWS[kind]
    path = tmp_path / f"rows.{ending}"
    path.write_text(json.dumps([row, row] if ending == "json" else row, indent=3 if ending == "json" else None))
    assert next(read_groups(path)) == expected
    assert as_groups([row]) == [expected]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "pos": []}, "without positives"),
        ({"query": "q", "pos": ["p"], "neg": ["p"]}, "positive and as negative"),
        (
            {"query": "q", "pos": ["p"], "neg": ["n"], "pos_scores": [1, 2], "neg_scores": [1]},
            "1 numbers in 'pos_scores'",
        ),
        ({"query": "q", "pos": ["p"], "neg": ["n"], "pos_scores": [1]}, "'neg_scores'"),
        ({"query": "", "positive": "p"}, "query to be a string with content"),
        ({"positive": "p"}, "one of the keys query"),
        ({"query": "q", "positive": 3}, "string or a list"),
        ({"query": "q", "pos": ["p", 3]}, "list of strings"),
        ({"query": "q", "positive": ""}, "text as 'positive'"),
        ({"query": "q", "documents": ["a"], "labels": [1, 0]}, "1 numbers in 'labels'"),
        ({"query": "q", "documents": ["a"], "labels": [-1]}, "label of 0"),
        ({"query": "q", "documents": ["a"], "labels": [True]}, "Expected a number"),
        ({"query": "q", "text": "a", "label": "high"}, "number, got 'high'"),
        ({"query": "q", "text": "a", "label": "nan"}, "finite number"),
        ({"query": "q", "text": "a"}, "one of the keys label"),
        ({"query": "q", "pos": ["p"], "provenance": [1]}, "provenance"),
        ({"query": "q", "passages": ["p"]}, "passage_text"),
        ({"something": 1}, "keys of a known kind"),
        ([1], "Expected an object, got list"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["flag"][0]) + "\n\n" + json.dumps(row) + "\n")
    with pytest.raises(DataFormatError, match=message) as caught:
        list(read_groups(path))
    assert (caught.value.line, caught.value.path) == (3, str(path))
    reading = Reading(on_error="skip")
    assert list(read_groups(path, reading=reading)) == [ROWS["flag"][1]]
    assert reading.skipped == 1
    assert reading.problems[0].startswith(f"{path}:3: ")


def test_pairs_of_a_query_form_a_group_also_when_they_lie_apart(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("query,document,label\nq,a,1\nq,b,0\nz,c,1\nq,d,1\nq,a,1\n")
    assert [len(group.texts) for group in read_groups(path)] == [2, 1, 2]
    gathered = list(read_groups(path, gather=True))
    assert gathered == [Group("q", ("a", "b", "d"), (1.0, 0.0, 1.0)), Group("z", ("c",), (1.0,))]


def test_a_pair_that_is_relevant_and_not_is_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("query\ttext\tscore\nq\ta\t1\nq\ta\t0\n")
    with pytest.raises(DataFormatError, match=r":2: .*positive and as negative"):
        list(read_groups(path))


def test_a_query_with_only_irrelevant_texts_is_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("query\ttext\tlabel\nq\ta\t1\nz\ta\t0\n")
    with pytest.raises(DataFormatError, match=r":3: .*at least one relevant text"):
        list(read_groups(path))


def test_quoted_csv_holds_line_ends_and_a_missing_negative(tmp_path):
    path = tmp_path / "triples.csv"
    path.write_bytes('\ufeffQuery,Positive,Negative\r\n"a ""b""",p,"n\r\nm"\r\nc,d,\r\n'.encode())
    assert list(read_groups(path)) == [Group('a "b"', ("p", "n\r\nm"), (1.0, 0.0)), Group("c", ("d",), (1.0,))]


@pytest.mark.parametrize(
    ("content", "message"),
    [("query,positive\na,b\nc\n", "expected 2 values"), ('query,positive\na,"b\n', "quote left open")],
)
def test_broken_csv_is_named(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataFormatError, match=message):
        list(read_groups(path))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_is_an_error(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFormatError, match=r"got none|empty file"):
        list(read_groups(tmp_path / name))


def test_a_file_whose_lines_are_all_broken_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text("{\n{\n")
    with pytest.raises(DataFormatError, match="all of its 2 lines are broken"):
        list(read_groups(tmp_path / "a.jsonl", reading=Reading(on_error="skip")))


@pytest.mark.parametrize("name", ["absent.jsonl", "a.parquet", ""])
def test_what_cannot_be_read_is_named(tmp_path, name):
    if name == "a.parquet":
        (tmp_path / name).write_text("x")
    with pytest.raises(DataFormatError, match=r"Cannot read|ends in \.jsonl|Expected a file"):
        list(read_groups(tmp_path / name if name else tmp_path))


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"query": "q", "positive": "p"}).encode()
    path.write_bytes(line + b"\n" + line.replace(b'p"', b'p\xe9"') + b"\n" + line + b"\r\n")
    with pytest.raises(DataFormatError, match=r"a\.jsonl:2: expected UTF-8, got the byte 0xe9"):
        list(read_groups(path))
    assert len(list(read_groups(path, reading=Reading(on_error="skip")))) == 2
    path.write_bytes(line.decode().encode("utf-16"))
    with pytest.raises(DataFormatError, match="UTF-16: convert"):
        list(read_groups(path))


def test_a_damaged_gzip_file_is_named_with_the_line(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress(
        b"".join(json.dumps({"query": f"q{n}", "positive": os.urandom(40).hex()}).encode() + b"\n" for n in range(2000))
    )
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataFormatError, match="damaged") as caught:
        list(read_groups(path))
    assert caught.value.line > 100
    path.write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(DataFormatError, match="damaged"):
        list(read_groups(path))


def test_one_endless_line_is_never_held_in_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    good = json.dumps({"query": "q", "positive": "p"})
    with open(path, "w") as out:
        out.write(good + "\n")
        for _ in range(40):
            out.write("x" * 2**20)
        out.write("\n" + good + "\n")
    reading = Reading(on_error="skip", max_line_bytes=2**20)
    assert len(list(read_groups(path, reading=reading))) == 2
    assert reading.problems == [f"{path}:2: expected a line of at most 1048576 bytes, got a longer one."]


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_large_files_are_streamed(tmp_path, ending):
    path = tmp_path / f"large.{ending}"
    row = json.dumps({"query": "q", "positive": "p " * 2000})
    with open(path, "w") as out:
        out.write("[" if ending == "json" else "")
        for n in range(15_000):
            out.write((",\n" if ending == "json" and n else "") + row + ("\n" if ending == "jsonl" else ""))
        out.write("]" if ending == "json" else "")
    # A process of its own, whose address space is less than twice the file beyond what the imports take.
    code = (
        "import sys, resource; from semantic_ranker_training.data import read_groups; "
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20,) * 2); "
        "print(sum(1 for _ in read_groups(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "15000"
    assert path.stat().st_size > 55 * 2**20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "q"}', "a JSON list"),
        ('[{"query": "q", "positive": "p"}', "',' or ']'"),
        ('[{"query": "q", "positive": "p"} {', "',' or ']'"),
        ('[\n{"query": "q", "positive": "p"},\n{"query": ]', "JSON value"),
        ('[{"query": "q", "positive": "p"}] x', "nothing after"),
        ("", "a JSON list"),
        ("[" * 100_000, "nested less deeply|JSON value"),
    ],
)
def test_a_broken_json_list_is_named(tmp_path, content, message):
    path = tmp_path / "l.json"
    path.write_text(content)
    with pytest.raises(DataFormatError, match=message) as caught:
        list(read_groups(path, reading=Reading(on_error="skip")))
    assert caught.value.line == 1 + content.count("\n")


def test_samples_in_the_guides_forms(tmp_path):
    record = Record(query="q", document="d", label=1, score=0.5)
    found = as_groups([("a", "p", "n"), ("b", "x", 1), ("b", "y", 0.0), record, Triple("t", "p"), GROUPS[0]])
    assert found == [
        Group("a", ("p", "n"), (1.0, 0.0)),
        Group("b", ("x", "y"), (1.0, 0.0)),
        Group("q", ("d",), (1.0,), (0.5,)),
        Group("t", ("p",), (1.0,)),
        GROUPS[0],
    ]
    assert list(GROUPS[0].records())[1] == Record(query="how tall?", document="blue", label=0, score=1.0, source="a")
    assert list(group_records(GROUPS[0].records(), gather=True)) == [GROUPS[0]]


@pytest.mark.parametrize("samples", [[], [("q",)], ["text"], [3], [("q", "p", "p")], [("q", "d", -1)], [{}]])
def test_other_samples_are_refused(samples):
    with pytest.raises(InvalidInputError):
        as_groups(samples)


def test_the_sample_at_fault_is_named():
    with pytest.raises(InvalidInputError, match="Sample 1") as caught:
        as_groups([("q", "p", "n"), ("q", "p", float("nan"))])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    "parts",
    [
        ("q", (), ()),
        ("q", ("a",), (1.0, 0.0)),
        ("q", ("a",), (1.0,), (1.0, 2.0)),
        ("q", ("a",), (1.0,), (float("inf"),)),
        (" ", ("a",), (1.0,)),
        ("q", (1,), (1.0,)),
    ],
)
def test_groups_that_do_not_fit_are_refused(parts):
    with pytest.raises(InvalidInputError):
        Group(*parts)


def test_writing_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.jsonl"
    write_groups(path, GROUPS)
    before = path.read_bytes()

    def failing():
        yield GROUPS[0]
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        write_groups(path, failing())
    with pytest.raises(InvalidInputError, match="UTF-8"):
        write_groups(path, [Group("\ud800", ("a",), (1.0,))])
    with pytest.raises(InvalidInputError, match="form"):
        write_groups(path, GROUPS, form="other")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "folder").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="Cannot write"):
        write_groups(tmp_path / "folder" / "a.jsonl", GROUPS)


def test_a_disk_that_fills_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    write_groups(path, GROUPS)
    before = path.read_bytes()
    # A process of its own, whose files cannot grow beyond 64 KiB.
    code = (
        "import resource, signal, sys\n"
        "from semantic_ranker.errors import StorageError\n"
        "from semantic_ranker_training.data import Group, write_groups\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16,) * 2)\n"
        "try:\n"
        "    write_groups(sys.argv[1], (Group(str(n), ('text ' * 50,), (1.0,)) for n in range(1000)))\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "Cannot write" in done.stdout
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_settings_of_reading_are_checked():
    with pytest.raises(InvalidInputError, match="on_error"):
        Reading(on_error="ignore")
    with pytest.raises(InvalidInputError, match="max_line_bytes"):
        Reading(max_line_bytes=0)
