"""From a folder to questions on two sides: odd folders too."""

import itertools
import json
import random
from dataclasses import replace

import pytest

from semantic_ranker.errors import DataFormatError
from semantic_ranker_training.prepare.strategies import Pair
from semantic_ranker_training.tune.base import Base, find_base
from semantic_ranker_training.tune.data import kinds, prepare
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.estimate import estimate, guard_queries
from semantic_ranker_training.tune.fit import FitReport, FitSettings
from semantic_ranker_training.tune.library import read_library
from semantic_ranker_training.tune.mining import learning_pairs, mined
from semantic_ranker_training.tune.options import TuneOptions
from semantic_ranker_training.tune.passages import NATURAL
from semantic_ranker_training.tune.publish import limits_of


def data_of(docs, tmp_path, **changes):
    options = TuneOptions(documents=docs, out=tmp_path / "out", **changes)
    library = read_library(docs, tmp_path / "cache")
    return prepare(library, tmp_path / "split.json", options), options


def test_nothing_that_is_tested_is_learnt_from(folder, tmp_path):
    data, options = data_of(folder, tmp_path)
    pairs = learning_pairs(data.library, data.corpus, data.split, (), options, "english").pairs
    tested = {key for of in data.tested for key in of.answers}
    texts = {data.corpus.passages[key].text for key in tested}
    assert {data.split.of(key) for key in tested} == {"test"}
    assert not texts & {pair.positive for pair in pairs}
    assert not {of.text for of in data.tested} & {pair.query for pair in pairs}
    assert not {of.document for of in data.tested} & {pair.document for pair in pairs}
    assert not set(data.texts("train").values()) & texts
    assert {pair.strategy for pair in pairs} >= {"heading", "title", "cloze", "phrases"}


def test_a_base_of_twice_the_layers_is_planned_with_twice_the_time(folder, tmp_path, monkeypatch):
    data, options = data_of(folder, tmp_path, budget_s=1e6)
    clock = itertools.count()
    monkeypatch.setattr("semantic_ranker_training.tune.estimate.time.monotonic", lambda: float(next(clock)))
    small = find_base(None)
    big = tmp_path / "big"
    big.mkdir()
    config = json.loads((small.folder / "config.json").read_text())
    twice = {"model_type": "bert", "num_hidden_layers": 2 * config["num_hidden_layers"]}
    (big / "config.json").write_text(json.dumps({**config, **twice}))
    one, two, three = (
        estimate(data, of, options, FitSettings())
        for of in (small, Base(big, "bi-encoder", "big"), Base(big, "interaction", "big"))
    )
    assert three.learning_s == pytest.approx(2 * one.learning_s)
    assert two.learning_s > three.learning_s  # what does not rank yet is learnt from more often
    assert two.before_s == one.before_s
    assert one.after_s < two.after_s < three.after_s  # a base that ranks is measured too
    assert two.total_s < options.budget_s


def test_fewer_queries_of_big_guard_collections_fit_into_a_budget(folder, tmp_path, monkeypatch):
    guards = []
    for name, words in (("small", 5), ("big", 300)):
        guards.append(tmp_path / name)
        (guards[-1] / "qrels").mkdir(parents=True)
        body = "word " * words
        lines = [json.dumps({"_id": f"d{row}", "title": "", "text": f"{body} {row}"}) for row in range(2000)]
        (guards[-1] / "corpus.jsonl").write_text("\n".join(lines))
        (guards[-1] / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "word"}))
        (guards[-1] / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    clock = itertools.count(step=0.08)
    monkeypatch.setattr("semantic_ranker_training.tune.estimate.time.monotonic", lambda: next(clock))
    found = {}
    for place, given in enumerate([(), (guards[0],), tuple(guards)]):
        data, options = data_of(folder, tmp_path / str(place), budget_s=600.0, guards=given)
        found[len(given)] = estimate(data, find_base(None), options, FitSettings())
    assert found[0].guard_queries == found[1].guard_queries == 200
    assert 25 <= found[2].guard_queries < 100
    spared = found[2].after_s - found[1].after_s
    assert spared < 0.2 * 600.0 + 1
    more = [guard_queries(found[2], find_base(None), options, left) for left in (-100.0, 0.0, 60.0, 1e6)]
    assert more[0] == more[1] == found[2].guard_queries < more[2] < more[3] == 200


def test_what_people_wrote_is_never_filtered_and_the_rest_can_be(folder, tmp_path):
    literal = "Rather long lines of words that nobody else has written down before noon.\n"
    (folder / "words.md").write_text(
        f"# Words of a page\n\n## Lines of words that nobody wrote\n\n{literal}\n{literal}"
    )
    found = {}
    for filters in (True, False):
        data, options = data_of(folder, tmp_path, filters=filters)
        found[filters] = learning_pairs(data.library, data.corpus, data.split, (), options, "english")
    kept, every = ([pair for pair in found[of].pairs if pair.strategy in NATURAL] for of in (True, False))
    assert kept == every
    asked = {pair.query for pair in kept}
    assert {of.text for of in data.split.questions(data.corpus, "train")} == asked
    assert len(found[False].pairs) > len(found[True].pairs)
    assert found[True].dropped["token_overlap"] > 0
    assert not {"token_overlap", "inconsistent"} & set(found[False].dropped)


def test_a_heading_that_its_passage_repeats_is_learnt_from_as_it_stands_and_a_copied_query_is_not(folder, tmp_path):
    text = "Who has lost keys tells the desk before noon, and whoever finds some brings them there without delay."
    (folder / "keys.md").write_text(f"# Keys of the house\n\n## Lost keys\n\n{text}\n")
    data, options = data_of(folder, tmp_path)
    (place,) = {of.answers[0] for of in data.corpus.questions if of.text == "Lost keys"}
    side = replace(
        data.split,
        side={**data.split.side, "keys.md": "train"},
        passages={**data.split.passages, place: "train"},
    )
    given = [Pair(query="lost keys tells the desk", positive=text, strategy="generated", document="keys.md")]
    found = learning_pairs(data.library, data.corpus, side, given, options, "english")
    learnt = {pair.query: pair.positive for pair in found.pairs}
    assert learnt["Lost keys"] == text
    assert given[0].query not in learnt
    assert found.dropped["query_in_positive"] == 1


def test_all_passages_of_a_section_answer_its_heading(folder, tmp_path):
    lines = [
        f"In the cellar number {row} there stand {row + 3} barrels of wine that nobody has opened." for row in range(40)
    ]
    (folder / "cellar.md").write_text("# Below the house\n\n## What the cellar holds\n\n" + "\n\n".join(lines) + "\n")
    data, options = data_of(folder, tmp_path, seed=4)
    question = next(of for of in data.corpus.questions if of.text == "What the cellar holds")
    assert data.split.of(question.answers[0]) == "train"
    assert len(question.answers) > 2
    learnt = learning_pairs(data.library, data.corpus, data.split, (), options, "english")
    texts = {data.corpus.passages[key].text for key in question.answers}
    assert {pair.positive for pair in learnt.pairs if pair.query == question.text} == texts
    embedder = KeptEmbedder(tmp_path / "vectors", len(data.corpus.passages), "en", options.budget_s, find_base(None))
    groups = mined(
        learnt.pairs, list(data.texts("train").values()), tmp_path / "mine", embedder, None, options, "english"
    )
    (group,) = [group for group in groups if group.query == question.text]
    assert set(group.positives) == texts
    assert len(group.negatives) > 3
    assert not texts & set(group.negatives)


def test_texts_without_headings_are_asked_by_sentences(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    chooser = random.Random(0)
    for number in range(60):
        words = [f"w{number}x{row}" for row in range(30)]
        lines = [" ".join(chooser.sample(words, 9)).capitalize() + "." for _ in range(6)]
        (docs / f"{number}.txt").write_text(" ".join(lines))
    data, _ = data_of(docs, tmp_path)
    assert kinds(data.tested) == {"sentence": len(data.tested)}
    assert any("further from people's questions" in note for note in data.notes)
    question = data.tested[0]
    assert question.text.lower() not in data.corpus.passages[question.answers[0]].text.lower()


def test_a_folder_of_copies_counts_as_one_document(tmp_path, document):
    docs = tmp_path / "docs"
    docs.mkdir()
    text = document("garden", things=[f"matter number{row}" for row in range(60)])
    for number in range(20):
        (docs / f"{number}.md").write_text(f"{text}\nCopy {number}.\n")
    data, _ = data_of(docs, tmp_path)
    assert data.split.by_section
    assert len(data.corpus.passages) < 70


def test_one_file_with_many_sections_is_enough_and_one_with_few_says_so(tmp_path, document):
    path = tmp_path / "one.md"
    path.write_text(document("garden", things=[f"matter number{row}" for row in range(60)]))
    data, _ = data_of(path, tmp_path)
    assert data.split.by_section
    assert len(data.tested) >= 8
    assert any("a weaker proof" in note for note in data.notes)
    small = tmp_path / "small.md"
    small.write_text(document("garden", things=["tools", "keys"]))
    with pytest.raises(DataFormatError, match=r"Expected 8 or more held-out questions"):
        data_of(small, tmp_path)


def test_many_questions_are_sampled_and_the_sample_stays(folder, tmp_path, document):
    before, _ = data_of(folder, tmp_path, most_tested=10)
    (folder / "zoo.md").write_text(document("zoo"))
    after, _ = data_of(folder, tmp_path, most_tested=10)
    assert len(before.tested) == len(after.tested) == 10
    assert len({of.text for of in before.tested} & {of.text for of in after.tested}) >= 7


def test_a_reader_is_told_that_the_budget_cut_learning_short(folder, tmp_path):
    data, _ = data_of(folder, tmp_path)
    whole = FitReport(
        folder=tmp_path, before=0.1, after=0.2, taken=7, steps=90, planned=90, seconds=9.0, stopped="done", mix=1.0,
        history=(), groups=90,
    )  # fmt: skip
    short = replace(whole, steps=7, stopped="budget")
    told = set(limits_of(find_base(None), data, short)) - set(limits_of(find_base(None), data, whole))
    assert told == {
        "the budget had room for 7 of the 90 steps of learning that were wanted: more time (--budget) may gain more"
    }
