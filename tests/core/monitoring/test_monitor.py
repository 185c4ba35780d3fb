"""What the monitor makes of a log: days, judgments, signals that are not known, and the command."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from semantic_ranker.cli import main
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.feedback import FeedbackLog, Interaction, Retrieved, Review
from semantic_ranker.monitoring import Monitor, Rules, by_day, hashed_words

START = datetime(2026, 1, 5, tzinfo=UTC)


def asked(day, query="how do I reset my password", *, ids=("d1", "d2"), **others):
    shown = tuple(Retrieved(id=name, score=1.0) for name in ids)
    return Interaction(query=query, time=START + timedelta(days=day), retrieved=shown, **others)


@pytest.fixture(scope="module")
def falling(traffic_of):
    return list(traffic_of(5).year(days=50, a_day=60, shift="quality", shift_day=42))


def test_days_are_utc_and_ndcg_follows_the_order_shown():
    items = [
        asked(1, ids=("d2", "d1"), review=Review(relevant=("d1",))),
        asked(0, review=Review(relevant=("d1",))),
        asked(0, review=Review(irrelevant=("d1", "d2"))),
        asked(0, review=Review(irrelevant=("d1",))),
        asked(0, ids=(), latency_ms={"a": 3.0}),
    ]
    first, second = by_day(items, hashed_words)
    assert (first.date.isoformat(), first.interactions) == ("2026-01-05", 4)
    assert sorted(first.ndcg) == [0.0, 1.0]  # one irrelevant document alone says nothing of the answer
    assert second.ndcg == (pytest.approx(1 / np.log2(3)),)
    assert first.top_scores.tolist() == [1.0, 1.0, 1.0]
    assert first.documents == {"d1": 3, "d2": 3}
    assert first.latency_p95_ms == 3.0
    assert second.latency_p95_ms is None
    assert by_day([], hashed_words) == []


def test_a_judged_set_judges_logged_queries_and_a_review_comes_first():
    judged = {"how do I  RESET my password": {"d2": 1}}
    days = by_day([asked(0), asked(0, review=Review(relevant=("d1",), irrelevant=("d2",)))], hashed_words, judged)
    assert days[0].ndcg == (pytest.approx(1 / np.log2(3)), 1.0)


@pytest.mark.parametrize("vectors", [np.ones((2, 3)), np.ones(1), np.full((1, 2), np.nan)])
def test_an_embedder_that_gives_something_else_is_refused(vectors):
    with pytest.raises(InvalidInputError, match="one finite vector"):
        by_day([asked(0)], lambda texts: vectors)


def test_each_query_is_embedded_once():
    seen = []

    def embed(texts):
        seen.extend(texts)
        return hashed_words(texts)

    by_day([asked(0), asked(1), asked(1, "lunch")], embed)
    assert sorted(seen) == ["how do I reset my password", "lunch"]


def test_signals_that_the_log_does_not_tell_are_unknown_and_say_what_to_log():
    days = by_day([Interaction(query="q", time=START + timedelta(days=day)) for day in range(35)], hashed_words)
    report = Monitor(days[:28]).look(days[28:])
    assert report.verdict == "keep"
    assert {signal.name for signal in report.signals if signal.state == "unknown"} == {
        "nDCG@10",
        "scores",
        "new documents",
        "cache",
        "latency p95",
    }
    assert "review answers" in report["nDCG@10"].reason
    assert report.reasons == []
    with pytest.raises(KeyError):
        report["nonsense"]


def test_too_few_days_and_windows_that_overlap_are_refused():
    days = by_day([asked(day) for day in range(40)], hashed_words)
    with pytest.raises(InvalidInputError, match="for a window of 7 days, got 5"):
        Monitor(days[:5])
    monitor = Monitor(days[:28])
    with pytest.raises(InvalidInputError, match="got none"):
        monitor.look([])
    with pytest.raises(InvalidInputError, match="in both"):
        monitor.look(days[25:32])


def test_a_change_below_its_limit_is_to_be_watched(falling):
    days = by_day(falling, hashed_words)
    assert Monitor(days[:28]).look(days[-7:])["nDCG@10"].state == "retrain"
    report = Monitor(days[:28], Rules(ndcg_drop=0.9)).look(days[-7:])
    assert report["nDCG@10"].state == "watch"
    assert report.verdict == "watch"


def test_reports_are_the_same_each_time(falling):
    days = by_day(falling, hashed_words)
    assert Monitor(days[:28]).look(days[-7:]) == Monitor(days[:28]).look(days[-7:])


def test_documents_that_are_new_every_day_are_no_news_and_more_of_them_are():
    def shown(day, once):
        return (*(str(number) for number in range(120)), *(f"{day}-{number}" for number in range(once)))

    def look(once_in_window):
        days = by_day(
            [asked(day, ids=shown(day, 120 if day < 28 else once_in_window)) for day in range(35)], hashed_words
        )
        return Monitor(days[:28]).look(days[28:])["new documents"]

    # More than two thousand documents were shown on one day only: a sample of them tells the share.
    usual = look(120)
    assert usual.current == pytest.approx(0.5, abs=0.05)
    assert usual.state == "keep"
    more = look(480)
    assert more.current == pytest.approx(0.8, abs=0.05)
    assert more.baseline == pytest.approx(0.6, abs=0.05)  # over random windows, of which some hold newer days
    assert more.state == "retrain"


@pytest.fixture(scope="module")
def log(falling, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "feedback.jsonl"
    log = FeedbackLog(path, sync=False)
    for item in falling:
        log.append(item)
    return str(path)


def test_the_command_says_retrain_with_its_reason_and_status(log, capsys):
    assert main(["monitor", log]) == 4
    out = capsys.readouterr().out
    assert out.startswith("RETRAIN\n")
    assert "retrain  nDCG@10 changed" in out
    assert "2025-02-17 to 2025-02-23" in out  # the last day of a living log is not over


def test_the_command_says_keep_and_watch(log, capsys):
    before = ["monitor", log, "--baseline", "2025-01-06..2025-02-02", "--at", "2025-02-16"]
    assert main([*before, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["embedder"]) == ("keep", "words")
    assert report["baseline"] == ["2025-01-06", "2025-02-02"]
    assert main(["monitor", log, "--rule", "ndcg_drop=0.9"]) == 3
    assert capsys.readouterr().out.startswith("WATCH\n")


def test_the_command_takes_another_log_as_baseline_and_writes_a_page(log, tmp_path, capsys):
    pytest.importorskip("jinja2")
    page = tmp_path / "page.html"
    assert main(["monitor", log, "--baseline", log, "--html", str(page), "--at", "2025-02-23"]) == 2
    assert "in both" in capsys.readouterr().err
    other = tmp_path / "other.jsonl"
    lines = Path(log).read_text().splitlines()
    other.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["time"] < "2025-02-10"))
    assert main(["monitor", log, "--baseline", str(other), "--html", str(page)]) == 4
    html = page.read_text()
    assert "Model health: retrain" in html
    assert "drop of" in html


def test_the_command_embeds_queries_with_the_bundled_embedder(log, capsys):
    assert main(["monitor", log, "--embedder", "bundled", "--json"]) == 4
    report = json.loads(capsys.readouterr().out)
    assert report["embedder"] == "bundled"
    assert next(signal for signal in report["signals"] if signal["name"] == "queries")["state"] == "keep"


def test_the_command_judges_by_a_collection(falling, log, tmp_path, capsys):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    texts = {item.query: item.review.relevant[0] for item in falling if item.review.relevant}
    rows = [f"q{number}\t{document}\t1\n" for number, document in enumerate(texts.values())]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{number}", "text": text}) + "\n" for number, text in enumerate(texts))
    )
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "x"}\n')
    assert main(["monitor", log, "--judged", str(folder), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["signals"][0]["state"] == "retrain"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "ndcg_dorp=0.1"], "did you mean 'ndcg_drop'"),
        (["--rule", "ndcg_drop=much"], "Expected a number"),
        (["--rule", "zzz"], "there are: baseline_days"),
        (["--at", "yesterday"], "Expected a day"),
        (["--baseline", "2025-02-02..2025-01-06"], "in that order"),
        (["--baseline", "2025-01-06..2025-01-08"], "Expected a baseline of"),
        (["--at", "2024-01-01"], "days with traffic in the window, got none"),
    ],
)
def test_mistakes_of_the_command_are_one_line_and_exit_2(log, capsys, arguments, message):
    assert main(["monitor", log, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_an_empty_log_is_refused(tmp_path, capsys):
    (tmp_path / "log.jsonl").write_text("")
    assert main(["monitor", str(tmp_path / "log.jsonl")]) == 2
    assert "got none" in capsys.readouterr().err


@pytest.fixture(scope="module")
def week_of(traffic_of):
    """Give the days of four good weeks, and of a fifth in which nDCG@10 falls on day ``shift_day``."""

    def make(shift_day):
        stream = traffic_of(6).year(a_day=60, shift="quality", shift_day=shift_day, days=36)
        return by_day(stream, hashed_words)

    return make


def test_a_fall_surely_above_its_limit_is_to_be_watched_before_it_says_retrain(week_of):
    days = week_of(28)
    report = Monitor(days[:28]).look(days[28:35])
    signal = report["nDCG@10"]
    assert report.verdict == "watch"
    assert signal.p_value > report.alpha
    assert signal.limit_p_value < report.watch_alpha
    assert "changed, not yet so surely that it says retrain, from" in signal.reason
    assert report.reasons == [signal.reason]
    # Whoever wants fewer words of warning, or allows more of a fall, is not warned of this one.
    assert Monitor(days[:28], Rules(false_watch_rate=1e-7)).look(days[28:35]).verdict == "keep"
    assert Monitor(days[:28], Rules(ndcg_drop=0.2)).look(days[28:35]).verdict == "keep"


def test_the_command_exits_with_3_for_a_fall_that_is_to_be_watched(traffic_of, tmp_path, capsys):
    pytest.importorskip("jinja2")
    log = FeedbackLog(tmp_path / "log.jsonl", sync=False)
    for item in traffic_of(6).year(a_day=60, shift="quality", shift_day=28, days=36):
        log.append(item)
    page = tmp_path / "page.html"
    assert main(["monitor", str(tmp_path / "log.jsonl"), "--html", str(page)]) == 3
    out = capsys.readouterr().out
    assert out.startswith("WATCH\n")
    assert "watch    nDCG@10 changed, not yet so surely" in out
    assert "Model health: watch" in page.read_text()


def test_a_large_change_that_is_not_proved_is_not_called_unchanged(week_of):
    days = week_of(31)
    signal = Monitor(days[:28]).look(days[28:35])["nDCG@10"]
    assert signal.state == "keep"
    assert signal.change > signal.threshold
    assert "nDCG@10 may have changed from" in signal.reason
    assert "unchanged" not in signal.reason
