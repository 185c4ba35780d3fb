"""A shallower model learns its teacher's states; a killed run goes on; the export ranks like the teacher."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from tests.training.test_train import WORDS, tiny_tokenizer
from transformers import BertConfig, BertModel

from semantic_ranker import CrossEncoder, InvalidInputError
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker_training import release, shallow
from semantic_ranker_training.config import Recipe, SourceConfig, read_recipe
from semantic_ranker_training.shallow import ShallowRecipe, ShallowRun, batches, shallow_model
from semantic_ranker_training.train import RerankerRun


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A bi-encoder whose layers do something: freshly made ones hardly change what goes through them."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    vocabulary = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 64}
    model = BertModel(BertConfig(**shape, **vocabulary, cls_token_id=2, sep_token_id=3))
    with torch.no_grad():
        for name, parameter in model.encoder.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(5.0)
            elif name.endswith("dense.bias"):
                parameter.normal_(0, 0.5)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_pairs(path, count, seed):
    chooser = np.random.default_rng(seed)
    rows = [chooser.choice(WORDS, 14, replace=False) for _ in range(count)]
    pairs = [{"query": "what " + " ".join(words[:4]), "positive": "the " + " ".join(words)} for words in rows]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "pairs.jsonl", 90, 0)
    write_pairs(folder / "texts.jsonl", 420, 1)
    return folder


@pytest.fixture(scope="module")
def teacher(base, data, tmp_path_factory):
    recipe = Recipe(
        name="tiny",
        base=str(base),
        sources=(SourceConfig(file="pairs.jsonl", passages=90, queries=80),),
        teacher_weights=(1.0, 1.0, 0.0, 0.0),
        passage_tokens=24,
        steps=4,
        warmup_steps=1,
        batch_queries=4,
        group_size=6,
    )
    folder = tmp_path_factory.mktemp("teacher")
    RerankerRun(recipe, data, folder).run()
    return folder


@pytest.fixture(scope="module")
def recipe(teacher):
    return ShallowRecipe(
        name="tinier",
        teacher=str(teacher),
        layers=(1,),
        files=("texts.jsonl",),
        passage_tokens=24,
        query_tokens=12,
        batch_texts=8,
        steps=60,
        learning_rate=5e-3,
        warmup_steps=5,
    )


@pytest.fixture(scope="module")
def finished(recipe, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shallow")
    ShallowRun(recipe, data, folder).run(every=20)
    return folder


def test_all_layers_are_the_teacher(teacher):
    whole = InteractionCrossEncoder.from_folder(teacher / "model")
    same = shallow_model(whole, (0, 1))
    for key, value in whole.state_dict().items():
        assert torch.equal(same.state_dict()[key], value)


def test_it_learns_states_it_was_not_shown(finished):
    held_out = json.loads((finished / "training.json").read_text())["held_out"]
    for side in ("passages", "queries"):
        for kind in ("tokens", "pooled"):
            assert held_out["after"][side][kind] < 0.6 * held_out["before"][side][kind]


def test_only_the_layers_are_trained(finished, teacher, recipe):
    before = shallow_model(InteractionCrossEncoder.from_folder(teacher / "model"), recipe.layers).state_dict()
    after = InteractionCrossEncoder.from_folder(finished / "model").state_dict()
    changed = {key.split(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {"encoder"}


def test_a_killed_run_goes_on(recipe, data, tmp_path, monkeypatch):
    run, taken = ShallowRun(recipe, data, tmp_path), []
    losses = run._losses

    def killed(ids):
        taken.append(ids)
        if len(taken) == 4 + 4 + 50:  # the check before, then 50 steps
            raise KeyboardInterrupt
        return losses(ids)

    monkeypatch.setattr(run, "_losses", killed)
    with pytest.raises(KeyboardInterrupt):
        run.run(every=20)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 40
    again, done = ShallowRun(recipe, data, tmp_path), []
    counted = again._losses
    monkeypatch.setattr(again, "_losses", lambda ids: (done.append(ids), counted(ids))[1])
    again.run()
    assert len(done) == 8 + 20 + 8
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 60


def test_a_folder_of_another_recipe_is_refused(finished, recipe, data):
    other = ShallowRecipe(**{**recipe.to_dict(), "layers": (0,), "files": recipe.files})
    with pytest.raises(InvalidInputError, match="another recipe"):
        ShallowRun(other, data, finished)


def test_the_export_ranks_like_the_teacher(finished, teacher, tmp_path, capsys):
    assert release.main([str(finished), str(tmp_path / "small"), "--compact"]) == 0
    assert release.main([str(teacher), str(tmp_path / "whole")]) == 0
    query, texts = "what catfish owls fogland", [" ".join(WORDS[row : row + 9]) for row in range(0, 36, 3)]
    with CrossEncoder(tmp_path / "small") as small, CrossEncoder(tmp_path / "whole") as whole:
        assert small.model_name == "tinier"
        assert kendalltau(small.score(query, texts), whole.score(query, texts)).statistic > 0.7
    card = (tmp_path / "small" / "README.md").read_text()
    assert "layers 2 of the teacher" in card
    assert "60 steps over 220 passages and" in card


def test_a_second_run_goes_on_from_the_first_with_code(finished, recipe, data, tmp_path):
    more = ShallowRecipe(
        **{**recipe.to_dict(), "layers": (1,), "files": recipe.files, "steps": 3, "seed": 1}
        | {"start": str(finished), "packages": ("tqdm", "httpx"), "most_texts": 150}
    )
    run = ShallowRun(more, data, tmp_path / "more")
    first = InteractionCrossEncoder.from_folder(finished / "model").state_dict()
    assert all(torch.equal(value, first[key]) for key, value in run.student.state_dict().items())
    run.run()
    found = json.loads((tmp_path / "more" / "training.json").read_text())
    # 150 texts of the file, the rest functions and docstrings; 200 of all are held out.
    assert 0 < found["texts"]["passages"] < 300
    card = release.metadata_of(found, None, "1")
    assert "60 steps over 220 passages and" in card.recipe
    assert f"then 3 steps over {found['texts']['passages']} passages" in card.recipe
    assert "functions of httpx, tqdm" in {source.name for source in card.data}
    with pytest.raises(InvalidInputError, match="1 layers"):
        ShallowRun(ShallowRecipe(**{**more.to_dict(), "layers": (0, 1), "files": ("f",)}), data, tmp_path / "other")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": ()}, "layers"),
        ({"layers": (2, 1)}, "rising"),
        ({"teacher": ""}, "teacher="),
        ({"steps": 0}, "steps"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(values, message):
    with pytest.raises(InvalidInputError, match=message):
        ShallowRecipe(**({"name": "x", "teacher": "t", "layers": (0,), "files": ("f",)} | values))


def test_layers_the_teacher_lacks_are_named(teacher):
    with pytest.raises(InvalidInputError, match="2 layers"):
        shallow_model(InteractionCrossEncoder.from_folder(teacher / "model"), (0, 7))


def test_too_few_texts_are_told(recipe, data, tmp_path):
    few = ShallowRecipe(**{**recipe.to_dict(), "layers": (1,), "files": ("pairs.jsonl",)})
    with pytest.raises(InvalidInputError, match="more than 200"):
        ShallowRun(few, data, tmp_path).run()


def test_every_passage_comes_before_any_comes_again():
    texts = [[row] for row in range(64)]
    found = batches(texts, texts, 2, np.random.default_rng(0))
    taken = []
    while len(taken) < 64:
        batch = next(found)
        if len(batch) == 2:
            taken += [row for (row,) in batch]
    assert sorted(taken) == list(range(64))


def test_the_committed_recipe_is_read_and_bad_runs_are_told(tmp_path, capsys):
    found = read_recipe(ShallowRecipe, "training/recipes/reranker_en_tiny.toml", ["teacher=runs/x"])
    assert (found.name, found.layers) == ("reranker-en-tiny", (0, 2, 5))
    with pytest.raises(SystemExit) as stopped:
        shallow.main(["training/recipes/reranker_en_tiny.toml", "--out", str(tmp_path), "--set", f"teacher={tmp_path}"])
    assert stopped.value.code == 2
    assert "training.json" in capsys.readouterr().err
