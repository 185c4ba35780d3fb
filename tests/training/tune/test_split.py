"""Who is learnt from and who is tested on."""

from semantic_ranker_training.data.duplicates import normalized
from semantic_ranker_training.tune.library import read_library
from semantic_ranker_training.tune.passages import build_corpus
from semantic_ranker_training.tune.split import distinct_questions, split_corpus


def split_of(folder, tmp_path, seed=13):
    corpus = build_corpus(read_library(folder, tmp_path / "cache"))
    return corpus, split_corpus(corpus, tmp_path / "split.json", seed)


def test_no_document_is_on_two_sides_and_each_side_has_questions(folder, tmp_path):
    corpus, split = split_of(folder, tmp_path)
    assert not split.by_section
    asked = {side: split.questions(corpus, side) for side in ("train", "val", "test")}
    assert all(len(of) >= 5 for of in asked.values())
    documents = [{of.document for of in part} for part in asked.values()]
    assert not documents[0] & documents[2]
    assert not documents[1] & documents[2]


def test_a_document_stays_on_its_side_when_others_change(folder, tmp_path, document):
    _, before = split_of(folder, tmp_path)
    (folder / "garden.md").write_text(document("garden", 1))
    (folder / "stable.md").unlink()
    for number in range(6):
        (folder / f"new{number}.md").write_text(document(f"newplace{number}"))
    _, after = split_of(folder, tmp_path)
    assert all(after.side[name] == side for name, side in before.side.items() if name in after.side)


def test_a_copy_of_a_tested_document_is_tested_too(folder, tmp_path):
    _, before = split_of(folder, tmp_path)
    tested = next(name for name, side in before.side.items() if side == "test")
    (folder / "copy.md").write_text((folder / tested).read_text() + "\nOne more line at the end of it.\n")
    _, after = split_of(folder, tmp_path)
    assert after.side["copy.md"] == "test"


def test_a_document_that_joins_two_sides_is_on_none(folder, tmp_path):
    _, before = split_of(folder, tmp_path)
    tested, learnt = (next(n for n, side in before.side.items() if side == want) for want in ("test", "train"))
    both = (folder / tested).read_text() + "\n" + (folder / learnt).read_text()
    (folder / "both.md").write_text(both)
    corpus, after = split_of(folder, tmp_path)
    assert (after.side[tested], after.side[learnt], after.side["both.md"]) == ("test", "train", "none")
    assert all(of.document != "both.md" for side in ("train", "val", "test") for of in after.questions(corpus, side))


def test_few_documents_are_split_by_section(tmp_path, document):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "one.md").write_text(document("garden", things=[f"matter number{row}" for row in range(40)]))
    corpus, split = split_of(docs, tmp_path)
    assert split.by_section
    sides = {side: {of.answers for of in split.questions(corpus, side)} for side in ("train", "val", "test")}
    assert all(sides.values())
    assert not sides["train"] & sides["test"]


def test_a_question_of_several_documents_is_not_asked(folder, tmp_path):
    for name in ("garden", "kitchen"):
        text = (folder / f"{name}.md").read_text()
        (folder / f"{name}.md").write_text(text.replace(f"## About tools of the {name}", "## How to get help"))
    corpus, _ = split_of(folder, tmp_path)
    asked = distinct_questions(corpus.questions)
    assert "How to get help" in {of.text for of in corpus.questions}
    assert "How to get help" not in {of.text for of in asked}
    assert len({normalized(of.text) for of in asked}) == len(asked)
