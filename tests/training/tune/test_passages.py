"""Passages and questions of documents."""

from semantic_ranker_training.tune.library import read_library
from semantic_ranker_training.tune.passages import build_corpus

LONG = "Everybody writes down what was used and puts it back before the evening comes and the doors are shut."


def corpus_of(tmp_path, **files):
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in files.items():
        (docs / f"{name}.md").write_text(text)
    return build_corpus(read_library(docs, tmp_path / "cache"))


def test_a_passage_is_what_was_written_below_its_heading(tmp_path):
    found = corpus_of(tmp_path, a=f"# Guide\n\n## Lost keys\n\nWho has lost keys tells the desk. {LONG}\n")
    assert found.passages["a.md#1.0"].text == f"Who has lost keys tells the desk. {LONG}"
    assert [(of.text, of.kind, of.answers) for of in found.questions] == [("Lost keys", "heading", ("a.md#1.0",))]


def test_titles_questions_and_links_ask_too(tmp_path):
    found = corpus_of(
        tmp_path,
        a=f"# Travel guide\n\nIntroduction for all who go abroad. {LONG}\n\n## Who pays for trains?\n\n{LONG} Twice.\n",
        b=f"# Money\n\nMoney is told of here for everybody. {LONG} And [what a ticket costs](a.md#who-pays-for-trains) "
        "and [here](a.md) and [outside of it](https://example.org/x).\n",
    )
    asked = {(of.text, of.kind, of.document, of.other) for of in found.questions}
    assert asked >= {
        ("Travel guide", "title", "a.md", ""),
        ("Who pays for trains?", "faq", "a.md", ""),
        ("what a ticket costs", "link", "a.md", "b.md"),
    }
    assert not {text for text, *_ in asked} & {"here", "outside of it"}


def test_a_heading_of_one_word_is_asked_with_the_title(tmp_path):
    found = corpus_of(tmp_path, a=f"# Travel guide\n\n## Payment\n\n{LONG}\n")
    assert [of.text for of in found.questions] == ["Travel guide: Payment"]


def test_repeated_passages_are_one(tmp_path):
    text = " ".join(f"word{number} and other{number}" for number in range(40))
    found = corpus_of(tmp_path, a=f"# One\n\n## First part\n\n{text}\n", b=f"# Two\n\n## Second part\n\n{text} end\n")
    assert len(found.passages) == 1
    assert {of.answers for of in found.questions} == {("a.md#1.0",)}
