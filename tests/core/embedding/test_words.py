import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker.backends import words as module
from semantic_ranker.backends.static import BUNDLED_EMBEDDER
from semantic_ranker.backends.words import WordTable


def _tokenizer(special=True):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED_EMBEDDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = special
    return tokenizer


TOKENIZER = _tokenizer()
TABLE = WordTable(TOKENIZER)


def _whole(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=4))
def test_ids_are_those_of_the_whole_text(texts):
    assert TABLE.encode(texts) == [_whole(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "Reset your pass-word, e.g. in Settings…  now",
        "a\x1cb\x0bc\x85d\u2028e\u00a0f\u3000g\u200bh",
        "caf\u00e9 cafe\u0301 \u0301alone na\u00efve",
        "漢字と仮名 mixed with words",
        "[CLS] [SEP][MASK] ##ing [unused1]",
        "x" * 300,
        "line\nline\r\nline\ttab\0nul",
        "\U0001f9d1\u200d\U0001f680 emoji",
    ],
)
def test_ids_are_those_of_the_whole_text_where_spaces_are_odd(text):
    assert TABLE.encode([text, text]) == [_whole(text)] * 2


def test_a_full_table_is_begun_anew_and_long_words_are_not_kept(monkeypatch):
    monkeypatch.setattr(module, "MOST_WORDS", 10)
    table = WordTable(TOKENIZER)
    for number in range(40):
        text = f"word{number} another{number} " + "y" * 200
        assert table.encode([text]) == [_whole(text)]
        assert len(table._known) <= 10
        assert max(map(len, table._known)) <= 64
    many = " ".join(f"w{number}" for number in range(50))
    assert table.encode([many]) == [_whole(many)]
    assert len(table._known) <= 10


def test_threads_share_a_table_that_is_begun_anew_all_the_time(monkeypatch):
    monkeypatch.setattr(module, "MOST_WORDS", 20)
    table, wrong = WordTable(TOKENIZER), []

    def work(place):
        for number in range(60):
            text = f"thread{place} word{number} shared common text{number % 7}"
            if table.encode([text]) != [_whole(text)]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_other_tokenizers_are_asked_for_whole_texts():
    from tokenizers import Tokenizer, models, pre_tokenizers

    pairs = Tokenizer(models.WordLevel({"[UNK]": 0, "new york": 1}, unk_token="[UNK]"))
    assert WordTable(pairs).encode(["new york"]) == [[1]]
    pairs.pre_tokenizer = pre_tokenizers.Whitespace()
    assert WordTable(pairs).encode(["new york"]) == [[0, 0]]
    assert not WordTable(_tokenizer(special=False))._by_word
    added = _tokenizer()
    added.add_tokens(["new york"])
    assert WordTable(added).encode(["in new york"]) == [added.encode("in new york", add_special_tokens=False).ids]
