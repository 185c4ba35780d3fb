"""The feedback log survives crashes and several writers; its exports and figures are what reviewers said."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from semantic_ranker.cli import main
from semantic_ranker.collections import load_beir
from semantic_ranker.errors import EvaluationError, FeedbackLogError, InvalidInputError, StorageError
from semantic_ranker.evaluation import evaluate
from semantic_ranker.feedback import (
    FeedbackLog,
    Interaction,
    Retrieved,
    Review,
    Share,
    measure,
    to_judgments,
    to_pairs,
    write_judgments,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def shown(*ids):
    return tuple(Retrieved(id=name, score=float(len(ids) - place)) for place, name in enumerate(ids))


def asked(query="how do I reset my password", *, day=0, ids=("d1", "d2"), **others):
    return Interaction(query=query, time=START + timedelta(days=day), retrieved=shown(*ids), **others)


@pytest.fixture
def log(tmp_path):
    return FeedbackLog(tmp_path / "feedback.jsonl", sync=False)


def test_a_record_comes_back_as_it_was_written(log):
    written = log.append(
        asked(
            "¿cómo? \ud83d",
            answer="así\n",
            intent="access",
            review=Review(resolved=True, relevant=("d1",), irrelevant=("d2",), out_of_context=False),
            latency_ms={"retrieve": 12.5, "rerank": np.float32(3.0)},
            cache_hits=3,
            cache_misses=1,
            degraded=True,
            model="reranker-en 0.1.0",
        )
    )
    assert list(log) == [written]
    assert written.total_ms == 15.5
    record = json.loads(log.path.read_text())
    assert record["schema"] == 1
    assert record["time"] == "2026-01-01T00:00:00.000Z"
    assert record["cache"] == {"hits": 3, "misses": 1}
    assert record["retrieved"][0] == {"id": "d1", "score": 2.0}


def test_a_record_made_now_comes_back_equal(log):
    written = log.append(Interaction(query="now"))
    assert list(log) == [written]


def test_times_are_kept_in_utc_and_total_wins_over_the_sum():
    local = Interaction(query="q", time=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert local.time == START
    assert Interaction(query="q", latency_ms={"a": 1, "total": 5}).total_ms == 5
    assert Interaction(query="q").total_ms is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"query": 3}, "query to be a str"),
        ({"query": "q", "id": ""}, "id to be a str, got an empty one"),
        ({"query": "q", "time": datetime(2026, 1, 1)}, "time zone"),
        ({"query": "q", "intent": 4}, "intent to be a str"),
        ({"query": "q", "retrieved": ("d1",)}, "Retrieved objects"),
        ({"query": "q", "review": None}, "Retrieved objects"),
        ({"query": "q", "latency_ms": {"total": float("nan")}}, "finite"),
        ({"query": "q", "latency_ms": {"total": -1}}, "0 or more"),
        ({"query": "q", "latency_ms": {3: 1}}, "a stage"),
        ({"query": "q", "latency_ms": [1]}, "milliseconds by stage"),
        ({"query": "q", "latency_ms": {"a": "1"}}, "to be a number"),
        ({"query": "q", "cache_hits": -1}, "cache_hits"),
        ({"query": "q", "cache_misses": True}, "cache_misses"),
        ({"query": "q", "degraded": 1}, "degraded"),
    ],
)
def test_bad_values_are_refused_when_a_record_is_made(values, message):
    with pytest.raises(InvalidInputError, match=message):
        Interaction(**values)


def test_bad_reviews_and_documents_are_refused():
    with pytest.raises(InvalidInputError, match="both for 'd1'"):
        Review(relevant=("d1",), irrelevant=("d1",))
    with pytest.raises(InvalidInputError, match=r"review\.resolved"):
        Review(resolved="yes")
    with pytest.raises(InvalidInputError, match="list of document ids"):
        Review(relevant="d1")
    with pytest.raises(InvalidInputError, match="score to be finite"):
        Retrieved(id="d", score=float("inf"))
    with pytest.raises(InvalidInputError, match="score to be a number"):
        Retrieved(id="d", score="high")


def test_a_later_review_takes_the_place_of_the_first(log):
    first, second = log.append(asked()), log.append(asked())
    log.review(first.id, Review(resolved=False))
    log.review(first.id, Review(resolved=True, relevant=["d2"]))
    found = {item.id: item.review for item in log}
    assert found[first.id] == Review(resolved=True, relevant=("d2",))
    assert found[second.id].is_empty
    with pytest.raises(InvalidInputError):
        log.review("", Review())
    with pytest.raises(InvalidInputError):
        log.append({"query": "q"})


def test_a_query_that_looks_like_a_review_is_a_query(log):
    log.append(asked('{"kind":"review","id":"x"}'))
    assert [item.query for item in log] == ['{"kind":"review","id":"x"}']


def test_personal_data_is_redacted_before_anything_is_written(tmp_path):
    log = FeedbackLog(tmp_path / "log.jsonl", redact=lambda text: text.replace("ana@example.org", "[mail]"))
    written = log.append(asked("mail ana@example.org", answer="wrote to ana@example.org"))
    assert (written.query, written.answer) == ("mail [mail]", "wrote to [mail]")
    assert "ana@" not in log.path.read_text()


def _fails(text):
    raise KeyError(text)


@pytest.mark.parametrize(("hook", "message"), [(_fails, "KeyError"), (lambda text: None, "return a str")])
def test_a_redact_hook_that_fails_writes_nothing_and_tells_nothing(tmp_path, hook, message):
    log = FeedbackLog(tmp_path / "log.jsonl", redact=hook)
    with pytest.raises(InvalidInputError, match=message) as caught:
        log.append(asked("my secret"))
    assert "secret" not in str(caught.value)
    assert not log.path.exists()


def test_options_are_checked(tmp_path, log):
    for options in ({"max_bytes": 0}, {"keep": -1}, {"redact": "mask"}):
        with pytest.raises(InvalidInputError):
            FeedbackLog(tmp_path / "log", **options)
    with pytest.raises(InvalidInputError, match="time zone"):
        log.read(since=datetime(2026, 1, 1))
    with pytest.raises(InvalidInputError, match="on_error"):
        log.read(on_error="ignore")
    with pytest.raises(StorageError, match="found none"):
        list(log)
    with pytest.raises(StorageError, match="found none"):
        list(FeedbackLog(tmp_path / "no" / "folder" / "log.jsonl"))


def test_parts_are_rotated_by_size_and_read_in_order(tmp_path):
    log = FeedbackLog(tmp_path / "log.jsonl", max_bytes=1000, sync=False)
    written = [log.append(asked(str(number))) for number in range(20)]
    log.review(written[0].id, Review(resolved=True))
    assert len(log.parts()) > 5
    assert all(part.stat().st_size <= 1000 for part in log.parts())
    assert [item.query for item in log] == [str(number) for number in range(20)]
    assert next(iter(log)).review.resolved
    assert log.parts()[0].name == "log.000001.jsonl"


def test_only_the_parts_to_keep_are_kept(tmp_path):
    log = FeedbackLog(tmp_path / "log.jsonl", max_bytes=1000, keep=2, sync=False)
    for number in range(20):
        log.append(asked(str(number)))
    assert len(log.parts()) == 2
    queries = [int(item.query) for item in log]
    assert queries == list(range(queries[0], 20))


def test_a_rotation_while_somebody_reads_loses_and_repeats_nothing(tmp_path):
    log = FeedbackLog(tmp_path / "log.jsonl", max_bytes=2000, sync=False)
    for number in range(10):
        log.append(asked(str(number)))
    reading = iter(log.read())
    found = [next(reading).query]
    for number in range(10, 30):
        log.append(asked(str(number)))
    found += [item.query for item in reading]
    assert found == [str(number) for number in range(30)]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_cut_anywhere_by_a_crash_is_counted_and_the_next_is_whole(log, cut):
    log.append(asked("one"))
    whole = asked("¿dos? {[", answer='"\\', review=Review(resolved=True)).to_json()
    with log.path.open("a") as stream:
        stream.write(whole[: len(whole) * cut // 12])
    log.append(asked("three"))
    reading = log.read()
    assert [item.query for item in reading] == ["one", "three"]
    assert (reading.torn, reading.damaged, reading.records) == (1, 0, 2)


def test_zeros_that_a_power_cut_leaves_are_counted(log):
    log.append(asked("one"))
    with log.path.open("ab") as stream:
        stream.write(b"\x00" * 100)
    log.append(asked("two"))
    reading = log.read()
    assert [item.query for item in reading] == ["one", "two"]
    assert reading.torn == 1


def test_a_killed_writer_loses_at_most_its_last_record(tmp_path):
    path = tmp_path / "log.jsonl"
    code = (
        "import os, signal, sys; from semantic_ranker import _files; from semantic_ranker.feedback import *\n"
        "log = FeedbackLog(sys.argv[1]); log.append(Interaction(query='kept'))\n"
        "real = os.write\n"
        "def cut(descriptor, content):\n"
        "    real(descriptor, content[:40]); os.kill(os.getpid(), signal.SIGKILL)\n"
        "_files.os.write = cut; log.append(Interaction(query='lost'))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    log = FeedbackLog(path)
    log.append(asked("after"))
    reading = log.read()
    assert [item.query for item in reading] == ["kept", "after"]
    assert reading.torn == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not JSON", "Expected JSON"),
        ("[1]", "Expected a JSON object, got list"),
        ('{"schema": 9, "id": "a"}', "Expected schema 1, got 9"),
        ('{"schema": 1, "id": "a", "time": "2026-01-01T00:00:00Z"}', "'query' to be a str"),
        ('{"schema": 1, "id": "a", "time": "soon", "query": "q"}', "Expected a time"),
        ('{"schema": 1, "id": "a", "time": "2026-01-01", "query": "q", "retrieved": [{"id": "d"}]}', "id and a score"),
        ('{"schema": 1, "id": "a", "time": "2026-01-01", "query": "q", "retrieved": "d"}', "to be a list"),
        ('{"schema": 1, "kind": "review", "id": "a"}', "Expected a review"),
        ('{"schema": 1, "kind": "review", "id": "a", "review": {"resolved": 3}}', "resolved"),
        ("[" * 100_000 + "]" * 100_000, "Expected JSON"),
    ],
)
def test_a_damaged_line_is_an_error_with_its_number_or_is_counted(log, line, message):
    log.append(asked("one"))
    with log.path.open("a") as stream:
        stream.write(line + "\n")
    log.append(asked("two"))
    with pytest.raises(FeedbackLogError, match=message) as caught:
        list(log)
    assert caught.value.line == 2
    assert caught.value.path == str(log.path)
    assert "line 2" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).line == 2
    reading = log.read(on_error="skip")
    assert [item.query for item in reading] == ["one", "two"]
    assert (reading.torn, reading.damaged) == (0, 1)


def test_a_period_can_be_read(log):
    for day in range(5):
        log.append(asked(str(day), day=day))
    found = log.read(since=START + timedelta(days=1), until=START + timedelta(days=3))
    assert [item.query for item in found] == ["1", "2"]


def _write_many(path, mark):
    log = FeedbackLog(path, max_bytes=20_000, sync=False)
    for number in range(100):
        log.append(Interaction(query=f"{mark}{number}"))


def test_processes_and_threads_write_and_rotate_together(tmp_path):
    path = tmp_path / "log.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, mark)) for mark in "ab"]
    writers += [threading.Thread(target=_write_many, args=(path, mark)) for mark in "cd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log = FeedbackLog(path)
    assert len(log.parts()) >= 3
    reading = log.read()
    assert sorted(item.query for item in reading) == sorted(f"{m}{n}" for m in "abcd" for n in range(100))
    assert reading.torn == 0


def test_reviews_become_judged_queries(tmp_path):
    items = [
        asked("Reset  password", ids=("d1", "d2", "d3"), review=Review(relevant=("d1", "d3"), irrelevant=("d2",))),
        asked("reset PASSWORD", ids=("d2", "d1"), review=Review(relevant=("d1",), irrelevant=("d3",))),
        asked("unjudged"),
        asked("  ", review=Review(relevant=("d1",))),
        asked("lunch", review=Review(relevant=("d9",))),
        asked("tie", review=Review(relevant=("d1",))),
        asked("tie", review=Review(irrelevant=("d1",))),
    ]
    found = to_judgments(items)
    reset, lunch = found.queries
    assert found.queries == {reset: "Reset password", lunch: "lunch"}
    assert found.qrels == {reset: {"d1": 1, "d2": 0}, lunch: {"d9": 1}}
    assert found.conflicts == 2  # d3 of the first query, d1 of the last
    assert found.run[reset] == {"d2": 2.0, "d1": 1.0}
    assert evaluate(found.run, found.qrels, "RR@10").mean["RR@10"] == pytest.approx(0.25)


def test_judged_queries_are_written_as_a_collection(tmp_path):
    found = to_judgments([asked("q \ud83d", review=Review(relevant=("d1",), irrelevant=("d 2",)))])
    write_judgments(found, tmp_path / "beir", {"d1": "one", "d 2": "two", "d3": "three"})
    collection = load_beir(tmp_path / "beir")
    assert collection.qrels == found.qrels
    assert collection.corpus == {"d1": "one", "d 2": "two", "d3": "three"}
    assert list(collection.queries.values()) == ["q ?"]
    with pytest.raises(InvalidInputError, match="no text for 'd1'"):
        write_judgments(found, tmp_path / "beir", {"d 2": "two"})
    with pytest.raises(EvaluationError, match="got none"):
        write_judgments(to_judgments([asked()]), tmp_path / "beir")
    with pytest.raises(EvaluationError, match="column"):
        write_judgments(to_judgments([asked(review=Review(relevant=("a\tb",)))]), tmp_path / "beir")


def test_reviews_become_training_pairs_and_silence_is_no_negative():
    items = [asked("q", ids=("d1", "d2", "d3", "d4"), review=Review(relevant=("d1", "d4"), irrelevant=("d2",)))]
    pairs = list(to_pairs(items, {"d1": "one", "d2": "two", "d3": "three"}))
    assert [(pair.query, pair.positive, pair.negatives) for pair in pairs] == [("q", "one", ("two",))]
    with pytest.raises(InvalidInputError, match="belong together"):
        list(to_pairs(items, {"x": "one"}))
    assert list(to_pairs([asked()], {})) == []


def test_the_figures_of_a_log():
    items = [
        asked(
            intent="access",
            review=Review(resolved=number < 3, relevant=("d1",), irrelevant=("d2",), out_of_context=number == 0),
            latency_ms={"rerank": 10.0 * (number + 1)},
            cache_hits=1,
            cache_misses=3,
        )
        for number in range(4)
    ]
    items += [asked(day=2, review=Review(relevant=("d1", "elsewhere")), degraded=True), asked(day=1)]
    found = measure(items)
    assert (found.interactions, found.first, found.last) == (6, "2026-01-01T00:00:00.000Z", "2026-01-03T00:00:00.000Z")
    assert found.resolution == Share.make(3, 4)
    assert found.out_of_context == Share.make(1, 4)
    assert found.reviewed == Share.make(5, 6)
    assert found.precision == Share.make(5, 9)  # what was not shown does not count
    assert found.by_intent["access"].precision.value == 0.5
    assert found.by_intent["(none)"].interactions == 2
    assert found.by_intent["(none)"].resolution.value is None
    assert found.latency["total"].p50 == 25.0
    assert found.latency["rerank"].count == 4
    assert found.cache == Share.make(4, 16)
    assert found.degraded.count == 1


def test_wilson_interval():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263.
    share = Share.make(81, 263)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)
    assert Share.make(0, 0) == Share(count=0, of=0, value=None, low=0.0, high=1.0)


def test_metrics_command(log, capsys):
    log.append(asked(intent="a\x1b[31mccess", latency_ms={"rerank": 5.0}, review=Review(resolved=True)))
    with log.path.open("a") as stream:
        stream.write('{"schema":1,"que\nnot JSON\n')
    assert main(["feedback", "metrics", str(log.path)]) == 2
    assert "line 3" in capsys.readouterr().err
    assert main(["feedback", "metrics", str(log.path), "--skip-damaged"]) == 0
    captured = capsys.readouterr()
    assert "automatic resolution     1.000" in captured.out
    assert "\x1b" not in captured.out
    assert "1 lines that a crash cut short and 1 damaged" in captured.err
    assert main(["feedback", "metrics", str(log.path), "--skip-damaged", "--json", "--since", "2027-01-01"]) == 0
    assert json.loads(capsys.readouterr().out)["interactions"] == 0
    assert main(["feedback", "metrics", str(log.path), "--since", "soon"]) == 2
    assert main(["feedback", "metrics", str(log.path.parent / "none.jsonl")]) == 1
    assert "found none" in capsys.readouterr().err


def test_export_command(log, tmp_path, capsys):
    log.append(asked("q", review=Review(relevant=("d1",), irrelevant=("d2",))))
    log.append(asked("tie", review=Review(relevant=("d1",))))
    log.append(asked("tie", review=Review(irrelevant=("d1",))))
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "text": "second"}\n')
    arguments = ["feedback", "export", str(log.path), "--out"]
    assert main([*arguments, str(tmp_path / "beir"), "--corpus", str(corpus)]) == 0
    assert "Wrote 1 queries with 2 judgments" in (out := capsys.readouterr().out)
    assert "1 documents on which the reviews disagree" in out
    assert load_beir(tmp_path / "beir").corpus["d1"] == "One first"
    assert main([*arguments, str(tmp_path / "pairs.jsonl"), "--as", "pairs", "--corpus", str(corpus)]) == 0
    row = json.loads((tmp_path / "pairs.jsonl").read_text())
    assert row == {"query": "q", "positive": "One first", "negatives": ["second"], "source": "feedback"}
    assert main([*arguments, str(tmp_path / "p"), "--as", "pairs"]) == 2
    assert "--corpus" in capsys.readouterr().err


def test_the_log_in_a_place_that_cannot_be_read(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    log = FeedbackLog(tmp_path / "log.jsonl")
    with pytest.raises(StorageError):
        list(log)
    with pytest.raises(StorageError):
        log.append(asked())
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        list(FeedbackLog(tmp_path / "file" / "log.jsonl"))
    assert os.listdir(tmp_path / "log.jsonl") == []
