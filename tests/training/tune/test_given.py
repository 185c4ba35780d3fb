"""What the user gives beside the documents."""

import json

import pytest

from semantic_ranker.documents import chunk_document, read_folder
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker.feedback import FeedbackLog, Interaction, Review
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.tune import given
from semantic_ranker_training.tune.library import read_library
from semantic_ranker_training.tune.mining import with_refused
from semantic_ranker_training.tune.passages import build_corpus
from semantic_ranker_training.tune.split import split_corpus


@pytest.fixture
def parts(folder, tmp_path):
    """Corpus and split of the documents, with a learnt and a tested one."""
    corpus = build_corpus(read_library(folder, tmp_path / "cache"))
    split = split_corpus(corpus, tmp_path / "split.json", 13)
    learnt, tested = (next(name for name, side in split.side.items() if side == of) for of in ("train", "test"))
    return corpus, split, learnt, tested


def test_reads_questions_of_any_usual_form(tmp_path):
    (tmp_path / "q.txt").write_text("how do I get in?\n\nwho pays\n")
    (tmp_path / "q.tsv").write_text("a\thow do I get in?\nb\twho pays\n")
    (tmp_path / "q.jsonl").write_text('{"_id": "a", "text": "how do I get in?"}\n{"_id": "b", "query": "who pays"}\n')
    assert given.read_queries(tmp_path / "q.txt") == {"q1": "how do I get in?", "q2": "who pays"}
    for name in ("q.tsv", "q.jsonl"):
        assert given.read_queries(tmp_path / name) == {"a": "how do I get in?", "b": "who pays"}
    (tmp_path / "bad.jsonl").write_text('{"_id": "a", "text": "x"}\nnot json\n')
    with pytest.raises(DataFormatError, match=r"line 2 of bad\.jsonl"):
        given.read_queries(tmp_path / "bad.jsonl")


def test_judgments_name_documents_and_sections_and_only_learnt_ones_become_pairs(parts, tmp_path):
    corpus, split, learnt, tested = parts
    topic = learnt.removesuffix(".md")
    rows = [
        f"a\t{learnt}#about-tools-of-the-{topic}\t1",
        f"b\t{tested}#About visitors of the {tested.removesuffix('.md')}\t2",
        "a\tabsent.md\t1",
    ]
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    judged, missing = given.read_judged({"a": "my spade broke", "b": "may guests come"}, tmp_path / "qrels.tsv", corpus)
    assert missing == ["absent.md"]
    assert {of.id: list(of.answers.values()) for of in judged} == {"a": [1], "b": [2]}
    pairs = given.judged_pairs(judged, corpus, split)
    assert [(pair.query, pair.document) for pair in pairs] == [("my spade broke", learnt)]
    (tmp_path / "none.tsv").write_text("z\tabsent.md\t1\n")
    with pytest.raises(DataFormatError, match="got none, but 1 of others"):
        given.read_judged({"a": "x"}, tmp_path / "none.tsv", corpus)


@pytest.mark.parametrize("by_chunk", [False, True])
def test_feedback_on_tested_documents_is_not_learnt_from(parts, folder, tmp_path, by_chunk):
    corpus, split, learnt, tested = parts
    read = {of.source: of for of in read_folder(folder).documents}
    names = [chunk_document(read[name])[0].id if by_chunk else name for name in (learnt, tested)]
    log = FeedbackLog(tmp_path / "log.jsonl")
    for query, name in zip(("where is the spade", "where is the rule"), names, strict=True):
        log.append(Interaction(query=query, review=Review(relevant=(name,))))
    others = [of for of in corpus.passages.values() if of.document not in (learnt, tested)]
    refused = next(of for of in others if split.of(of.id) == "train")
    unseen = next(of for of in corpus.passages.values() if split.of(of.id) == "test" and of.document != tested)
    log.append(Interaction(query="where is the spade", review=Review(irrelevant=(refused.id, unseen.id))))
    pairs, turned_down = given.feedback_pairs(tmp_path / "log.jsonl", corpus, split, read)
    assert turned_down == {"where is the spade": (refused.text,)}
    assert [(pair.query, pair.document, pair.strategy) for pair in pairs] == [
        ("where is the spade", learnt, "feedback")
    ]
    log.append(Interaction(query="x", review=Review(relevant=("elsewhere.md",))))


def test_what_reviewers_refused_comes_before_what_was_mined():
    group = Group(
        "q", ("yes", "mined 1", "mined 2", "refused 1"), (1.0, 0.0, 0.0, 0.0), (0.9, 0.4, 0.2, 0.3), source="faq"
    )
    other = Group("other", ("yes", "no"), (1.0, 0.0))
    found, same = with_refused([group, other], {"q": ("refused 1", "refused 2", "yes", "refused 1")})
    assert same is other
    assert found.positives == ("yes",)
    assert found.negatives == ("refused 1", "refused 2", "mined 1", "mined 2")
    assert found.scores == (0.9, 0.3, 0.2, 0.4, 0.2)
    assert found.source == "faq"


def test_a_log_of_another_folder_is_refused(parts, tmp_path):
    corpus, split, *_ = parts
    FeedbackLog(tmp_path / "log.jsonl").append(Interaction(query="x", review=Review(relevant=("elsewhere.md",))))
    with pytest.raises(InvalidInputError, match=r"got none of 1, such as 'elsewhere.md'"):
        given.feedback_pairs(tmp_path / "log.jsonl", corpus, split)


def test_a_passage_is_generated_for_once(tmp_path):
    asked = []

    def generate(passages):
        asked.extend(passages)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return [["which words does the cook write down"] for _ in passages]

    texts = [
        ("a.md", f"Everybody who comes writes {row} words into the book that lies near the door.") for row in range(3)
    ]
    kept = tmp_path / "generated.jsonl"
    with pytest.raises(KeyboardInterrupt):
        given.generator_pairs(generate, texts, kept, "g")
    pairs = given.generator_pairs(generate, texts, kept, "g")
    assert len(pairs) == 3
    assert [text.split()[4] for text in asked] == ["0", "1", "1", "2"]
    assert {pair.strategy for pair in pairs} == {"generated"}
    with kept.open("a") as file:
        file.write(json.dumps({"by": "g"})[:-3])
    assert len(given.generator_pairs(lambda _: pytest.fail("asked again"), texts, kept, "g")) == 3


def test_a_question_counts_where_two_searches_agree(parts):
    corpus, *_ = parts
    one, other, third = list(corpus.passages)[:3]
    rankings = [[{one: 1.0}, {one: 1.0}, {}], [{one: 0.4}, {other: 1.0}, {}], [{other: 2.0}, {third: 1.0}, {}]]
    pairs = given.asked_pairs(["agreed on", "not agreed on", "not found"], rankings, corpus)
    assert [(pair.query, pair.positive) for pair in pairs] == [("agreed on", corpus.passages[one].text)]
