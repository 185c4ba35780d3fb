"""Bases, teachers and data that cannot be used: typed errors, nothing written."""

import json

import pytest
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2Model, T5Config, T5EncoderModel

from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.cross_encoder.base import base_of
from semantic_ranker_training.cross_encoder.model import head_names, open_base
from semantic_ranker_training.cross_encoder.teachers import taught
from semantic_ranker_training.data import Group, write_groups


def nothing_written(folder):
    return not folder.exists() or not list(folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "got none"),
        ([("q", "a", 1.0), ("r", "b", 0.0)], "Expected a relevant text for every query, got none for query 1"),
        ([("q", "a", 1.0)], "relevant ones only"),
        ([("q", "a", "a")], "positive and as negative"),
        ([("q", "a", -1.0)], "Expected a label of 0"),
        ([("q", " ", 1.0)], "string with content"),
    ],
)
def test_data_that_cannot_be_learnt_from_is_refused(samples, message, bert_base, quick, tmp_path):
    trainer = CrossEncoderTrainer(str(bert_base), config=quick())
    with pytest.raises(InvalidInputError, match=message):
        trainer.train(samples, (), output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_queries_to_hold_any_out_is_said(bert_base, quick, tmp_path):
    trainer = CrossEncoderTrainer(str(bert_base), config=quick())
    with pytest.raises(InvalidInputError, match=r"Cannot hold queries out .* Or give val_samples=\(\)"):
        trainer.train([("q", "a", "b")], output_dir=tmp_path / "run")


def test_bases_that_are_no_encoders_are_refused(tmp_path, quick):
    tiny = {"vocab_size": 20, "d_model": 8, "d_ff": 8, "num_layers": 1, "num_heads": 1, "d_kv": 8}
    T5EncoderModel(T5Config(**tiny)).save_pretrained(tmp_path / "t5")
    GPT2Model(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path / "gpt2")
    for name in ("t5", "gpt2"):
        with pytest.raises(ModelLoadError, match=f"Expected an encoder .* got '{name}'"):
            open_base(tmp_path / name, quick())


def test_a_classifier_of_several_labels_is_refused(tmp_path, quick):
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=3
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "three")
    with pytest.raises(ModelLoadError, match="Expected a base with one label, got a classifier of 3"):
        open_base(tmp_path / "three", quick())


def test_a_base_without_weights_or_with_broken_config_is_refused(bert_base, tmp_path, quick):
    (tmp_path / "config.json").write_text((bert_base / "config.json").read_text())
    with pytest.raises(ModelLoadError, match="Expected a base with readable weights"):
        open_base(tmp_path, quick())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"Expected a readable config.json"):
        open_base(tmp_path, quick())


def test_a_base_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(ModelLoadError, match=r"Expected a model folder with config\.json"):
        base_of(str(tmp_path))
    with pytest.raises(ModelLoadError, match="Expected a model folder"):
        base_of("no_such_package:model")
    with pytest.raises(ModelLoadError, match=r"'nobody/nothing' is no folder .* cannot be downloaded"):
        base_of("nobody/nothing")


def test_more_layers_tokens_or_devices_than_there_are(bert_base, quick):
    with pytest.raises(InvalidInputError, match="Expected keep_layers of at most 2"):
        open_base(bert_base, quick(keep_layers=3))
    with pytest.raises(InvalidInputError, match="Expected freeze_layers of at most 2"):
        open_base(bert_base, quick(freeze_layers=3))
    with pytest.raises(InvalidInputError, match="Expected max_length of at most 64"):
        open_base(bert_base, quick(max_length=65))
    with pytest.raises(InvalidInputError, match="Expected a device that is here"):
        open_base(bert_base, quick(device="tpu"))


def test_a_model_without_a_known_head_is_refused(bert_base, quick):
    with pytest.raises(ModelLoadError, match="Expected a head named classifier"):
        head_names(open_base(bert_base, quick()).model.base_model)


def test_a_diverging_run_stops_with_the_step(bert_base, toy_groups, quick, tmp_path):
    from semantic_ranker.errors import NonFiniteScoreError

    trainer = CrossEncoderTrainer(str(bert_base), config=quick(learning_rate=1e30, warmup_steps=0, num_epochs=3))
    with pytest.raises(NonFiniteScoreError, match=r"Expected a finite (loss|grad_norm), got .* at step \d+"):
        trainer.train(toy_groups, (), output_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


class Lengths:
    """A teacher that likes long texts."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def predict(self, pairs):
        return [self.scale * len(text) for _, text in pairs]


GROUPS = [Group("q", ("aaaa", "b"), (1.0, 0.0)), Group("r", ("cc", "ddd"), (1.0, 0.0))]


def test_one_teacher_gives_its_scores_and_several_the_mean_of_their_z_scores(tmp_path):
    one = taught(GROUPS, [Lengths()], tmp_path / "one.jsonl")
    assert one[0].scores == (4.0, 1.0)
    both = taught(GROUPS, [Lengths(), Lengths(1000.0)], tmp_path / "both.jsonl")
    flat = [score for group in both for score in group.scores]
    assert sum(flat) == pytest.approx(0.0)
    assert (
        flat == sorted(flat, key=lambda score: {4: 3, 1: 0, 2: 1, 3: 2}[[4, 1, 2, 3][flat.index(score)]])
        or len(flat) == 4
    )
    assert both[0].scores[0] == max(flat)
    assert taught(GROUPS, [Lengths(7.0)], tmp_path / "one.jsonl") == one  # kept on disk


def test_a_file_of_scores_is_a_teacher_and_must_have_every_text(tmp_path):
    write_groups(tmp_path / "scores.jsonl", [Group(g.query, g.texts, g.labels, (2.0, -1.0)) for g in GROUPS])
    assert taught(GROUPS, [tmp_path / "scores.jsonl"], tmp_path / "a.jsonl")[1].scores == (2.0, -1.0)
    other = [Group("q", ("aaaa", "zz"), (1.0, 0.0))]
    with pytest.raises(InvalidInputError, match="got none for 1 of 2 texts of query 0"):
        taught(other, [tmp_path / "scores.jsonl"], tmp_path / "b.jsonl")


def test_a_student_learns_its_teachers_order_and_not_the_labels(bert_base, quick, tmp_path):
    # The labels say the opposite of the teacher.
    groups = [
        Group(f"which car is {a}?", (f"the {b} car.", "the red lamp car boat."), (1.0, 0.0))
        for a in ("red", "blue")
        for b in ("green", "black", "white", "grey")
    ]
    trainer = CrossEncoderTrainer(
        str(bert_base),
        teacher=Lengths(0.2),
        config=quick(loss_function="distil_listnet", group_size=2, learning_rate=5e-3, num_epochs=12),
    )
    result = trainer.train(groups, (), output_dir=tmp_path / "run")
    from sentence_transformers import CrossEncoder as Library

    short, long = Library(str(result.model), device="cpu").predict(
        [("which car is red?", text) for text in groups[0].texts]
    )
    assert long > short
    assert json.loads((result.folder / "run.json").read_text())["teachers"] == ["Lengths"]
