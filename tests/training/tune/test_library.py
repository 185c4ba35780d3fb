"""Reading a folder: everything that a user may have lying about in it."""

import os

import pytest

from semantic_ranker.errors import DataFormatError
from semantic_ranker_training.tune.library import read_library

TEXT = "There is a long enough sentence in this section so that it counts as a passage of text."


def test_reads_every_kind_into_sections_and_code_into_functions(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text(f"# Title\n\n## Part one\n\n{TEXT}\n")
    (docs / "b.rst").write_text(f"Title\n=====\n\nPart two\n--------\n\n{TEXT}\n")
    (docs / "c.html").write_text(f"<h1>Title</h1><h2>Part three</h2><p>{TEXT}</p>")
    (docs / "d.txt").write_text(TEXT)
    body = "\n".join(f"    value_{row} = number + {row}" for row in range(8))
    (docs / "e.py").write_text(f'def add(number):\n    """Add several numbers to the given number."""\n{body}\n')
    found = read_library(docs, tmp_path / "cache").documents
    headings = {source: [of.heading for of in one.sections if of.body] for source, one in found.items()}
    assert headings == {
        "a.md": ["Part one"],
        "b.rst": ["Part two"],
        "c.html": ["Part three"],
        "d.txt": [""],
        "e.py": [],
    }
    assert found["e.py"].functions[0][0] == "Add several numbers to the given number"


def test_a_file_that_did_not_change_is_not_read_again(folder, tmp_path):
    assert read_library(folder, tmp_path / "cache").read == 14
    assert read_library(folder, tmp_path / "cache").read == 0
    (folder / "garden.md").write_text(f"# New\n\n{TEXT}\n")
    (folder / "kitchen.md").unlink()
    found = read_library(folder, tmp_path / "cache")
    assert found.read == 1
    assert "kitchen.md" not in found.documents
    assert found.documents["garden.md"].title == "New"


def test_says_what_was_left_out_and_reads_the_rest(tmp_path):
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "good.md").write_text(f"# Good\n\n{TEXT}\n")
    (docs / "same.md").write_text(f"# Good\n\n{TEXT}\n")
    (docs / "binary.md").write_bytes(bytes(range(256)) * 10)
    (docs / "latin.txt").write_bytes("Un año más, mañana será otro día en la cocina del señor Núñez.".encode("cp1252"))
    (docs / "utf16.txt").write_text("A text in another encoding that is common on one system.", encoding="utf-16")
    (docs / "big.md").write_text("x " * 5000)
    (docs / "sub" / "loop").symlink_to(docs)
    (docs / "broken.md").symlink_to(tmp_path / "nowhere")
    os.mkfifo(docs / "pipe.md")
    found = read_library(docs, tmp_path / "cache", max_bytes=4000)
    assert set(found.documents) == {"good.md", "latin.txt", "utf16.txt"}
    assert "mañana" in found.documents["latin.txt"].sections[0].body
    assert {reason for reason in found.reasons if reason not in ("hidden", "other kind")} == {
        "binary", "broken link", "duplicate", "link loop", "not a file", "too large",
    }  # fmt: skip
    assert any("too large" in note and "big.md" in note for note in found.notes())


@pytest.mark.parametrize("name", ["picture.png", ""])
def test_an_empty_folder_says_what_would_be_read(tmp_path, name):
    docs = tmp_path / "docs"
    docs.mkdir()
    if name:
        (docs / name).write_bytes(b"\x89PNG")
    with pytest.raises(DataFormatError, match=r"Expected documents to read in .*\.md.*found none"):
        read_library(docs, tmp_path / "cache")


def test_short_lines_before_paragraphs_are_headings_where_there_are_none(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    body = f"{TEXT} {TEXT}"
    (docs / "a.txt").write_text(
        f"How to get in\n\n{body}\n\nContents\n\nOne two\n\nThree four\n\n{body}\n\nIt is so.\n\n{body}\n"
    )
    (docs / "b.md").write_text(f"# One\n\n## Two\n\nHow to get in\n\n{body}\n")
    found = read_library(docs, tmp_path / "cache").documents
    assert [of.heading for of in found["a.txt"].sections if of.heading] == ["How to get in", "Three four"]
    assert [of.heading for of in found["b.md"].sections] == ["One", "Two"]
