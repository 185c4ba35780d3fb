"""evaluate, compare and report as people use them."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from semantic_ranker import evaluate
from semantic_ranker.cli import main
from semantic_ranker.collections import read_run, write_run

CANARY = "<script>window.pwned=1</script>"
TOPICS = ["password", "lunch", "travel", "printer", "holiday", "salary", "parking", "laptop"]


@pytest.fixture
def beir(tmp_path):
    """A collection with hostile ids and texts, in which query i has one relevant document."""
    folder = tmp_path / "staff"
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        (f"d{i}", f"All about the {topic}: how the {topic} works." + " More." * 40 * (i % 3))
        for i, topic in enumerate(TOPICS)
    ]
    corpus.append((f"d{CANARY}", f"nothing {CANARY}"))
    queries = [
        (f"q{i}{CANARY}", f"how does the {topic} work {CANARY}" + " please" * i) for i, topic in enumerate(TOPICS)
    ]
    lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in corpus]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": key, "text": text}) for key, text in queries))
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{qid}\td{i}\t1\n" for i, (qid, _) in enumerate(queries))
    )
    return folder


@pytest.fixture
def runs(beir, tmp_path):
    """Two TREC runs: the second is better on all but one query."""
    qids = [json.loads(line)["_id"] for line in (beir / "queries.jsonl").read_text().splitlines()]
    others = [f"d{i}" for i in range(8)]
    ranks = {"a": [3, 2, 3, 2, 1, 3, 2, 2], "b": [1, 1, 2, 1, 2, 1, 1, 1]}
    for name, places in ranks.items():
        run = {}
        for i, (qid, place) in enumerate(zip(qids, places, strict=True)):
            rest = [d for d in others if d != f"d{i}"]
            rest.insert(place - 1, f"d{i}")
            run[qid] = {d: 0.9 - 0.1 * rank for rank, d in enumerate(rest)}
        write_run(tmp_path / f"{name}.trec", run)
    return str(tmp_path / "a.trec"), str(tmp_path / "b.trec")


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.tags, self.events, self.text = [], [], ""
        self.html = path.read_text("utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.events += [name for name, value in attrs if name.startswith("on") or "javascript:" in str(value)]

    def handle_data(self, data):
        self.text += data

    def is_safe(self):
        return "script" not in self.tags and "img" not in self.tags and not self.events


def test_evaluate_prints_what_the_library_measures(beir, runs, capsys):
    assert main(["evaluate", *runs, "--data", str(beir), "--metrics", "mrr@10", "hit_rate@1"]) == 0
    out = capsys.readouterr().out
    expected = evaluate(runs[1], beir, ["RR@10", "Success@1"]).mean
    row = next(line for line in out.splitlines() if line.startswith("b") and "RR@10" in line)
    assert f"{expected['RR@10']:.4f}" in row
    assert f"{expected['Success@1']:.4f}" in out
    assert "8 judged queries of staff" in out


def test_evaluate_says_which_queries_are_missing_or_not_judged(beir, runs, tmp_path, capsys):
    run = read_run(runs[0])
    write_run(tmp_path / "part.trec", dict(list(run.items())[:5]) | {"q99": {"d1": 1.0}})
    assert main(["evaluate", str(tmp_path / "part.trec"), "--data", str(beir)]) == 0
    out = capsys.readouterr().out
    assert "part: 3 judged queries without results, which count as zero" in out
    assert "part: 1 queries without judgments, which were left out" in out


def test_evaluate_prints_json_for_machines(beir, runs, capsys):
    assert (
        main(["evaluate", f"mine={runs[0]}", "--data", str(beir / "qrels" / "test.tsv"), "--json", "--per-query"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["queries"] == 8
    mine = found["systems"]["mine"]
    assert mine["intervals"]["RR@10"][0] <= mine["mean"]["RR@10"] <= mine["intervals"]["RR@10"][1]
    assert len(mine["per_query"]["nDCG@10"]) == 8


def test_a_model_reranks_and_its_run_can_be_kept(beir, tmp_path, capsys):
    kept = tmp_path / "kept.trec"
    data = ["--data", str(beir), "--metrics", "mrr@10", "--depth", "5"]
    assert main(["evaluate", "bundled", *data, "--save-run", str(kept), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]["bundled"]
    metric = found["rerank"]["metrics"][0]
    assert metric["ceiling"] >= metric["reranked"] == found["mean"]["RR@10"]
    assert found["rerank"]["candidates"] <= 5
    assert found["rerank"]["from"] == "BM25, top 5"
    assert evaluate(read_run(kept), beir, "mrr@10").mean["RR@10"] == pytest.approx(found["mean"]["RR@10"])
    assert main(["evaluate", "bundled", *data, "--candidates", str(kept)]) == 0
    out = capsys.readouterr().out
    assert "bundled reranks kept.trec, top 5:" in out
    assert "ceiling" in out


def test_a_model_folder_and_bm25_are_systems_too(beir, capsys):
    from importlib import resources

    folder = resources.files("semantic_ranker") / "models" / "reranker-en"
    assert main(["compare", "bm25", str(folder), "--data", str(beir), "--metrics", "mrr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["baseline"], list(found["systems"])) == ("bm25", ["reranker-en"])
    assert found["systems"]["reranker-en"]["queries"] == 8


def test_compare_says_how_sure_it_is_and_where(beir, runs, capsys):
    arguments = ["compare", *runs, "--data", str(beir), "--metrics", "mrr@10", "--show", "2", "--by", "query-length"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "A a, B b" in out
    assert "8-15 words" in out
    lines = out.splitlines()
    worst = lines.index("B loses most in RR@10")
    assert lines[worst + 1].strip().startswith("-0.5000")
    assert "salary" not in lines[worst + 1]
    assert "holiday" in lines[worst + 1]
    assert len([line for line in lines if line.startswith("  +")]) == 2


def test_compare_prints_json_with_every_query_and_slice(beir, runs, tmp_path, capsys):
    sources = tmp_path / "sources.json"
    sources.write_text(json.dumps({f"d{i}": "wiki" if i < 4 else "manual\x1b[31m" for i in range(8)}))
    arguments = ["compare", runs[0], f"better={runs[1]}", f"same={runs[0]}", "--data", str(beir), "--json"]
    assert main([*arguments, "--by", str(sources), "--by", "passage-length"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"]
    assert set(found) == {"better", "same"}
    assert len(found["better"]["metrics"][0]["per_query"]) == 8
    labels = [of["label"] for of in found["better"]["slices"]["sources"]["slices"]]
    assert labels == ["wiki", "manual\ufffd[31m"]
    assert found["same"]["metrics"][0]["difference"] == 0


def test_pages_hold_every_section_and_no_script(beir, runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    hostile = f"<script>alert(1)<script>={runs[1]}"
    assert main(["compare", runs[0], hostile, "--data", str(beir), "--html", str(page)]) == 0
    seen = Page(page)
    assert seen.is_safe()
    assert seen.text.count("<script>") > 10
    for heading in ("Scores", "against a", "Score distributions", "Reliability of the scores", "How this was measured"):
        assert heading in seen.text
    assert seen.tags.count("svg") >= 6
    assert "how does the holiday work <script>window.pwned=1</script>" in seen.text
    assert main(["evaluate", "bundled", "--data", str(beir), "--depth", "3", "--html", str(page)]) == 0
    assert Page(page).is_safe()
    assert "Latency" in Page(page).text
    capsys.readouterr()


def test_a_report_shows_a_training_run(beir, runs, tmp_path, capsys):
    checkpoints = tmp_path / "run" / "trainer"
    for step in (10, 20):
        (checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        history = [{"step": n, "loss": 1 / n, "eval_nDCG@10": n / 100} for n in range(5, step + 1, 5)]
        (checkpoints / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    page = tmp_path / "page.html"
    training = ["--training", str(tmp_path / "run"), "--out", str(page)]
    assert main(["report", *runs, "--data", str(beir), *training]) == 0
    assert capsys.readouterr().out.startswith(f"Wrote {page}")
    assert "training run of 4 log entries" in Page(page).html
    assert main(["report", *training]) == 0
    alone = Page(page)
    assert alone.tags.count("svg") == 1
    assert "Training" in alone.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "none.trec", "--data", "{beir}"], "which is not there"),
        (["evaluate", "{a}", "--data", "none"], "got nothing there"),
        (["evaluate", "{a}", "--data", "{beir}", "--metrics", "ndgc@10"], "did you mean 'nDCG@10'"),
        (["evaluate", "{a}", "--data", "{beir}", "--metrics", "ndcg@0"], "1 or more"),
        (["evaluate", "{a}", "--data", "{beir}", "--split", "dev"], "splits there: test"),
        (["evaluate", "bm25", "--data", "{beir}/qrels/test.tsv"], "Expected a BEIR folder"),
        (["evaluate", "{a}", "{a}", "--data", "{beir}"], "different names"),
        (["evaluate", "{a}", "{b}", "--data", "{beir}", "--save-run", "x"], "one system"),
        (["evaluate", "{beir}", "--data", "{beir}"], "config.json"),
        (["compare", "{a}", "{b}", "--data", "{beir}", "--by", "colour"], "query-length"),
        (["compare", "{a}", "{b}", "--data", "{beir}", "--by", "{beir}/qrels/test.tsv"], "query-length"),
        (
            ["compare", "{a}", "{b}", "--data", "{beir}/qrels/test.tsv", "--by", "query-length"],
            "Expected a BEIR folder",
        ),
        (["report", "--out", "x.html"], "nothing to report"),
        (["report", "{a}", "--out", "x.html"], "nothing to report"),
        (["report", "--training", "{beir}", "--out", "x.html"], "log of a training run"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(beir, runs, capsys, arguments, says):
    given = [word.format(beir=beir, a=runs[0], b=runs[1]) for word in arguments]
    assert main(given) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_run_of_another_collection_is_refused(beir, tmp_path, capsys):
    qids = [json.loads(line)["_id"] for line in (beir / "queries.jsonl").read_text().splitlines()]
    write_run(tmp_path / "foreign.trec", {qid: {"elsewhere": 1.0} for qid in qids})
    assert main(["evaluate", str(tmp_path / "foreign.trec"), "--data", str(beir)]) == 2
    assert "documents of the collection, got 'elsewhere'" in capsys.readouterr().err


def test_a_hundred_thousand_queries_need_bounded_memory_and_make_a_small_page(tmp_path):
    rng = np.random.default_rng(0)
    count, depth = 100_000, 2
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\td{n % 999}\t1\n" for n in range(count)))
    for name in "ab":
        scores = np.sort(rng.random((count, depth)), axis=1)[:, ::-1]
        places = rng.integers(0, depth + 1, count)
        with open(tmp_path / f"{name}.trec", "w") as file:
            for n in range(count):
                for rank in range(depth):
                    document = f"d{n % 999}" if rank == places[n] else f"x{rank}"
                    file.write(f"q{n} Q0 {document} {rank + 1} {scores[n, rank]:.5f} t\n")
    page = tmp_path / "page.html"
    program = (
        # Not ru_maxrss: a new program inherits it from the process that started it.
        "import re, sys; from semantic_ranker.cli import main; status = main(sys.argv[1:]);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(status)"
    )
    systems = [str(tmp_path / "a.trec"), str(tmp_path / "b.trec")]
    arguments = ["report", *systems, "--data", str(tmp_path / "qrels.tsv"), "--metrics", "nDCG@10", "--out", str(page)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 900_000  # kB on Linux
    assert page.stat().st_size < 1_000_000
    seen = Page(page)
    assert "the other 99,975 are not listed" in seen.text
    assert seen.tags.count("tr") < 200
