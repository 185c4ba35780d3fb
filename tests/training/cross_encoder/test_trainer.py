"""`CrossEncoderTrainer`: what it writes, that every option acts, and the seed's trainer bugs that it lacks."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from semantic_ranker import CrossEncoder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.evaluation import JudgedQuery, RerankTask
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer, TrainingConfig
from semantic_ranker_training.cross_encoder.engine import run_trainer
from semantic_ranker_training.cross_encoder.evaluator import RankingEvaluator, held_out_task
from semantic_ranker_training.cross_encoder.model import check_precision, layers_of, open_base
from semantic_ranker_training.cross_encoder.rows import Schedule
from semantic_ranker_training.data import Group
from semantic_ranker_training.export import export_model


@pytest.mark.parametrize("name", ["bert", "minilm", "roberta", "deberta-v2", "distilbert", "modernbert"])
def test_every_architecture_is_trained_saved_and_opened_alike(name, base_folders, toy_groups, quick, tmp_path):
    from sentence_transformers import CrossEncoder as Library

    config = quick(keep_layers=2, freeze_layers=1, head_learning_rate=1e-2)
    model = open_base(base_folders[name], config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    run_trainer(model, Schedule(toy_groups[:16], config), tmp_path / "run")
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    frozen = {f"0.model.{key}" for key, value in model.model.named_parameters() if not value.requires_grad}
    assert changed
    assert not changed & frozen
    assert any("classifier" in key for key in changed)
    model.eval().save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = Library(str(tmp_path / "saved"), device="cpu")
    assert isinstance(again.activation_fn, nn.Identity)
    assert len(layers_of(again.model)) == 2
    pairs = [("which car is red?", "the red car."), ("which car is red?", "the blue boat.")]
    np.testing.assert_allclose(again.predict(pairs), model.predict(pairs), atol=1e-6)


@pytest.fixture(scope="module")
def trained(bert_base, easy_groups, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    trainer = CrossEncoderTrainer(
        str(bert_base), max_length=32, group_size=4, batch_size=8, learning_rate=5e-3, logging_steps=1, device="cpu"
    )
    return trainer.train(easy_groups, output_dir=out / "run", epochs=3)


def test_a_run_leaves_model_history_evaluation_curves_and_manifest(trained):
    folder = trained.folder
    history = json.loads((folder / "training_history.json").read_text())
    assert history["train_loss"] == trained["train_loss"]
    assert len(history["log_history"]) > len(history["train_loss"])
    # The seed's constant learning rate after a warm-up by epochs: here it rises by steps, then falls.
    rates = trained["learning_rates"]
    assert max(rates) == pytest.approx(5e-3, rel=0.15)
    assert rates[-1] < 1e-3
    evaluation = json.loads((folder / "evaluation_results.json").read_text())
    assert evaluation["metrics"][0]["metric"] == "nDCG@10"
    assert len(evaluation["intervals"]["nDCG@10"]) == 2
    assert "nDCG@10" in evaluation["before_training"]
    assert (folder / "learning_curves.svg").read_text().startswith("<?xml")
    assert "<svg" in (folder / "learning_curves.html").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"config", "data_sha256", "versions", "hardware", "seconds", "metrics", "calibration"} <= set(manifest)
    assert manifest["metrics"][0]["low"] <= manifest["metrics"][0]["value"] <= manifest["metrics"][0]["high"]
    assert str(folder.parent) not in (folder / "manifest.json").read_text()


def test_epochs_in_the_history_are_those_asked_for(trained):
    log = json.loads((trained.folder / "training_history.json").read_text())["log_history"]
    assert log[-1]["epoch"] == pytest.approx(3.0)


def test_the_best_checkpoint_by_ndcg_is_the_one_that_is_kept(trained):
    # The seed kept the one with the lowest validation loss.
    measured = next(metric.value for metric in trained.metrics if metric.name == "nDCG@10")
    assert measured == pytest.approx(max(trained["nDCG@10"][1:]), abs=1e-6)


def test_the_model_folder_opens_in_the_runtime_after_export_with_its_calibration(trained, tmp_path):
    export_model(trained.model, tmp_path / "out", precisions=["fp32"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "held-out queries" in card
    with CrossEncoder(tmp_path / "out", precision="fp32") as model:
        assert model.score("which car is red?", ["the red car."]).shape == (1,)
        manifest = json.loads((tmp_path / "out" / "semantic_ranker.json").read_text())
    assert manifest["calibration"]["scale"] == pytest.approx(trained.calibration["scale"])
    assert manifest["activation"] == "identity"
    assert manifest["training"]["calibration"]["method"] == "platt"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(bert_base, toy_groups, quick, tmp_path):
    def weights(seed, place):
        config = quick(seed=seed)
        model = open_base(bert_base, config)
        run_trainer(model, Schedule(toy_groups[:16], config), tmp_path / place)
        return model.model.classifier.weight.detach()

    assert torch.equal(weights(1, "a"), weights(1, "b"))
    assert not torch.equal(weights(1, "c"), weights(2, "d"))


def steps_of(base, groups, tmp_path, config):
    model = open_base(base, config)
    return run_trainer(model, Schedule(groups, config), tmp_path)[-1]["step"], model


def test_the_last_partial_accumulation_is_a_step_too(bert_base, toy_groups, quick, tmp_path):
    # 20 queries in batches of 4 are 5 batches; two a step leave one over, which the seed dropped.
    steps, _ = steps_of(bert_base, toy_groups[:20], tmp_path, quick(batch_size=4, gradient_accumulation_steps=2))
    assert steps == math.ceil(5 / 2)


def test_gradients_are_clipped(bert_base, toy_groups, quick, tmp_path):
    start = open_base(bert_base, quick()).model.classifier.weight.detach()
    options = {"learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 0}
    _, free = steps_of(bert_base, toy_groups[:8], tmp_path / "a", quick(**options))
    _, tight = steps_of(bert_base, toy_groups[:8], tmp_path / "b", quick(max_grad_norm=1e-10, **options))
    # Adam divides by the gradient's size, so clipping shows only below its epsilon.
    assert (tight.model.classifier.weight - start).abs().max() < 0.05 * (
        free.model.classifier.weight - start
    ).abs().max()


def test_batches_are_padded_to_their_own_longest_pair(bert_base, quick):
    model = open_base(bert_base, quick(max_length=32))
    shape = model.preprocess([("which car is red?", "the red car."), ("red", "car")])["input_ids"].shape
    assert shape[1] < 32


def test_dropped_layers_are_gone_and_frozen_ones_keep_their_weights(base_folders, toy_groups, quick, tmp_path):
    config = quick(keep_layers=2, freeze_layers=1, learning_rate=1e-2, warmup_steps=0)
    result = CrossEncoderTrainer(str(base_folders["minilm"]), config=config).train(
        toy_groups[:16], (), output_dir=tmp_path
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (base_folders["minilm"], result.model))
    assert json.loads((base_folders["minilm"] / "config.json").read_text())["num_hidden_layers"] == 3
    assert json.loads((result.model / "config.json").read_text())["num_hidden_layers"] == 2
    layers = {name: name.split(".layer.")[1][0] for name in after if ".layer." in name}
    assert set(layers.values()) == {"0", "1"}
    frozen = [name for name in after if layers.get(name) == "0" or ".embeddings." in name]
    assert len(frozen) == 16 + 5
    for name in frozen:
        np.testing.assert_array_equal(after[name], before[name.removeprefix("bert.")])
    learnt = [name for name in layers if layers[name] == "1"]
    assert any(not np.array_equal(after[name], before[name.removeprefix("bert.")]) for name in learnt)


def test_segments_reach_a_model_that_was_made_for_them(bert_base, quick):
    assert model_inputs(bert_base, quick)["token_type_ids"].max() == 1


def model_inputs(base, quick):
    return open_base(base, quick()).preprocess([("which car", "the red car.")])


def test_warm_up_counts_steps(bert_base, toy_groups, quick, tmp_path):
    config = quick(warmup_steps=3, learning_rate=1e-3, batch_size=8)
    log = run_trainer(open_base(bert_base, config), Schedule(toy_groups, config), tmp_path)
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    assert rates[:4] == pytest.approx([0.0, 1e-3 / 3, 2e-3 / 3, 1e-3])


def test_fp16_on_a_cpu_is_refused(quick):
    with pytest.raises(InvalidInputError, match="Expected a GPU for mixed_precision='fp16', got a CPU"):
        check_precision(quick(mixed_precision="fp16"))


def test_bf16_and_gradient_checkpointing_train(bert_base, toy_groups, quick, tmp_path):
    plain = steps_of(bert_base, toy_groups[:8], tmp_path / "a", quick(learning_rate=1e-3, warmup_steps=0))[1]
    saved = steps_of(
        bert_base,
        toy_groups[:8],
        tmp_path / "b",
        quick(learning_rate=1e-3, warmup_steps=0, gradient_checkpointing=True),
    )[1]
    half = steps_of(
        bert_base, toy_groups[:8], tmp_path / "c", quick(learning_rate=1e-3, warmup_steps=0, mixed_precision="bf16")
    )[1]
    # Checkpointing recomputes, so it changes nothing; bf16 rounds, so it changes a little.
    torch.testing.assert_close(saved.model.classifier.weight, plain.model.classifier.weight)
    assert not torch.equal(half.model.classifier.weight, plain.model.classifier.weight)
    torch.testing.assert_close(half.model.classifier.weight, plain.model.classifier.weight, atol=3e-3, rtol=0.0)


def test_training_stops_early_when_ndcg_does_not_rise(bert_base, toy_groups, quick, tmp_path):
    config = quick(num_epochs=6, learning_rate=1e-12, eval_steps=1, early_stopping_patience=2, batch_size=16)
    evaluator = RankingEvaluator(held_out_task(toy_groups[:6], toy_groups))
    log = run_trainer(open_base(bert_base, config), Schedule(toy_groups[6:], config), tmp_path, evaluator=evaluator)
    assert max(entry["step"] for entry in log) < 6 * math.ceil(42 / 16)


def test_tensorboard_events_are_written_when_asked_for(bert_base, toy_groups, quick, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is optional")
    config = quick(tensorboard=True)
    run_trainer(open_base(bert_base, config), Schedule(toy_groups[:8], config), tmp_path)
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_a_finished_run_is_not_trained_again_and_another_is_refused(bert_base, toy_groups, quick, tmp_path):
    trainer = CrossEncoderTrainer(str(bert_base), config=quick())
    first = trainer.train(toy_groups[:16], (), output_dir=tmp_path)
    weights = (first.model / "model.safetensors").read_bytes()
    assert (trainer.train(toy_groups[:16], (), output_dir=tmp_path).model / "model.safetensors").read_bytes() == weights
    with pytest.raises(InvalidInputError, match="holds a run of other data_sha256"):
        trainer.train(toy_groups[:17], (), output_dir=tmp_path)


def test_guides_samples_and_all_kinds_of_validation_data_are_taken(bert_base, toy_groups, quick, tmp_path):
    trainer = CrossEncoderTrainer(str(bert_base), config=quick(calibration="temperature"))
    triples = [(group.query, group.positives[0], group.negatives[0]) for group in toy_groups[:16]]
    judged = [JudgedQuery(query="which car is red?", documents=["the red car.", "the blue car."], labels=[1, 0])]
    result = trainer.train(triples, judged, output_dir=tmp_path / "a")
    assert result.calibration["method"] in ("temperature", "none")
    task = RerankTask(
        queries={"q": "red"}, corpus={"a": "red", "b": "blue"}, qrels={"q": {"a": 1}}, candidates={"q": ["a", "b"]}
    )
    assert trainer.train(triples, task, output_dir=tmp_path / "b").metrics[0].name == "nDCG@10"
    held_out = [(group.query, group.positives[0], group.negatives[0]) for group in toy_groups[16:20]]
    assert trainer.train(triples, held_out, output_dir=tmp_path / "c").metrics


def test_settings_are_named_and_nearest_ones_suggested(bert_base):
    with pytest.raises(
        InvalidInputError, match="Unknown setting 'learning_rat' of the training; did you mean 'learning_rate'"
    ):
        CrossEncoderTrainer(str(bert_base), learning_rat=1.0)
    with pytest.raises(InvalidInputError, match="Expected learning_rate above 0, got -1"):
        TrainingConfig(learning_rate=-1)
    with pytest.raises(InvalidInputError, match="Expected batch_size to be a whole number of 1 or more, got 0"):
        TrainingConfig(batch_size=0)


def test_groups_without_negatives_borrow_some(bert_base, quick, tmp_path):
    groups = [
        Group(f"which car is {colour}?", (f"the {colour} car.",), (1.0,))
        for colour in ("red", "blue", "green", "black")
    ]
    result = CrossEncoderTrainer(str(bert_base), config=quick()).train(groups, (), output_dir=tmp_path)
    assert json.loads((result.folder / "manifest.json").read_text())["texts"] == 16
