"""Adapters: the head is saved, the reload scores alike, the merged model is plain, another base is refused."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer, TrainingConfig, open_adapter
from semantic_ranker_training.cross_encoder.lora import add_lora, merge_lora
from semantic_ranker_training.cross_encoder.model import open_base

PAIRS = [("which car is red?", "the red car."), ("which boat is red?", "the blue boat."), ("red", "black lamp")]


@pytest.fixture(scope="module")
def adapted(bert_base, toy_groups, tmp_path_factory):
    trainer = CrossEncoderTrainer(
        str(bert_base),
        use_lora=True,
        lora_r=4,
        lora_alpha=8,
        learning_rate=1e-2,
        max_length=32,
        group_size=4,
        device="cpu",
    )
    return trainer.train(toy_groups[:24], output_dir=tmp_path_factory.mktemp("lora") / "run", num_epochs=2)


def scores(model):
    return model.predict(PAIRS, activation_fn=nn.Identity(), show_progress_bar=False)


def test_the_adapter_holds_the_head_and_names_no_path(adapted):
    with safe_open(adapted.adapter / "adapter_model.safetensors", framework="np") as file:
        names = list(file.keys())
    assert any("classifier" in name for name in names)
    assert any("pooler" in name for name in names)
    assert any("lora_A" in name for name in names)
    assert json.loads((adapted.adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "bert"


def test_adapter_on_its_base_and_merged_model_score_alike(adapted, bert_base):
    from sentence_transformers import CrossEncoder as Library

    opened = scores(open_adapter(bert_base, adapted.adapter))
    merged = scores(Library(str(adapted.model), device="cpu"))
    start = scores(open_base(bert_base, TrainingConfig(max_length=32)))
    np.testing.assert_allclose(opened, merged, atol=1e-5)
    assert np.abs(merged - start).max() > 1e-3
    assert not any("lora" in name for name in load_file(adapted.model / "model.safetensors"))


def test_an_adapter_for_another_base_is_refused(adapted, base_folders):
    with pytest.raises(ModelLoadError, match="Expected the base that the adapter was trained on \\('bert'"):
        open_adapter(base_folders["minilm"], adapted.adapter)
    with pytest.raises(ModelLoadError, match=r"Expected an adapter with semantic_ranker_adapter\.json"):
        open_adapter(base_folders["bert"], base_folders["bert"])


@pytest.mark.parametrize("name", ["roberta", "deberta-v2", "distilbert", "modernbert"])
def test_merging_changes_no_logit_of_any_architecture(name, base_folders, quick):
    config = quick(use_lora=True)
    model = open_base(base_folders[name], config)
    add_lora(model, config)
    learns = [key for key, value in model.named_parameters() if value.requires_grad]
    assert any("lora_" in key for key in learns)
    assert any("modules_to_save" in key and "classifier" in key for key in learns)
    assert not any("embedding" in key for key in learns)
    for key, value in model.named_parameters():
        if "lora_B" in key:  # zero at the start, when there would be nothing to merge
            nn.init.normal_(value, std=0.1)
    before = scores(model.eval())
    np.testing.assert_allclose(scores(merge_lora(model)), before, atol=1e-5)


def test_adapters_and_dropped_or_frozen_layers_exclude_each_other():
    with pytest.raises(InvalidInputError, match="Expected no freezing with use_lora"):
        TrainingConfig(use_lora=True, freeze_layers=1)
    with pytest.raises(InvalidInputError, match="Expected keep_layers=None with use_lora"):
        TrainingConfig(use_lora=True, keep_layers=1)
