"""Personal data taken out: with check digits, in linear time, and never in a message."""

import os
import re
import stat
import sys
import time
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker.documents import Redactor, parse_document, presidio_names, restore
from semantic_ranker.documents.identifiers import PATTERNS
from semantic_ranker.errors import InvalidInputError, StorageError

FOUND = [
    ("Write to ana.garcia+work@example.co.uk today.", "Write to [EMAIL] today."),
    ("Correo: <peña@correo.es>", "Correo: <[EMAIL]>"),
    ("Call +1 (415) 555-0132 or 415-555-0132.", "Call [PHONE] or [PHONE]."),
    ("Llame al 612 34 56 78, o al +34 912 345 678.", "Llame al [PHONE], o al [PHONE]."),
    ("DNI 12345678Z y 12.345.678-Z, NIE X1234567L.", "DNI [ES_ID] y [ES_ID], NIE [ES_ID]."),
    ("SSN 078-05-1120.", "SSN [US_SSN]."),
    ("Card 4111 1111 1111 1111 or 5500005555555559.", "Card [CARD] or [CARD]."),
    ("IBAN ES91 2100 0418 4502 0005 1332, GB82WEST12345698765432.", "IBAN [IBAN], [IBAN]."),
    ("From 192.168.10.4 and 2001:db8::ff00:42:8329.", "From [IP] and [IP]."),
]
KEPT = [
    "12345678A has another letter.",
    "4111 1111 1111 1112 fails the check digit, as does ES91 2100 0418 4502 0005 1333.",
    "Version 1.2.3.4567, 10:30:45, and 127.0.0.1 are nobody's.",
    "000-12-3456 was never given.",
    "In 2024-11-21 it cost 1,234,567.89; ISBN 978-3-16-148410-0.",
    "@decorator and a @ b.",
]


@pytest.mark.parametrize(("text", "redacted"), FOUND)
def test_taken_out(text, redacted):
    assert Redactor()(text) == redacted


@pytest.mark.parametrize("text", KEPT)
def test_left_in(text):
    assert Redactor()(text) == text


@settings(max_examples=100, deadline=None)
@given(st.integers(10**14, 10**15 - 1))
def test_card_numbers_need_their_check_digit(stem):
    digits = [int(sign) for sign in "4" + str(stem)[1:]]
    total = sum(sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits))
    number = "".join(map(str, digits))
    right = (10 - total % 10) % 10
    if len(set(digits)) > 1:
        assert Redactor(["card"])(f"n {number}{right}.") == "n [CARD]."
    assert Redactor(["card"])(f"n {number}{(right + 1) % 10}.") == f"n {number}{(right + 1) % 10}."


def test_report_says_what_was_where_and_never_what():
    redactor = Redactor()
    text = "ana@example.org and bob@example.org at 10.1.2.3"
    found = redactor.redact(text)
    assert found.counts == {"email": 2, "ip": 1}
    assert [text[item.start : item.end] for item in found.findings] == [
        "ana@example.org",
        "bob@example.org",
        "10.1.2.3",
    ]
    redactor("eve@example.org")
    assert redactor.counts == {"email": 3, "ip": 1}
    assert "ana" not in repr(found)
    assert "eve@" not in repr(redactor.__dict__)


def test_kinds_can_be_chosen():
    assert Redactor(["ip"])("ana@example.org 10.1.2.3") == "ana@example.org [IP]"
    for kinds in ("email", ["emails"]):
        with pytest.raises(InvalidInputError, match="Expected a list of kinds"):
            Redactor(kinds)
    with pytest.raises(InvalidInputError, match="Expected a text"):
        Redactor()(None)


def test_map_is_apart_private_and_gives_the_originals_back(tmp_path):
    redactor = Redactor(reversible=True)
    text = redactor("ana@example.org, bob@example.org, again ana@example.org")
    assert text == "[EMAIL_1], [EMAIL_2], again [EMAIL_1]"
    path = tmp_path / "kept" / "map.json"
    redactor.save_map(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert restore(text + " [EMAIL_9] [x]", path) == (
        "ana@example.org, bob@example.org, again ana@example.org [EMAIL_9] [x]"
    )
    os.chmod(path, 0o644)
    with pytest.raises(InvalidInputError, match="owner's alone"):
        restore(text, path)
    os.chmod(path, 0o600)
    for content in ("{", "[]", "{}"):
        path.write_text(content)
        with pytest.raises(InvalidInputError, match="Expected a map of redactions"):
            restore(text, path)
    with pytest.raises(StorageError):
        restore(text, tmp_path / "none.json")
    with pytest.raises(InvalidInputError, match="reversible=True"):
        Redactor().save_map(path)


def test_names_come_from_a_finder():
    def names(text):
        return [found.span() for found in re.finditer("Ana García|Bob", text)]

    redactor = Redactor(names=names)
    assert redactor("Ana García (bob@example.org) met Bob.") == "[NAME] ([EMAIL]) met [NAME]."
    assert redactor.counts == {"email": 1, "name": 2}
    with pytest.raises(InvalidInputError, match="places inside the text"):
        Redactor(names=lambda text: [(0, 99)])("short")


def test_presidio_is_asked_for_people_of_the_language(monkeypatch):
    made = {}

    class Provider:
        def __init__(self, nlp_configuration):
            made.update(nlp_configuration)

        def create_engine(self):
            return "engine"

    class Analyzer:
        def __init__(self, nlp_engine, supported_languages):
            assert (nlp_engine, supported_languages) == ("engine", ["es"])

        def analyze(self, text, language, entities, score_threshold):
            assert (language, entities, score_threshold) == ("es", ["PERSON"], 0.5)
            return [types.SimpleNamespace(start=text.index("Ana"), end=text.index("Ana") + 3)]

    analyzer, engines = types.ModuleType("presidio_analyzer"), types.ModuleType("presidio_analyzer.nlp_engine")
    analyzer.AnalyzerEngine, engines.NlpEngineProvider = Analyzer, Provider
    monkeypatch.setitem(sys.modules, "presidio_analyzer", analyzer)
    monkeypatch.setitem(sys.modules, "presidio_analyzer.nlp_engine", engines)
    assert Redactor(names=presidio_names("es"))("Dice Ana.") == "Dice [NAME]."
    assert made["models"] == [{"lang_code": "es", "model_name": "es_core_news_md"}]
    presidio_names("es", model="own")
    assert made["models"] == [{"lang_code": "es", "model_name": "own"}]


def test_presidio_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ModuleNotFoundError, match="pip install presidio-analyzer"):
        presidio_names()


def test_patterns_have_no_unbounded_repetition():
    for pattern in PATTERNS:
        assert not re.search(r"(?<!\\)[+*](?![^\[]*\])", re.sub(r"\\.", "", pattern.pattern)), pattern.pattern
        assert not re.search(r"\{\d+,\}", pattern.pattern)


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a.",
        "a@",
        "1",
        "1 ",
        "1.",
        "+1",
        "1-",
        "ES91",
        "ES91 2100 ",
        "4111 ",
        "ab:",
        "::",
        "a@a.",
        "(1)",
        "X1234567",
        "é",
    ],
)
def test_time_grows_with_the_length_only(unit):
    redactor, least = Redactor(), []
    for size in (20_000, 80_000):
        text, times = (unit * size)[:size], []
        for _ in range(3):
            start = time.process_time()
            redactor(text)
            times.append(time.process_time() - start)
        least.append(max(min(times), 1e-3))
    assert least[1] < 16 * least[0], least  # four times the text; quadratic would be 16 times the time, and more


def test_documents_are_redacted_whole():
    data = (
        b"---\nauthor: ana@example.org\ntags: [x, bob@example.org]\n---\n# Ask eve@example.org\n\nCall 415-555-0132.\n"
    )
    redactor = Redactor()
    document = parse_document(data, "a.md", redactor=redactor)
    assert document.title == "Ask [EMAIL]"
    assert document.text == "Ask [EMAIL]\n\nCall [PHONE]."
    assert document.metadata == {"author": "[EMAIL]", "tags": ("x", "[EMAIL]")}
    for block in document.blocks:
        assert document.text[block.start : block.end]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1 @.:-+()ESZ[]é", max_size=80))
def test_twice_is_once_and_spans_hold(text):
    found = Redactor().redact(text)
    place = 0
    for item in found.findings:
        assert place <= item.start < item.end <= len(text)
        place = item.end
    assert Redactor()(found.text) == found.text
