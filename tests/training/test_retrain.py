"""A model is trained again from the recipe in its own manifest, end to end, on a tiny base."""

import json
import tomllib
from pathlib import Path

import pytest

from semantic_ranker import CrossEncoder, InvalidInputError
from semantic_ranker.cli import main
from semantic_ranker.registry import ModelRegistry

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "smoke.toml"


@pytest.fixture
def root(tmp_path):
    """A registry with one model that says how it was trained."""
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8")) | {
        "max_queries": 24,
        "precisions": ["fp32"],
    }
    manifest = {
        "schema_version": 1,
        "kind": "reranker",
        "name": "tiny",
        "version": "1.0.0",
        "base_model": "nothing",
        "files": {},
        "training": {"recipe": recipe},
    }
    folder = tmp_path / "models" / "tiny-1.0.0"
    folder.mkdir(parents=True)
    (folder / "semantic_ranker.json").write_text(json.dumps(manifest))
    return tmp_path / "models"


@pytest.mark.slow
def test_a_model_is_trained_again_into_a_new_version(root, tmp_path, capsys):
    assert main(["models", "retrain", "tiny", "--root", str(root), "--set", "logging_steps=2"]) == 0
    assert "Trained tiny@1.1.0 from the recipe of tiny@1.0.0" in capsys.readouterr().out
    first = ModelRegistry(root).get("tiny")
    assert first.path == root / "tiny-1.1.0"
    assert first.lineage.parent == "tiny@1.0.0"
    assert first.lineage.created.endswith("Z")
    assert first.lineage.recipe["logging_steps"] == 2
    assert len(CrossEncoder(first.path).rank("what one", ["the one", "two"])) == 2
    assert not list(root.glob(".*"))


@pytest.mark.slow
def test_newer_data_is_told_apart(root, tmp_path, capsys):
    data = tmp_path / "groups.jsonl"
    rows = [
        {"query": f"word{n} what", "positive": f"word{n} is this", "negatives": ["other", "that"]} for n in range(30)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["models", "retrain", "tiny@1.0.0", "--data", str(data), "--root", str(root), "--set", "data="]
    assert main([*arguments, "--out", str(tmp_path / "first"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parent"] == "tiny@1.0.0"
    assert found["changed"] == ["train"]  # the parent recorded no hash
    again = ModelRegistry(root).retrain(tmp_path / "first", data=data)
    assert again.entry.version == "1.2.0"
    assert again.summary == "train the same"


@pytest.mark.slow
def test_a_recipe_that_cannot_be_run_leaves_no_model(root, tmp_path):
    with pytest.raises(InvalidInputError):
        ModelRegistry(root).retrain("tiny", data=tmp_path, overrides=["data=nothing.jsonl"])
    assert not (root / "tiny-1.1.0").exists()
