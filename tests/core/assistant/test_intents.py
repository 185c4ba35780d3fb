"""What a message wants: examples, a threshold, unknown, and the parameters that it names."""

import json

import numpy as np
import pytest

from semantic_ranker.assistant import Intent, IntentMatcher, Parameter, read_intents
from semantic_ranker.assistant.intents import fitted_threshold
from semantic_ranker.embedder import Embedder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.testing import FakeEmbedder

CONTENT = {
    "intents": [
        {
            "name": "leave",
            "examples": ["I want to take a holiday", "how many vacation days do I have", "ask for days of leave"],
            "parameters": {
                "days": {"type": "integer"},
                "kind": {"type": "choice", "values": {"parental": ["maternity", "paternity leave"], "annual": []}},
                "start": {"type": "date", "ask": "From which day?"},
            },
            "where": {"source": "leave.md"},
        },
        {
            "name": "password",
            "examples": ["I forgot my password", "reset my password", "I cannot log in to my account"],
        },
        {"tag": "greeting", "patterns": ["hello", "good morning", "hi there"], "responses": ["Hello!", "Hi!"]},
    ]
}


@pytest.fixture(scope="module")
def matcher(tmp_path_factory):
    path = tmp_path_factory.mktemp("intents") / "intents.json"
    path.write_text(json.dumps(CONTENT))
    return IntentMatcher.from_file(path, Embedder())


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("how do I get some vacation days", "leave"),
        ("please reset the password of my account", "password"),
        ("hello, good morning", "greeting"),
        ("the printer on the third floor is out of paper", None),
        ("\u4f60\u597d", None),
    ],
)
def test_messages_find_their_intent(matcher, message, name):
    assert matcher.match(message).name == name


def test_parameters_are_found_and_asked_for(matcher):
    found = matcher.match("I want to take 3 vacation days of maternity leave from 14/3/2026")
    assert (found.parameters, found.missing) == ({"days": 3, "kind": "parental", "start": "2026-03-14"}, ())
    assert (found.where, found.reply) == ({"source": "leave.md"}, None)
    found = matcher.match("how many vacation days do I have")
    assert (found.missing, found.reply) == (("days", "kind", "start"), "From which day?")
    assert matcher.match("hello").reply == "Hello!"
    json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("record", "message", "value"),
    [
        ({"type": "integer"}, "room 12b, 3.5 hours, 40 people", 40),
        ({"type": "number"}, "it costs 3,50 euros", 3.5),
        ({"type": "email"}, "write to ana.ruiz+x@mail.example.org, please", "ana.ruiz+x@mail.example.org"),
        ({"type": "date"}, "from 2026-02-30 or 2026-02-03", "2026-02-03"),
        ({"type": "date"}, "31.12.2026", "2026-12-31"),
        ({"type": "choice", "values": ["Madrid", "San Jos\u00e9"]}, "in SAN JOS\u00c9, not Madrid", "San Jos\u00e9"),
        ({"type": "choice", "values": ["art"]}, "to start", None),
        ({"type": "pattern", "pattern": r"ticket #?(\d+)"}, "see Ticket #77", "77"),
        ({"type": "pattern", "pattern": "[A-Z]{2}-1"}, "no such thing", None),
    ],
)
def test_parameters_of_each_kind(record, message, value):
    assert Parameter.of_record("p", record).find(message) == value


def test_threshold_parts_examples_from_those_of_other_intents():
    # Two intents in a plane: within an intent cosines of 0.9 or so, between them of 0.1 at most.
    angles = np.radians([0, 20, 85, 105])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    threshold = fitted_threshold(vectors, np.array([0, 0, 1, 1]))
    assert np.cos(np.radians(65)) < threshold < np.cos(np.radians(20))
    assert fitted_threshold(vectors[:1], np.array([0])) == 0.5
    strict = IntentMatcher([Intent(name="a", examples=("one two",))], FakeEmbedder(), threshold=0.99)
    assert (strict.match("one two three").name, strict.match("one two three").nearest) == (None, "a")
    assert strict.match("one two").name == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "intents"),
        ({"intents": []}, "got none"),
        ({"intents": [3]}, r"intents\[0\]"),
        ({"intents": [{"name": "a", "examples": []}]}, "examples of intent 'a'"),
        ({"intents": [{"name": "a", "examples": ["b"], "parameter": {}}]}, "got 'parameter'"),
        ({"intents": [{"name": "a", "examples": ["b"]}] * 2}, "different names"),
        ({"threshold": 2, "intents": [{"name": "a", "examples": ["b"]}]}, "threshold"),
        ({"threshold": "x", "intents": [{"name": "a", "examples": ["b"]}]}, "threshold"),
        ({"intents": [{"name": "a", "examples": ["b"], "parameters": {"p": {"type": "x"}}}]}, "parameter 'p'"),
        (
            {"intents": [{"name": "a", "examples": ["b"], "parameters": {"p": {"type": "pattern", "pattern": "("}}}]},
            "pattern of parameter 'p'",
        ),
        ({"intents": [{"name": "a", "examples": ["b"], "parameters": {"p": {"type": "choice"}}}]}, "values"),
        ({"intents": [{"name": "a", "examples": ["b"], "where": {"x": {"$like": 1}}}]}, "like"),
    ],
)
def test_wrong_files_are_told(tmp_path, content, message):
    path = tmp_path / "intents.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=message):
        IntentMatcher.from_file(path, FakeEmbedder())


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(InvalidInputError, match="Cannot read intents"):
        read_intents(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InvalidInputError, match="not JSON"):
        read_intents(tmp_path / "x.json")
