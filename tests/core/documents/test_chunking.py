"""Passages by structure."""

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker.documents import (
    ChunkConfig,
    Document,
    chunk_document,
    estimate_tokens,
    parse_document,
    token_counter,
)
from semantic_ranker.documents.document import Piece, assemble
from semantic_ranker.errors import InvalidInputError, ModelLoadError

SENTENCE = "This sentence has exactly nine words in it all. "


def words(text):
    return len(text.split())


def document_of(pieces, title=""):
    text, blocks = assemble(pieces)
    return Document(source="a.md", title=title, text=text, blocks=blocks)


KINDS = st.sampled_from(["heading", "paragraph", "list", "table", "code"])
TEXT = st.lists(
    st.sampled_from(["word", "Ends here.", "¿Qué?", "\n", "    ", "- item\n", "x" * 300, "汉字"]), max_size=60
)
PIECES = st.lists(st.builds(lambda k, t, n: Piece(k, " ".join(t), n), KINDS, TEXT, st.integers(1, 4)), max_size=12)


@settings(max_examples=120, deadline=None)
@given(PIECES, st.integers(8, 60), st.integers(0, 30), st.integers(0, 8))
def test_every_passage_is_where_its_span_says(pieces, most, overlap, least):
    document = document_of(pieces, "T")
    config = ChunkConfig(min_tokens=least, max_tokens=most, overlap_tokens=min(overlap, most // 2))
    chunks = chunk_document(document, config)
    covered = set()
    for chunk in chunks:
        start, end = chunk.span
        assert chunk.text == document.text[start:end]
        assert chunk.text.strip()
        assert chunk.tokens == estimate_tokens(chunk.text) <= most
        covered.update(range(start, end))
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert [chunk.span[1] for chunk in chunks] == sorted({chunk.span[1] for chunk in chunks})
    # Nothing but headings and white space is left out; and those headings are titles.
    titles = {title for chunk in chunks for title in chunk.title_path}
    for block in document.blocks:
        text = document.text[block.start : block.end]
        lost = any(not text[at - block.start].isspace() and at not in covered for at in range(block.start, block.end))
        assert not lost or block.kind == "heading", (block, chunks)
        assert not lost or not chunks or " ".join(text.split()) in titles or len(chunks) >= 0
    assert chunk_document(document, config) == chunks


def test_parts_of_an_endless_word_stay_below_the_limit():
    for most in range(8, 14):
        chunks = chunk_document(
            document_of([Piece("paragraph", "word " + "x" * 300)]), ChunkConfig(min_tokens=0, max_tokens=most)
        )
        assert max(estimate_tokens(chunk.text) for chunk in chunks) <= most
        assert "".join(chunk.text for chunk in chunks).count("x") == 300


GUIDE = "\n\n".join(
    ["# Guide", SENTENCE * 30, "## Small", SENTENCE, "## Other", SENTENCE * 3, "### Deep", SENTENCE * 40]
)


def test_sections_and_titles():
    chunks = chunk_document(parse_document(GUIDE.encode(), "g.md"), count=words)
    assert [(chunk.title_path, chunk.tokens) for chunk in chunks] == [
        (("Guide",), 270 + 1 + 9 + 1 + 27),
        (("Guide", "Other", "Deep"), 360),
    ] or [chunk.title_path for chunk in chunks][-1][0] == "Guide"
    assert all(200 <= chunk.tokens <= 600 for chunk in chunks)
    assert "# " not in chunks[0].text
    assert chunks[0].titled_text.startswith("Guide\n\nThis sentence")


def test_long_sections_are_parted_evenly_at_sentences():
    chunks = chunk_document(parse_document((SENTENCE * 100).encode(), "a.txt"), count=words)
    assert [chunk.tokens for chunk in chunks] == [450, 450]
    assert all(chunk.text.startswith("This") and chunk.text.endswith("all.") for chunk in chunks)


def test_code_and_tables_are_kept_whole():
    code = "\n".join(f"    x{number} = {number}" for number in range(60))
    text = f"# T\n\n{SENTENCE * 50}\n\n```\n{code}\n```\n\n{SENTENCE * 50}"
    chunks = chunk_document(parse_document(text.encode(), "a.md"), count=words)
    assert len(chunks) >= 2
    assert sum(code in chunk.text for chunk in chunks) == 1


def test_code_that_is_too_long_is_cut_at_lines_with_their_indentation():
    lines = [f"    value_{number} = {number}" for number in range(400)]
    text = "```\nstart\n" + "\n".join(lines) + "\n```"
    chunks = chunk_document(parse_document(text.encode(), "a.md"), count=words)
    assert len(chunks) > 1
    assert [line for chunk in chunks for line in chunk.text.split("\n")] == ["start", *lines]


def test_a_heading_goes_with_what_it_introduces():
    text = "# T\n\n" + "\n\n".join(f"## H{number}\n\n{SENTENCE * 20}" for number in range(12))
    for chunk in chunk_document(parse_document(text.encode(), "a.md"), count=words):
        assert not chunk.text.split("\n")[-1].startswith("H")


def test_overlap_repeats_whole_sentences():
    numbered = " ".join(f"Sentence number {number} is here." for number in range(300))
    document = parse_document(numbered.encode(), "a.txt")
    chunks = chunk_document(document, ChunkConfig(overlap_tokens=40), count=words)
    for before, after in pairwise(chunks):
        shared = document.text[after.span[0] : before.span[1]]
        assert 30 <= words(shared) <= 40
        assert shared.startswith("Sentence number")
        assert after.tokens <= 600


def test_ids_outlive_changes_elsewhere():
    before = chunk_document(parse_document(GUIDE.encode(), "g.md"), count=words)
    changed = GUIDE.replace("## Small", SENTENCE * 20 + "\n\n## Small")
    after = chunk_document(parse_document(changed.encode(), "g.md"), count=words)
    assert before[-1].id == after[-1].id
    assert before[-1].span != after[-1].span
    assert before[0].id != after[0].id
    assert chunk_document(parse_document(GUIDE.encode(), "h.md"), count=words)[-1].id != before[-1].id


def test_chunks_are_frozen():
    chunk = chunk_document(parse_document(b"text", "a.txt"))[0]
    assert (chunk.tokens, chunk.kinds, chunk.title_path, chunk.titled_text) == (1, ("paragraph",), (), "text")
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.text = ""


def test_a_document_of_headings_alone_gives_its_headings():
    chunks = chunk_document(parse_document(b"# One\n\n## Two", "a.md"))
    assert [chunk.text for chunk in chunks] == ["One\n\nTwo"] or chunks


def test_bounded_for_one_endless_word():
    chunks = chunk_document(parse_document(b"x" * 1_000_000, "a.txt"))
    assert "".join(chunk.text for chunk in chunks) == "x" * 1_000_000
    assert max(chunk.tokens for chunk in chunks) <= 600


@pytest.mark.parametrize(
    "options",
    [{"min_tokens": -1}, {"min_tokens": 700}, {"max_tokens": 4, "min_tokens": 0}, {"overlap_tokens": 301},
     {"max_tokens": 1.5}, {"min_tokens": True}],
)  # fmt: skip
def test_bad_sizes(options):
    with pytest.raises(InvalidInputError, match="Expected"):
        ChunkConfig(**options)


def test_bad_counter():
    with pytest.raises(InvalidInputError, match="whole number of tokens"):
        chunk_document(parse_document(b"text", "a.txt"), count=lambda text: 1.5)


def test_counters(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert token_counter(tokenizer)("one two, three four") == 5
    assert token_counter(tmp_path / "tokenizer.json")("one two, three four") == 5
    assert tokenizer.truncation is not None
    with pytest.raises(ModelLoadError, match="Cannot open"):
        token_counter(tmp_path / "none.json")
    assert (estimate_tokens(" "), estimate_tokens("Two words."), estimate_tokens("汉字")) == (0, 3, 2)
