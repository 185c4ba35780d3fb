"""Pairs come from real files and real packages, and broken lines are named."""

import gzip
import json

import pytest

from semantic_ranker import InvalidInputError
from semantic_ranker_training.config import SourceConfig
from semantic_ranker_training.pairs import docstring_pairs, load_source, read_pairs

ROWS = [{"source": "a" if n % 2 else "b", "query": f"query {n}", "positive": f"passage {n // 3}"} for n in range(30)]


@pytest.fixture
def folder(tmp_path):
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in ROWS)
    return tmp_path


def test_one_source_of_a_gzipped_file(folder):
    found = list(read_pairs(folder / "pairs.jsonl.gz", "a"))
    assert found == [(row["query"], row["positive"]) for row in ROWS if row["source"] == "a"]


def test_a_sample_is_repeatable_and_consistent(folder):
    config = SourceConfig(file="pairs.jsonl.gz", source="b", passages=4, queries=6)
    first, second = (load_source(config, folder, seed=1) for _ in range(2))
    assert first == second
    assert len(first.passages) == 4
    truth = {row["query"]: row["positive"] for row in ROWS}
    assert all(truth[query] == first.passages[row] for query, row in zip(first.queries, first.positives, strict=True))
    assert load_source(config, folder, seed=2) != first


@pytest.mark.parametrize("line", ["{broken", '{"query": "q"}', '{"query": 1, "positive": "p"}', "[]"])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(InvalidInputError, match=r"Line 2 of pairs\.jsonl"):
        list(read_pairs(path))


def test_an_absent_file_and_an_empty_source_are_refused(folder):
    with pytest.raises(InvalidInputError, match="found nothing"):
        list(read_pairs(folder / "none.jsonl"))
    with pytest.raises(InvalidInputError, match="no pairs of source 'z'"):
        load_source(SourceConfig(file="pairs.jsonl.gz", source="z", passages=1, queries=1), folder, seed=0)


def test_docstrings_of_an_installed_package_leave_their_summary():
    pairs = list(docstring_pairs(["networkx"], seed=0))
    assert len(pairs) > 100
    assert all("def " in code for _, code in pairs)
    assert not [summary for summary, code in pairs if summary in code]
    assert pairs == list(docstring_pairs(["networkx"], seed=0))


def test_a_package_that_is_not_installed_is_refused():
    with pytest.raises(InvalidInputError, match="installed package 'no_such_package_here'"):
        list(docstring_pairs(["no_such_package_here"], seed=0))
