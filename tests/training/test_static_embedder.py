import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from semantic_ranker.backends.static import StaticBackend
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.static_embedder import StaticRecipe, StaticRun, main, metadata_of
from semantic_ranker_training.static_embedder_card import static_card
from semantic_ranker_training.static_embedder_fit import (
    TokenBags,
    fit,
    initial_vectors,
    projection,
    sif_weights,
    token_bags,
)
from semantic_ranker_training.static_embedder_folder import quantize_rows
from semantic_ranker_training.static_embedder_targets import sample_texts, teacher_vectors

WORDS = [f"{first}{second}" for first in "bcdfghklmn" for second in ("a", "e", "i", "o")]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A random sentence-transformers folder of two layers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("teacher")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: row for row, token in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(specials)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), specials, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape)).save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    chooser = random.Random(0)
    with open(folder / "pairs.jsonl", "w") as file:
        for _ in range(300):
            query, positive = (" ".join(chooser.choices(WORDS, k=size)) for size in (4, 12))
            file.write(json.dumps({"query": query, "positive": positive, "source": "made"}) + "\n")
    return folder


@pytest.fixture
def recipe(tmp_path, teacher):
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'name = "tiny"\nbase = {json.dumps(str(teacher))}\ntexts = 500\nmax_tokens = 16\ndim = 16\nbatch_size = 32\n'
        "epochs = 12\nwarmup_steps = 5\n"
        '[[sources]]\nfile = "pairs.jsonl"\nsource = "made"\npassages = 300\nqueries = 300\n'
    )
    return path


def test_from_recipe_to_folder_and_again_from_what_was_kept(recipe, data, tmp_path, teacher, monkeypatch):
    words = [str(recipe), "--data", str(data), "--out", str(tmp_path / "run"), "--release", str(tmp_path / "model")]
    assert main(words) == 0
    training = json.loads((tmp_path / "run" / "training.json").read_text())
    log = training["log"]
    assert training["texts"] == 500
    assert log[-1]["held_out_cosine"] > log[0]["held_out_cosine"]
    assert log[-1]["held_out_cosine"] > 0.85
    backend = StaticBackend(tmp_path / "model")
    assert backend.dim == 16
    assert backend.manifest["kind"] == "static-embedder"
    assert backend.manifest["training"]["recipe"]["epochs"] == 12
    card = (tmp_path / "model" / "README.md").read_text()
    assert "no word order" in card
    assert "None measured." in card
    first = (tmp_path / "model" / "vectors.npy").read_bytes()
    # A second run finds the teacher's vectors: it needs the teacher no more, and gives the same bytes.
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", None)
    monkeypatch.setattr("transformers.AutoModel", None)
    assert main(words) == 0
    assert (tmp_path / "model" / "vectors.npy").read_bytes() == first


def test_the_train_command_runs_the_recipe_and_the_registry_runs_it_again(recipe, data, tmp_path, capsys):
    from semantic_ranker.cli import main as command
    from semantic_ranker.registry import ModelRegistry

    root = tmp_path / "models"
    out = root / "tiny-1.0.0"
    assert command(["train", str(recipe), "--data", str(data), "--out", str(out), "--set", "epochs=1"]) == 0
    assert "vectors.npy" in capsys.readouterr().out
    manifest = json.loads((out / "semantic_ranker.json").read_text())
    # Nothing is claimed of a base that nobody described.
    assert (manifest["base_model"], manifest["languages"]) == (out_name(recipe), [])
    assert command(["models", "retrain", "tiny", "--data", str(data), "--root", str(root)]) == 0
    again = ModelRegistry(root).get("tiny")
    assert (again.version, again.kind, again.lineage.parent) == ("1.1.0", "static-embedder", "tiny@1.0.0")
    assert (again.path / "vectors.npy").read_bytes() == (out / "vectors.npy").read_bytes()
    assert not list(root.glob(".*"))


def out_name(recipe):
    return Path(StaticRecipe.from_toml(recipe).base).name


def test_the_sum_of_token_vectors_points_where_the_teacher_points(recipe, data, tmp_path, teacher):
    settings = StaticRecipe.from_toml(recipe, ["epochs=0"])
    run = StaticRun(settings, data, tmp_path / "run")
    texts = sample_texts(settings.sources, data, 0)[:200]
    taught = teacher_vectors(teacher, texts, tmp_path / "vectors", max_tokens=16)
    np.testing.assert_allclose(np.linalg.norm(taught, axis=1), 1, atol=2e-3)
    directions = projection(taught, 16)
    np.testing.assert_allclose(directions.T @ directions, np.eye(16), atol=1e-5)
    bags = token_bags(run.tokenizer, texts, 14)
    assert bags.offsets[-1] == len(bags.ids)
    found, log = fit(np.zeros((44, 16), np.float32) + 0.1, bags, taught @ directions, settings)
    assert log == []
    assert np.all(found == np.float32(0.1))


def test_an_interrupted_teacher_goes_on_where_it_was(data, tmp_path, teacher, recipe):
    settings = StaticRecipe.from_toml(recipe)
    texts = sample_texts(settings.sources, data, 0)
    assert len(texts) == len(set(texts)) == 600
    whole = teacher_vectors(teacher, texts, tmp_path / "vectors", max_tokens=16)
    kept = tmp_path / "vectors" / "0000000.npy"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "vectors" / "0000512.npy").unlink()
    again = teacher_vectors(teacher, texts, tmp_path / "vectors", max_tokens=16)
    assert np.array_equal(whole, again)
    assert kept.stat().st_mtime_ns == stamp
    with pytest.raises(InvalidInputError, match="other texts"):
        teacher_vectors(teacher, texts[1:], tmp_path / "vectors", max_tokens=16)


def test_frequent_tokens_count_less_at_the_start():
    bags = TokenBags(np.array([1, 1, 1, 1, 2]), np.array([0, 5]))
    weights = sif_weights(bags, 4, 0.1)
    assert weights[1] < weights[2] < weights[3]
    start = initial_vectors(np.eye(4, dtype=np.float32), weights, np.eye(4, dtype=np.float32))
    assert np.linalg.norm(start, axis=1).mean() == pytest.approx(1)
    assert np.linalg.norm(start[1]) < np.linalg.norm(start[3])


def test_rows_keep_their_value_to_half_a_step():
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    vectors[7] = 0
    rows, scales = quantize_rows(vectors)
    assert rows.dtype == np.int8
    assert np.abs(rows).max() == 127
    assert np.all(np.abs(rows * scales[:, None] - vectors) <= scales[:, None] / 2 + 1e-6)


def test_the_card_shows_what_was_measured():
    training = {
        "recipe": {
            "name": "tiny",
            "base": "other",
            "dim": 8,
            "epochs": 1,
            "max_tokens": 9,
            "sources": [{"source": "", "file": "x"}],
        },
        "texts": 3,
        "log": [{"held_out_cosine": 0.5}],
    }
    static = {"mean": 0.4, "low": 0.3, "high": 0.5}
    quality = {"collections": {"cacm": {"retrieval": {"static": static, "BM25": {"mean": 0.6}}}}}
    assert metadata_of({**training, "log": []}, None, "1.0.0").recipe.endswith("gave its vector.")
    (metric,) = metadata_of(training, quality, "1.0.0").metrics
    card = static_card(metadata_of(training, quality, "1.0.0"), 10, 8)
    assert "| cacm | nDCG@10 | 0.400 [0.300, 0.500] | 0.600 |" in card
    assert (metric.value, metric.low, metric.high, dict(metric.baselines)) == (0.4, 0.3, 0.5, {"BM25": 0.6})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dim=0", "dim above 0"),
        ("epoch=1", "did you mean 'epochs'"),
        ("sources=[]", r"one \[\[sources\]\]"),
        ("learning_rate=-1", "learning_rate above 0"),
    ],
)
def test_recipes_that_mean_nothing_are_refused(recipe, override, message):
    with pytest.raises(InvalidInputError, match=message):
        StaticRecipe.from_toml(recipe, [override])


def test_an_unfinished_run_is_not_released(recipe, tmp_path, capsys):
    from semantic_ranker_training.static_embedder import release

    with pytest.raises(InvalidInputError, match="finished run"):
        release(tmp_path, tmp_path / "model", version="1.0.0")
    with pytest.raises(SystemExit) as error:
        main([str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "run")])
    assert error.value.code == 2
    assert "file of pairs" in capsys.readouterr().err
