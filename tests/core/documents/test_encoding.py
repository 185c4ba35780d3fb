"""Encodings, and one form of text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_ranker.documents import parse_document
from semantic_ranker.documents.normalization import mend_print, normalize
from semantic_ranker.errors import InvalidInputError

SPANISH = "El niño comió en el café «Ñandú» – 5 €."  # noqa: RUF001


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_give_the_same_text(encoding):
    document = parse_document(SPANISH.encode(encoding), "a.txt")
    assert document.text == SPANISH


def test_guesses_are_reported():
    assert parse_document(SPANISH.encode("cp1252"), "a.txt").notes == ("read as cp1252, it is not UTF-8",)
    assert "no byte order mark" in parse_document(SPANISH.encode("utf-16-le"), "a.txt").notes[0]
    assert parse_document(SPANISH.encode(), "a.txt").notes == ()


def test_other_scripts_are_guessed_and_said():
    text = "Это довольно длинный русский текст, в котором говорится об отпуске и поездках. " * 8  # noqa: RUF001
    document = parse_document(text.encode("cp1251"), "a.txt")
    assert "отпуске" in document.text
    assert "a guess" in document.notes[0]


def test_html_declares_its_encoding():
    page = '<html><head><meta charset="iso-8859-2"></head><body><p>Łódź źdźbło</p></body></html>'
    document = parse_document(page.encode("iso-8859-2"), "a.html")
    assert (document.text, document.encoding) == ("Łódź źdźbło", "iso-8859-2")
    wrong = b'<meta charset="rot13"><p>caf\xe9</p>'
    assert parse_document(wrong, "a.html").text == "café"


def test_mojibake_is_mended_where_all_of_it_is_mangled():
    text = "El niño y la cigüeña — “¿Cuánto?” 5 €"
    mangled = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode())
    document = parse_document(mangled.encode(), "a.txt")
    assert document.text == text
    assert any("mojibake" in note and "put right" in note for note in document.notes)


def test_text_about_mojibake_is_left():
    document = parse_document("El niño: «é» se ve como Ã© y «ñ» como Ã±, ¿por qué?".encode(), "a.txt")
    assert "Ã©" in document.text
    assert any("left as it is" in note for note in document.notes)
    assert parse_document("Ãlvaro e Â são letras".encode(), "a.txt").notes == ()


def test_damaged_utf_16_keeps_the_rest():
    document = parse_document("Hola".encode("utf-16") + b"\x00", "a.txt")
    assert document.text.startswith("Hola")
    assert document.notes[0] == "broken utf-16-le"


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00", bytes(range(32)) * 9, b"PK\x03\x04\x00\x00" * 9])
def test_binary_is_refused(data):
    with pytest.raises(InvalidInputError, match="binary"):
        parse_document(data, "a.txt")


@pytest.mark.parametrize("data", [b"", b" \n", b"\xef\xbb\xbf", b"\xff\xfe\n\x00", "\u200b\u00ad".encode()])
def test_nothing_to_read(data):
    with pytest.raises(InvalidInputError, match="no text"):
        parse_document(data, "a.md")


@given(st.text(st.characters(codec=None, categories=None), max_size=200))
def test_normalising_twice_changes_nothing(text):
    once = normalize(text)
    assert normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode("utf-8")
    assert not set(once) & set("\r\u00ad\u200b\ufeff\x00\u2028\u00a0")


def test_normal_form():
    assert normalize("e\u0301\r\nco\u00adche\rx \u00a0 \ny\u2028\ud800") == "é\ncoche\nx\ny\n\ufffd"
    assert normalize("👩‍💻") == "👩‍💻"


def test_print_is_mended():
    assert (
        mend_print("o\ufb03ce and infor-\nmación, Jean-\nPaul, 1-\n2") == "office and información, Jean-\nPaul, 1-\n2"
    )
