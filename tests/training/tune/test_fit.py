"""The step that learns, with a tiny model: it gains, goes on where it was killed, and keeps to its budget."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from semantic_ranker import CrossEncoder
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.evaluation import RerankTask
from semantic_ranker.model_folder import BUNDLED, ModelFolder
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.states import bare_tokenizer
from semantic_ranker_training.tune.base import find_base, open_interaction, tokenizer_file
from semantic_ranker_training.tune.fit import FitSettings, fit
from semantic_ranker_training.tune.interaction_step import StepData
from semantic_ranker_training.tune.scoring import InteractionScorer

SETTINGS = FitSettings(epochs=3, batch=8, learning_rate=1e-3, head_learning_rate=1e-2, mixes=(1.0,), general=0.25)


@pytest.fixture(scope="module")
def data(sections):
    """Groups, a validation task and general groups: the answer shares a rare word with the question."""
    found = {}
    for (topic, thing), body in sections.items():
        rare = f"{topic[:4]}{thing[:3].strip()}0"
        found[f"what of {rare} in the {topic}"] = f"{body} {rare}"
    texts, queries = list(found.values()), list(found)
    groups = [
        Group(query, (found[query], *(texts[(row + shift) % len(texts)] for shift in (1, 2, 3))), (1.0, 0.0, 0.0, 0.0))
        for row, query in enumerate(queries[:60])
    ]
    ids = {text: f"p{row}" for row, text in enumerate(texts)}
    asked = queries[60:]
    task = RerankTask(
        queries={query: query for query in asked},
        corpus={key: text for text, key in ids.items()},
        qrels={query: {ids[found[query]]: 1} for query in asked},
        candidates={query: {key: -float(row) for row, key in enumerate(ids.values())} for query in asked},
    )
    general = [Group(f"number {row} of all", (f"There are {row} of them in all.",), (1.0,)) for row in range(8)]
    return groups, task, general


def learn(base, data, out, budget_s=600.0, **changes):
    said = []
    groups, task, general = data
    settings = FitSettings(**{**SETTINGS.to_dict(), "mixes": (1.0,), **changes})
    report = fit(base, groups, task, general, out, settings=settings, budget_s=budget_s, progress=said.append)
    return report, said


def test_learns_and_goes_on_where_it_was_killed(tiny_base, data, tmp_path, monkeypatch):
    base = find_base(tiny_base)
    assert (base.kind, base.becomes, base.ranks) == ("bi-encoder", "interaction", False)
    whole, _ = learn(base, data, tmp_path / "whole")
    assert whole.before is not None
    assert whole.after > max(0.5, whole.before)
    from semantic_ranker_training.tune import fit_interaction

    one = fit_interaction._Loop._one

    def killed(loop, step):
        if step == 13:
            raise KeyboardInterrupt
        one(loop, step)

    monkeypatch.setattr(fit_interaction._Loop, "_one", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(base, data, tmp_path / "parts")
    monkeypatch.undo()
    parts, said = learn(base, data, tmp_path / "parts")
    assert any(line.startswith("goes on after step 10") for line in said)
    assert parts.steps == whole.steps
    assert parts.after == pytest.approx(whole.after, abs=1e-6)


def test_keeps_to_the_budget(tiny_base, data, tmp_path):
    report, said = learn(find_base(tiny_base), data, tmp_path, budget_s=0.5, epochs=1000, patience=1000)
    assert report.stopped == "budget"
    assert report.steps < report.planned
    assert any("the budget has no room for more" in line for line in said)


@pytest.mark.parametrize(
    ("groups", "ranks", "asked", "passes"),
    [
        (2880, True, None, 1.0),
        (720, True, None, 2.0),
        (24, True, None, 3.0),
        (2880, False, None, 3.0),
        (24, False, 0.5, 0.5),
    ],
)
def test_one_pass_is_made_where_it_is_long_enough(groups, ranks, asked, passes):
    assert FitSettings(epochs=asked, batch=32, general=0.25).passes(groups, ranks) == passes


def test_validation_is_ranked_once_a_pass(tiny_base, data, tmp_path):
    report, _ = learn(find_base(tiny_base), data, tmp_path, epochs=3, patience=9)
    assert len(report.history) == 3
    assert report.history[-1]["step"] == report.steps == report.planned


def test_stops_when_validation_gets_no_better(tiny_base, data, tmp_path):
    report, _ = learn(
        find_base(tiny_base), data, tmp_path, epochs=20, patience=1, learning_rate=0.0, head_learning_rate=0.0
    )
    assert report.stopped == "no better"
    assert len(report.history) == 2


def test_keeps_the_start_where_all_that_is_learnt_is_worse(tiny_base, data, tmp_path, monkeypatch):
    from semantic_ranker_training.tune import fit_interaction

    found = iter([0.9, 0.2, 0.3, 0.4, 0.1])

    def measured(measure, model):
        return np.full(20, next(found))

    monkeypatch.setattr(fit_interaction._Measure, "__call__", measured)
    base = find_base(tiny_base)
    report, _ = learn(base, data, tmp_path, epochs=2, mixes=(0.5, 1.0))
    assert (report.before, report.after, report.mix) == (pytest.approx(0.9), pytest.approx(0.9), 0.0)
    kept, start = InteractionCrossEncoder.from_folder(report.folder), open_interaction(base)
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(kept.state_dict()[name], start.state_dict()[name])
    best = InteractionCrossEncoder.from_folder(tmp_path / "best")
    assert not torch.equal(best.state_dict()[name], start.state_dict()[name])


@pytest.mark.parametrize(
    ("half", "most", "whole", "taken"),
    [
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (0.3, 0.5, 0.9), 0.5),  # one query of three is no proof
        ((0.5, 0.5, 0.5), (0.6, 0.7, 0.6), (0.6, 0.7, 0.6), 0.75),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (0.6, 0.7, 0.6), 1.0),
    ],
)
def test_stays_near_a_reranker_unless_further_off_is_surely_better(
    tiny_base, data, tmp_path, monkeypatch, half, most, whole, taken
):
    from semantic_ranker_training.tune import fit_interaction

    start, _ = learn(find_base(tiny_base), data, tmp_path / "start", epochs=1)
    base = find_base(start.folder)
    assert base.ranks
    found = iter(map(np.array, ((0.1,) * 3, whole, half, most)))
    monkeypatch.setattr(fit_interaction._Measure, "__call__", lambda measure, model: next(found))
    report, said = learn(base, data, tmp_path / "mixed", epochs=1, mixes=(0.5, 0.75, 1.0))
    assert report.mix == taken
    assert report.after == pytest.approx(np.mean({0.5: half, 0.75: most, 1.0: whole}[taken]))
    assert sum("of the new weights" in line for line in said) == 2
    name = "encoder.layer.0.attention.self.query.weight"
    old, all_new, kept = (
        InteractionCrossEncoder.from_folder(of).state_dict()[name]
        for of in (start.folder, tmp_path / "mixed" / "best", report.folder)
    )
    assert torch.allclose(kept, old + taken * (all_new - old), atol=1e-6)


@pytest.mark.parametrize(("worse_by", "taken"), [((0.4, 0.5, 0.5), 2), ((0.1,) * 3, 1)])
def test_takes_the_last_step_unless_an_earlier_one_is_surely_better(
    tiny_base, data, tmp_path, monkeypatch, worse_by, taken
):
    from semantic_ranker_training.tune import fit_interaction

    # Both times the mean falls by 0.1 after the second check: by chance on one query of three, or on all alike.
    start, best = np.zeros(3), np.array([0.6, 0.6, 0.6])
    last = best - (np.array([-0.6, 0.0, 0.9]) if taken == 2 else np.array(worse_by))
    found = iter([start, best, last])
    monkeypatch.setattr(fit_interaction._Measure, "__call__", lambda measure, model: next(found))
    report, _ = learn(find_base(tiny_base), data, tmp_path, epochs=2)
    assert len(report.history) == 2
    steps = [report.history[place]["step"] for place in (0, 1)]
    assert report.taken == steps[taken - 1]
    assert report.after == pytest.approx((last if taken == 2 else best).mean())
    kept = InteractionCrossEncoder.from_folder(report.folder).state_dict()
    earlier = InteractionCrossEncoder.from_folder(tmp_path / "best").state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.allclose(kept[name], earlier[name]) is (taken == 1)


def test_takes_the_mean_off_a_base_whose_vectors_all_point_the_same_way(tiny_base, data, tmp_path):
    name = "encoder.layer.1.output.LayerNorm.bias"

    def bias_after(folder, out):
        report, _ = learn(find_base(folder), data, out, epochs=1, learning_rate=0.0)
        return InteractionCrossEncoder.from_folder(report.folder).state_dict()[name]

    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if key.endswith(name))
    weights[key] = weights[key] + 5.0
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    centred = bias_after(folder, tmp_path / "narrow")
    assert float((weights[key] - centred).abs().mean()) > 4.0
    weights[key] = centred.clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(bias_after(folder, tmp_path / "wide"), centred)


def test_the_head_takes_words_as_one_by_the_language_of_the_documents(data, tmp_path):
    base = find_base(write_tiny_base(tmp_path / "words", ["los gatos rojos y el gato rojo de la casa"] * 40))
    tokenizer = bare_tokenizer(base.folder)
    step = StepData(open_interaction(base), tokenizer, list(data[0]), [], FitSettings(language="spanish"))
    head, vocabulary = step.model.head, tokenizer.get_vocab()
    apart = head.match_id.clone()
    step.fit_words(["english", "spanish"])
    assert torch.equal(head.match_id, apart)  # it was made for the language
    step.fit_words(["english"])
    assert head.match_id[vocabulary["rojos"]] == head.match_id[vocabulary["rojo"]]
    assert head.term_weight[vocabulary["los"]] == 0.0 < head.term_weight[vocabulary["gato"]]


def step_of(base, groups, general=(), **changes):
    step = StepData(
        open_interaction(base), bare_tokenizer(base.folder), list(groups), list(general), FitSettings(**changes)
    )
    step.fit_words([])
    step.parameters()
    return step


def test_a_hard_negative_of_a_question_is_the_answer_of_the_one_beside_it(tiny_base, data):
    groups = data[0]
    step = step_of(find_base(tiny_base), groups, batch=4)
    orders = [
        [groups.index(group) for number in range(15) for group in step._rows(15 * epoch + number)[0]]
        for epoch in (0, 1)
    ]
    assert orders[0] != orders[1]
    for order in orders:
        assert sorted(order) == list(range(60))  # each once an epoch
        beside = [groups[other].positives[0] in groups[row].negatives for row, other in itertools.pairwise(order)]
        assert sum(beside) > 20
    again = step_of(find_base(tiny_base), groups, batch=4)
    assert [group.query for group in again._rows(7)[0]] == [group.query for group in step._rows(7)[0]]


def test_own_negatives_are_encoded_for_what_someone_judged(tiny_base, data):
    plain = [
        Group(f"what is {row}", (f"This is {row}.", f"No {row}."), (1.0, 0.0), source="heading") for row in range(4)
    ]
    refused = Group("who is there", ("It is me.", "Nobody at all."), (1.0, 0.0), source="feedback")
    scored = Group("why is it so", ("It has to be.", "It is late."), (1.0, 0.0), scores=(2.0, -1.0), source="heading")
    step = step_of(find_base(tiny_base), data[0])
    assert step._negatives([*plain, refused, scored], 0) == ["Nobody at all.", "It is late."]
    assert step_of(find_base(tiny_base), data[0], own_negatives=("heading",))._negatives(plain, 0) == [
        group.negatives[0] for group in plain
    ]


def test_each_pass_takes_another_of_several_answers(tiny_base, data):
    two = Group("who is there", ("It is me.", "It is only me again.", "Nobody."), (1.0, 1.0, 0.0), source="heading")
    step = step_of(find_base(tiny_base), [two, *data[0][:7]], batch=4)
    assert [step._answer(two, number) for number in range(5)] == [two.positives[place] for place in (0, 0, 1, 1, 0)]
    rows, answers = [two, data[0][0]], ["It is only me again.", data[0][0].positives[0]]
    masked = step._same(rows, answers, ["It is me.", "It is only me again.", "Nobody.", data[0][0].positives[0]])
    assert masked.tolist() == [[True, False, False, False], [False] * 4]


def test_texts_of_like_length_are_encoded_together_and_nothing_else_changes(tiny_base, data, monkeypatch):
    from semantic_ranker_training.tune import interaction_step

    groups, _, general = data
    base = find_base(tiny_base)
    texts = {text for group in groups for text in group.positives}
    assert len({len(text) for text in texts}) > 8
    shapes, losses, slopes = [], [], []
    encode_of = interaction_step.split_states

    def seen(model):
        def encode(tokens, mask):
            shapes.append(tokens.shape)
            return encode_of(model)(tokens, mask)

        return encode

    monkeypatch.setattr(interaction_step, "split_states", seen)
    for together in (8, 1000):
        monkeypatch.setattr(interaction_step, "_AT_ONCE", together)
        step = step_of(base, groups, general, batch=32)
        loss = step.step(3)
        torch.autograd.backward(loss)
        losses.append(float(loss.detach()))
        slopes.append(step.model.encoder.layer[0].attention.self.query.weight.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(slopes[0], slopes[1], atol=1e-6)
    padded = {
        together: sum(rows * long for rows, long in shapes if (rows > 8) == (together > 8)) for together in (8, 1000)
    }
    assert padded[8] < padded[1000]


def test_a_base_costs_what_its_layers_cost(tiny_base, bert_folder, tmp_path):
    assert find_base(None).cost == 1.0
    assert find_base(tiny_base).cost < 0.1
    shutil.copytree(tiny_base, tmp_path / "wide")
    config = json.loads((tmp_path / "wide" / "config.json").read_text())
    wide = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12}
    (tmp_path / "wide" / "config.json").write_text(json.dumps({**config, **wide}))
    assert find_base(tmp_path / "wide").cost == 2.0
    (tmp_path / "wide" / "config.json").write_text(json.dumps({"model_type": "bert", "num_layers": 3}))
    assert find_base(tmp_path / "wide").cost == 1.0


def test_a_base_knows_its_languages(tiny_base):
    assert find_base(None).languages == ("en",)
    assert find_base(tiny_base).languages == ()


def test_a_model_that_reads_pairs_is_trained_too(bert_folder, data, tmp_path):
    groups, task, general = data
    small = RerankTask(
        queries=task.queries,
        corpus=task.corpus,
        qrels=task.qrels,
        candidates={query: dict(list(of.items())[-30:]) for query, of in task.candidates.items()},
    )
    base = find_base(bert_folder)
    assert (base.kind, base.becomes, base.ranks) == ("cls", "cls", True)
    report, _ = learn(base, (groups[:20], small, general), tmp_path, epochs=1, passage_tokens=32)
    assert report.before is not None
    assert (report.folder / "model.safetensors").is_file()
    again, _ = learn(base, (groups[:20], small, general), tmp_path, epochs=1, passage_tokens=32)
    assert again.after == report.after


def test_the_bundled_reranker_is_put_together_as_it_was_trained():
    """Its float32 logits are those that int8 was made from."""
    base = find_base(None)
    model = open_interaction(base)
    query, texts = (
        "how do I reset my password",
        ["Cats sleep all day.", "To change a forgotten password, open Settings."],
    )
    with InteractionScorer(model, tokenizer_file(base)) as scorer:
        found = scorer.score_many([query], [texts])[0]
    with CrossEncoder(cache_bytes=0) as bundled:
        assert found == pytest.approx(bundled.score(query, texts), abs=0.5)
    assert ModelFolder.open(BUNDLED).settings.layout == "segments"
    assert not torch.equal(model.head.project.weight, torch.eye(384))


def test_int8_alone_cannot_be_trained_further(tmp_path):
    from semantic_ranker.errors import ModelLoadError

    shutil.copytree(BUNDLED, tmp_path / "copy")
    with pytest.raises(ModelLoadError, match="int8 graphs cannot be trained further"):
        find_base(tmp_path / "copy")
    assert find_base(None).name == "bundled reranker"
