"""The production checklist runs what it says: each line passes for a sound model and fails for a broken one."""

import hashlib
import json
import os
import shutil
import sys

import pytest

from semantic_ranker.cli import main
from semantic_ranker.collections import load_beir
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.feedback import FeedbackLog, Interaction
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker.production import Needs, check_production, lines
from semantic_ranker.production.probes import Order
from semantic_ranker.registry import ModelRegistry, read_entry

TEXTS = ["To change a forgotten password, open Settings.", "A password is a word, and a word is a word.", "Cats sleep."]


@pytest.fixture
def root(tmp_path):
    """The bundled model as version 0.2.0, and as 0.1.0 beside it."""
    for version in ("0.1.0", "0.2.0"):
        folder = tmp_path / "models" / f"assistant-{version}"
        shutil.copytree(BUNDLED, folder)
        change_manifest(folder, name="assistant", version=version)
    return tmp_path / "models"


def change_manifest(folder, **values):
    path = folder / "semantic_ranker.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def write_card(folder, text):
    """Replace the card of a folder and its hash."""
    content = text.encode()
    (folder / "README.md").write_bytes(content)
    manifest = json.loads((folder / "semantic_ranker.json").read_text())
    manifest["files"]["README.md"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    change_manifest(folder, files=manifest["files"])


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    corpus = {f"d{n}": f"{text} Number {n % 7}." for n, text in enumerate(TEXTS * 7)}
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in corpus.items())
    )
    queries = "".join(json.dumps({"_id": f"q{n}", "text": f"how do I reset my password {n}"}) + "\n" for n in range(7))
    (folder / "queries.jsonl").write_text(queries)
    rows = [f"q{n}\td{3 * m}\t1\n" for n in range(7) for m in range(7)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


@pytest.fixture
def log(tmp_path):
    log = FeedbackLog(tmp_path / "feedback.jsonl", sync=False)
    log.append(Interaction(query="q"))
    return log.path


def test_a_sound_model_with_everything_at_hand_is_ready(root, judged, log):
    pytest.importorskip("langchain_core")
    told = []
    found = check_production(
        "assistant",
        registry=ModelRegistry(root),
        judged=load_beir(judged),
        feedback=log,
        needs=Needs(latency_ms=60_000, candidates=5),
        progress=told.append,
    )
    assert {line.name: line.state for line in found.lines} == dict.fromkeys(told, "ok"), found
    assert found.state == "ok"
    assert found.model == "assistant@0.2.0"
    assert "assistant@0.1.0" in found["rollback"].found
    assert "ModelLoadError" in found["fallback"].found
    assert os.listdir(log.parent).count("feedback.jsonl") == 1  # and no probe is left
    assert not list(log.parent.glob("*.probe*"))
    with pytest.raises(KeyError):
        found["nonsense"]


def test_without_data_nothing_is_claimed(root):
    found = check_production("assistant@0.1.0", registry=ModelRegistry(root), needs=Needs(latency_ms=60_000))
    states = {line.name: line.state for line in found.lines}
    assert states["nDCG@10"] == states["monitoring"] == "cannot tell"
    assert states["rollback"] == "failed"
    assert found.state == "failed"
    assert all(line.advice for line in found.lines if line.state != "ok")


def test_only_rerankers_that_can_be_used_are_checked(root):
    change_manifest(root / "assistant-0.2.0", kind="embedder")
    with pytest.raises(InvalidInputError, match="embedder"):
        check_production(str(root / "assistant-0.2.0"), registry=ModelRegistry(root))
    with pytest.raises(InvalidInputError, match="found none"):
        check_production("nobody", registry=ModelRegistry(root))
    with pytest.raises(InvalidInputError, match="latency_ms"):
        Needs(latency_ms=0)
    with pytest.raises(InvalidInputError, match="pairs"):
        Needs(pairs=True)


def test_training_size(root):
    entry = read_entry(root / "assistant-0.2.0")
    assert lines.training_size(entry, Needs(pairs=10**6)).state == "failed"
    change_manifest(root / "assistant-0.2.0", training={})
    assert lines.training_size(read_entry(root / "assistant-0.2.0"), Needs()).state == "cannot tell"


def test_quality_needs_an_interval_above_the_first_stage(root, judged):
    entry, data = read_entry(root / "assistant-0.2.0"), load_beir(judged)
    assert lines.quality(entry, data, Needs()).state == "ok"
    # Judged the other way round, the same model is worse than BM25.
    worse = {qid: {"d1": 1, **{f"d{3 * n}": 0 for n in range(7)}} for qid in data.qrels}
    other = type(data)(name="other", corpus=data.corpus, queries=data.queries, qrels=worse)
    line = lines.quality(entry, other, Needs())
    assert line.state == "failed"
    assert "BM25" in line.found


def test_the_export_is_judged_by_its_times(root):
    assert lines.judge_speed({"int8": [1.0, 1.0, 9.0], "fp32": [2.0, 2.0, 2.0]}).state == "ok"
    slow = lines.judge_speed({"int8": [3.0], "fp32": [2.0]})
    assert slow.state == "failed"
    assert "precision='fp32'" in slow.advice
    folder = root / "assistant-0.2.0"
    manifest = json.loads((folder / "semantic_ranker.json").read_text())
    change_manifest(folder, files={name: of for name, of in manifest["files"].items() if "int8" not in name})
    line = lines.optimised_export(read_entry(folder), None, Needs())
    assert line.state == "failed"
    assert "semantic-ranker export" in line.advice


def test_latency_is_held_against_the_budget(root):
    entry = read_entry(root / "assistant-0.2.0")
    assert lines.latency(entry, None, Needs(latency_ms=1e-6, candidates=2)).state == "failed"
    assert lines.latency(entry, None, Needs(latency_ms=1e6, candidates=2)).state == "ok"


def test_fallback_through_either_framework_or_not_told(root, monkeypatch):
    pytest.importorskip("llama_index.core")
    entry = read_entry(root / "assistant-0.2.0")
    monkeypatch.setitem(sys.modules, "langchain_core.documents", None)
    line = lines.fallback(entry)
    assert line.state == "ok"
    assert "LlamaIndex" in line.found
    monkeypatch.setitem(sys.modules, "llama_index.core.schema", None)
    assert lines.fallback(entry).state == "cannot tell"


@pytest.mark.parametrize(
    ("healthy", "degraded", "problem"),
    [
        (Order(["a"], [None]), Order(list(lines.FALLBACK), [None, "E"]), "did not mark"),
        (Order(["a"], [None]), Order(["a", "b"], ["E", "E"]), "did not keep"),
        (Order(["a"], ["E"]), Order(["a", "b"], ["E", "E"]), "fails in the same way"),
    ],
)
def test_a_fallback_that_does_not_work_is_found(monkeypatch, root, healthy, degraded, problem):
    given = iter([healthy, degraded])
    monkeypatch.setattr(lines, "through_langchain", lambda model: next(given))
    line = lines.fallback(read_entry(root / "assistant-0.2.0"))
    assert line.state == "failed"
    assert problem in line.found


def test_monitoring_fails_for_a_log_that_is_missing_empty_or_damaged(tmp_path, log):
    assert lines.monitoring(tmp_path / "none.jsonl").state == "failed"
    with log.open("a") as stream:
        stream.write("not JSON\n")
    line = lines.monitoring(log)
    assert line.state == "failed"
    assert "1 lines are damaged" in line.found
    log.write_text("")
    assert lines.monitoring(log).state == "failed"


@pytest.mark.parametrize(
    ("card", "missing"),
    [
        ("# m\n\n## Training\n\n### Data\n\nqa\n\n## Metrics\n\nx\n\n## Limits\n\nx\n", "licence"),
        ("# m\n## Training\nx\n### Data\n\n## Evaluation\nx\n## Limitations\nx\n## License\nx\n", "data"),
        ("nothing", "training, data, metrics, limits, licence"),
    ],
)
def test_the_card_needs_its_sections_with_words(root, card, missing):
    folder = root / "assistant-0.2.0"
    write_card(folder, card)
    line = lines.documentation(read_entry(folder))
    assert line.state == "failed"
    assert line.found == f"The card lacks: {missing}."
    (folder / "README.md").unlink()
    assert "no README.md" in lines.documentation(read_entry(folder)).found


def test_rollback_opens_and_ranks_with_the_earlier_version(root):
    new, old = read_entry(root / "assistant-0.2.0"), read_entry(root / "assistant-0.1.0")
    assert lines.rollback(new, old).state == "ok"
    assert lines.rollback(new, new).state == "failed"
    manifest = json.loads((old.path / "semantic_ranker.json").read_text())
    for canary in manifest["canary"]:
        canary["logit"]["int8"] += 5.0
    change_manifest(old.path, canary=manifest["canary"])
    line = lines.rollback(new, old)
    assert line.state == "failed"
    assert "canary 0" in line.found


def test_one_line_that_breaks_does_not_hide_the_others(root, monkeypatch):
    def broken(entry):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(lines, "documentation", broken)
    (root / "assistant-0.1.0" / "interaction_head.npz").write_bytes(b"short")
    found = check_production(
        "assistant", registry=ModelRegistry(root), previous="assistant@0.2.0", needs=Needs(candidates=2)
    )
    assert found["documentation"].found == "RuntimeError: no more memory"
    assert found["rollback"].state == "failed"
    assert len(found.lines) == 8


def test_the_command_prints_lines_advice_and_a_status(root, judged, log, capsys):
    arguments = [
        "doctor",
        "--production",
        "assistant",
        "--root",
        str(root),
        "--budget-ms",
        "60000",
        "--candidates",
        "3",
    ]
    assert main(arguments) == 3
    out = capsys.readouterr().out
    assert "cannot tell  nDCG@10" in out
    assert "Not proved: 6 ok, 0 failed, 2 cannot tell." in out
    assert main([*arguments, "--judged", str(judged), "--feedback", str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "ok"
    assert main([*arguments, "--min-pairs", "999999"]) == 1
    assert "Not ready" in capsys.readouterr().out
    assert main(["doctor", "--production", "nobody", "--root", str(root)]) == 2
    assert main([*arguments[:5], "--budget-ms", "0"]) == 2
