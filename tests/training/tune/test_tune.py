"""The whole way, as a user goes it: with a tiny base, killed, again, and after a change."""

import json
import math
import re

import pytest

from semantic_ranker import CrossEncoder
from semantic_ranker.cli import main
from semantic_ranker_training.tune import FitSettings, TuneOptions, run, tune

FAST = FitSettings(epochs=2, batch=8, learning_rate=1e-3, head_learning_rate=1e-2, mixes=(1.0,))


def options(folder, tmp_path, tiny_base, **changes):
    given = {"documents": folder, "out": tmp_path / "model", "base": tiny_base, "budget_s": 600.0}
    return TuneOptions(**{**given, **changes})


def test_from_documents_to_a_model_with_the_proof(folder, tmp_path, tiny_base, document, judged, monkeypatch):
    wanted = options(folder, tmp_path, tiny_base, guards=(judged,), epochs=1.0)
    # Killed twice, at the end of a stage and inside of one.
    for place in ("_export", "_proving"):
        monkeypatch.setattr(run._Tuning, place, _killed)
        with pytest.raises(KeyboardInterrupt):
            tune(wanted, settings=FAST)
        monkeypatch.undo()
        assert not (tmp_path / "model").exists()
    said = []
    result = tune(wanted, said.append, settings=FAST)
    assert not any("learning from" in line for line in said)
    _check_model(tmp_path / "model", result)
    again = []
    assert tune(wanted, again.append, settings=FAST).unchanged
    assert len(again) == 1
    before = json.loads((tmp_path / ".model.tune" / "split.json").read_text())["side"]
    (folder / "garden.md").write_text(document("garden", 1))
    monkeypatch.setattr(run._Tuning, "_export", _killed)
    with pytest.raises(KeyboardInterrupt):
        tune(wanted, settings=FAST)
    assert json.loads((tmp_path / ".model.tune" / "split.json").read_text())["side"] == before
    assert json.loads((tmp_path / "model" / "tune.json").read_text()) == result.content


def _killed(*_):
    raise KeyboardInterrupt


def _check_model(folder, result):
    content = json.loads((folder / "tune.json").read_text())
    assert content == result.content
    _check_sources(folder, content)
    assert content["split"]["tested"]["heading"] >= 8
    assert content["verdict"]["exit_status"] == result.status
    assert content["fit"]["planned"] == math.ceil(content["fit"]["groups"] / (FAST.batch - 2)), "one pass, as asked for"
    # "fit" was made by a process that was killed later.
    assert content["stages"]["fit"] > 0
    assert {"plan", "mine", "export", "rank-held-out-tuned"} <= content["stages"].keys()
    assert next(iter(content["guards"].values()))["queries"] == 24
    page = (folder / "tune.html").read_text()
    assert content["verdict"]["words"].split(":")[0] in page
    steps = content["fit"]["planned"]
    assert f"Ended after {steps} of {steps} steps: done. Taken is 100% of the way" in page
    assert "of the validation questions by step" in page
    assert not re.search(r"(src|href)=.https?://", page)
    card = (folder / "README.md").read_text()
    assert "held-out sections of docs" in card
    with CrossEncoder(folder) as model:
        assert model.languages == ("en",)
        assert model.source_weight == content["source_weight"]
        ranked = model.rank("About tools of the garden", ["nothing", "gardtoo0 tools garden gardtoo1"])
        assert len(ranked) == 2


def _check_sources(folder, content):
    """What the watched questions chose is what is measured, and what the model folder says."""
    weight, by_passage = content["source_weight"], ["tuned, by passage"] if content["source_weight"] else []
    systems = ["BM25", "dense", "RRF", "bundled reranker", *by_passage, "tuned", "tuned + search"]
    assert list(content["held_out"]["systems"]) == systems
    assert json.loads((folder / "semantic_ranker.json").read_text())["source_weight"] == weight
    fit = content["source_fit"]["by_weight"]
    assert fit[f"{weight:g}"] >= fit["0"] - 0.02
    said = [note for note in content["notes"] if "best passage of its document" in note]
    assert len(said) == bool(weight)
    assert all(note in (folder / "README.md").read_text() for note in said)
    assert bool(by_passage) == ("is its own and" in (folder / "tune.html").read_text())


def test_the_command_says_what_is_wrong_and_exits_by_the_verdict(folder, tmp_path, tiny_base, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert main(["tune", str(tmp_path / "empty"), "--out", str(tmp_path / "m")]) == 2
    assert "there is no file in it" in capsys.readouterr().err
    assert main(["tune", str(tmp_path / "absent"), "--out", str(tmp_path / "m")]) == 2
    assert main(["tune", str(folder), "--out", str(tmp_path / "m"), "--budget", "soon"]) == 2
    assert "such as 90s, 15m or 1h" in capsys.readouterr().err
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.md").write_text(
        "# Title\n\nOne sentence of some words is all that there is to be read here.\n"
    )
    assert main(["tune", str(tmp_path / "one"), "--out", str(tmp_path / "m")]) == 2
    assert "held-out questions to prove anything" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
