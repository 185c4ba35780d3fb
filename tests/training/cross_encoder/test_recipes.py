"""Recipes and the command: from made-up pairs to an INT8 folder, and every message on the way."""

import json
from pathlib import Path

import pytest

from semantic_ranker import CrossEncoder
from semantic_ranker.cli import main
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import ModelFolder
from semantic_ranker_training.recipe import CrossEncoderRecipe, recipe_values
from semantic_ranker_training.run import run_recipe

RECIPES = Path(__file__).parents[3] / "training" / "recipes"
OWN = ["smoke", "prototype", "production", "fine_tuning", "distil"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("smoke") / "model"
    status = main(["train", str(RECIPES / "smoke.toml"), "--out", str(out)])
    return status, out


@pytest.mark.slow
def test_the_smoke_recipe_makes_an_int8_folder_that_opens(smoke):
    status, out = smoke
    assert status == 0
    assert (out / "onnx" / "model_qint8.onnx").is_file()
    assert not (out.parent / ".model.run").exists()
    manifest = json.loads((out / "semantic_ranker.json").read_text())
    with CrossEncoder(out) as model:
        assert model.precision == "int8"
        ranked = model.rank("How tall is the Amber Bridge?", ["The town paid 3 crowns.", "It reaches 90 metres."])
    assert len(ranked) == 2
    assert ModelFolder.open(out).settings.scale == pytest.approx(manifest["calibration"]["scale"])
    figures = manifest["metrics"]["held-out queries"]["nDCG@10"]
    assert figures["low"] <= figures["value"] <= figures["high"]
    # It learns: far above where it began.
    assert figures["value"] > figures["baselines"]["before training"] + 0.15
    assert manifest["training"]["recipe"]["kind"] == "cross-encoder"
    assert set(manifest["training"]) >= {"data_sha256", "versions", "hardware", "seconds", "config"}


@pytest.mark.slow
def test_the_smoke_recipe_draws_its_curves(smoke):
    _, out = smoke
    assert "<svg" in (out / "training" / "learning_curves.html").read_text()
    assert (out / "training" / "learning_curves.svg").stat().st_size > 1000
    assert json.loads((out / "training" / "training_history.json").read_text())["nDCG@10"]
    assert json.loads((out / "training" / "evaluation_results.json").read_text())["queries"] >= 10


@pytest.mark.slow
def test_the_recipe_in_a_manifest_trains_again_on_other_data(smoke, tmp_path):
    _, out = smoke
    recipe = json.loads((out / "semantic_ranker.json").read_text())["training"]["recipe"]
    rows = [
        {"query": f"what is {word}", "pos": [f"{word} is a word of its own"], "neg": []} for word in "abcdefghijklmnop"
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    changes = ["num_epochs=1", "precisions=[]", "use_lora=true", "eval_steps=2"]
    result = run_recipe({**recipe, "data": "pairs.jsonl"}, data=tmp_path, out=tmp_path / "again", overrides=changes)
    assert (result.folder / "model.safetensors").is_file()
    assert (result.folder / "adapter" / "adapter_model.safetensors").is_file()
    assert result.to_dict()["metrics"][0]["name"] == "nDCG@10"


@pytest.mark.parametrize("name", OWN)
def test_every_recipe_is_complete_and_goes_there_and_back(name):
    values = recipe_values(RECIPES / f"{name}.toml", ["teacher=some/model"] if name == "distil" else [])
    recipe = CrossEncoderRecipe.of(values)
    assert CrossEncoderRecipe.of(recipe.to_dict()) == recipe
    assert recipe.training.use_lora is (name == "fine_tuning")


def test_overrides_are_toml_or_words():
    values = recipe_values({"a": 1}, ["b=2.5", "c=word", 'd=["x"]', "e=true"])
    assert values == {"a": 1, "b": 2.5, "c": "word", "d": ["x"], "e": True}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=bce"], "Unknown key 'loss' in the recipe"),
        (["learnin_rate=1"], "did you mean 'learning_rate'"),
        (["group_size=1"], "Expected group_size"),
        (["mine=sparse"], "Expected mine of 'bm25' and 'dense'"),
        (
            ["mixed_precision=fp16", "device=cpu"],
            "Expected a GPU for mixed_precision='fp16', got a CPU: take 'no', or 'bf16'",
        ),
        (["max_queries=1"], "Expected max_queries of 2 or more"),
        (["name=  "], "Expected a name"),
        (["nothing"], "Expected key=value"),
        (["kind=other"], "Expected a recipe with kind"),
    ],
)
def test_wrong_recipes_are_refused_before_anything_is_written(overrides, message, tmp_path):
    with pytest.raises(InvalidInputError, match=message):
        run_recipe(RECIPES / "smoke.toml", out=tmp_path / "out", overrides=overrides)
    assert not list(tmp_path.iterdir())


def test_missing_data_and_taken_folders_are_said(tmp_path, capsys):
    assert main(["train", str(RECIPES / "prototype.toml"), "--out", str(tmp_path / "x")]) == 2
    assert "Expected data to learn from: give --data" in capsys.readouterr().err
    assert (
        main(["train", str(RECIPES / "prototype.toml"), "--data", str(tmp_path / "no"), "--out", str(tmp_path / "x")])
        == 2
    )
    assert "Expected training data at" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "no.toml"), "--out", str(tmp_path / "x")]) == 2
    assert "Cannot read the recipe" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    assert main(["train", str(RECIPES / "smoke.toml"), "--out", str(tmp_path / "full")]) == 2
    assert "Expected a new or empty folder" in capsys.readouterr().err
