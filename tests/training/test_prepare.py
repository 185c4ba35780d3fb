"""Pairs are made of documents without labels; no query stays in its passage and nothing leaks between the parts."""

import hashlib
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from semantic_ranker.cli import main
from semantic_ranker.errors import DataFormatError, InvalidInputError
from semantic_ranker_training.data import Group, Reading, leakage, read_groups
from semantic_ranker_training.prepare import PrepareConfig, prepare_documents, prepare_pairs
from semantic_ranker_training.prepare.documents import Document, Inputs, read_documents
from semantic_ranker_training.prepare.filters import consistent, distinct, not_literal, without_leaks
from semantic_ranker_training.prepare.generators import generated_pairs, open_generator
from semantic_ranker_training.prepare.markup import Section, html_sections, markdown_sections, rst_sections
from semantic_ranker_training.prepare.strategies import STRATEGIES, Context, Pair, clean_pair, make_pairs
from semantic_ranker_training.prepare.text import (
    document_frequencies,
    key_phrases,
    leaks,
    overlap,
    passages,
    sentences,
    without,
)

TOPICS = ("harbour", "orchard", "glacier", "workshop", "library", "railway", "vineyard", "quarry", "theatre", "lagoon")
NOUNS = (
    "lantern",
    "ledger",
    "anchor",
    "basket",
    "chisel",
    "compass",
    "curtain",
    "funnel",
    "hammer",
    "mirror",
    "pulley",
    "saddle",
)
VERBS = ("repairs", "inspects", "counts", "stores", "paints", "measures", "cleans", "borrows")


def sentence(chooser, topic):
    times, thing = ["morning", "evening", "winter", "spring"], chooser.sample(NOUNS, 3)
    return (
        f"Every {chooser.choice(times)} the {topic} keeper {chooser.choice(VERBS)} one {thing[0]} beside the "
        f"{thing[1]} and a {thing[2]} number {chooser.randint(1, 9999)}."
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("docs")
    chooser = random.Random(0)
    for number, topic in enumerate(TOPICS):
        sections = [f"# Guide to the {topic} of district {number}\n"]
        for noun in NOUNS[:4]:
            body = " ".join(sentence(chooser, topic) for _ in range(5))
            sections.append(f"## Lending a {noun} to strangers\n\n{body}\n")
            sections.append(
                f"## May visitors touch the {noun} at the {topic}?\n\n"
                f"Usually not. {sentence(chooser, topic)} {sentence(chooser, topic)}\n"
            )
        (base / f"{topic}.md").write_text("\n".join(sections))
    (base / ".hidden").mkdir()
    (base / ".hidden" / "secret.md").write_text("# Hidden\n\n" + "secret words " * 20)
    (base / "picture.png").write_bytes(b"\x89PNG")
    return base


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, prepare_documents(folder, out, PrepareConfig(split=(0.6, 0.2, 0.2), negatives=2))


def rows(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_the_guides_files_are_written_and_read_by_training(prepared):
    out, report = prepared
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "test_eval.json", "train.json", "val.json"]
    train = rows(out / "train.json")
    assert set(train[0]) <= {"query", "positive", "negative", "negatives", "source"}
    groups = list(read_groups(out / "train.json"))
    assert len(groups) == len(train) == report.sizes["train.json"] > 20
    assert all(len(group.negatives) == 2 for group in groups)


def test_no_query_stays_in_its_positive(prepared):
    out, _ = prepared
    for name in ("train.json", "val.json"):
        for row in rows(out / name):
            assert not leaks(row["query"], row["positive"])


def test_the_parts_share_no_query_no_text_and_no_document(prepared):
    out, report = prepared
    parts = [list(read_groups(out / name)) for name in ("train.json", "val.json")]
    assert leakage(parts).clean
    assert report.leakage.clean
    topics = [{topic for topic in TOPICS for group in part for text in group.texts if topic in text} for part in parts]
    assert not topics[0] & topics[1]
    test = rows(out / "test_eval.json")
    tested = {topic for topic in TOPICS for query in test["queries"] if topic in query}
    assert tested
    assert not tested & (topics[0] | topics[1])


def test_the_test_corpus_is_more_than_the_positives(prepared):
    """The seed's corpus held the positives alone: finding them there says nothing."""
    test = rows(prepared[0] / "test_eval.json")
    relevant = {row for of in test["relevance"] for row in of}
    assert len(test["queries"]) == len(test["relevance"]) > 0
    assert len(test["corpus"]) > 2 * len(relevant)
    assert len(set(test["corpus"])) == len(test["corpus"])
    assert all(of and max(of) < len(test["corpus"]) for of in test["relevance"])
    for query, of in zip(test["queries"], test["relevance"], strict=True):
        assert not any(leaks(query, test["corpus"][row]) for row in of)


def test_negatives_are_not_drawn_at_random_and_are_no_version_of_the_positive(prepared):
    """The seed called random documents hard negatives."""
    out, _ = prepared
    shared = []
    for row in rows(out / "train.json"):
        words = set(row["query"].lower().split())
        shared.append(max(len(words & set(text.lower().split())) for text in row["negatives"]))
        for text in row["negatives"]:
            own, other = set(row["positive"].lower().split()), set(text.lower().split())
            assert len(own & other) < 0.9 * min(len(own), len(other))
    assert sum(count > 1 for count in shared) > 0.5 * len(shared)


def test_the_manifest_says_what_came_of_what(folder, prepared):
    out, report = prepared
    manifest = rows(out / "manifest.json")
    assert manifest["inputs"]["harbour.md"] == hashlib.sha256((folder / "harbour.md").read_bytes()).hexdigest()
    assert len(manifest["inputs"]) == 10
    assert manifest["ignored_files"] == 1
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert entry["rows"] == report.sizes[name]
    assert manifest["leakage"]["clean"] is True
    assert sum(manifest["kept"].values()) == sum(report.sizes.values())
    assert sum(manifest["made"].values()) - sum(manifest["dropped"].values()) == sum(report.sizes.values())
    assert set(manifest["kept"]) <= set(STRATEGIES)


def test_the_same_seed_writes_the_same_bytes(folder, prepared, tmp_path):
    out, _ = prepared
    prepare_documents(folder, tmp_path, PrepareConfig(split=(0.6, 0.2, 0.2), negatives=2))
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_without_a_split_there_is_one_file(folder, tmp_path):
    report = prepare_documents(folder, tmp_path, PrepareConfig(num_pairs=15, strategies=("heading", "faq")))
    assert report.sizes == {"train.json": 15}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "train.json"]
    assert set(rows(tmp_path / "train.json")[0]) == {"query", "positive", "source"}


def test_pairs_that_are_there_are_split(tmp_path):
    lines = ["query,positive,negative"] + [
        f"question {n} about {TOPICS[n % 10]},answer {n} of {VERBS[n % 8]} {NOUNS[n % 12]},wrong {n}" for n in range(40)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    report = prepare_pairs(tmp_path / "pairs.csv", tmp_path / "out", PrepareConfig(split=(0.8, 0.1, 0.1)))
    assert report.sizes == {"train.json": 32, "val.json": 4, "test_eval.json": 4}
    assert rows(tmp_path / "out" / "train.json")[0].keys() == {"query", "positive", "negative"}
    again = prepare_pairs(tmp_path / "out" / "train.json", tmp_path / "two", PrepareConfig(num_pairs=10, negatives=1))
    assert again.sizes == {"train.json": 10}


MARKDOWN = """---
title: "Travel & leave"
---
Intro with [a link](http://x.y) and ![image](i.png).

<style>td {padding: 8px;}</style>
## Booking {#book}

Use `concur` **now**.

```python
# not a heading
book()
```

Hotels
------

| Name | Price |
| ---- | ----- |
| Inn  | 10    |

/// note
Text &amp; more.
///
"""


def test_markdown_is_taken_apart():
    found = markdown_sections(MARKDOWN)
    assert [(section.heading, section.level) for section in found] == [
        ("Travel & leave", 1),
        ("Booking", 2),
        ("Hotels", 2),
    ]
    assert found[0].body == "Intro with a link and image."
    assert "Use concur now." in found[1].body
    assert "# not a heading\nbook()" in found[1].body
    assert "padding" not in str(found)
    assert found[2].body.split() == ["Name", "Price", "Inn", "10", "Text", "&", "more."]


def test_restructured_text_is_taken_apart():
    text = (
        "=====\nTitle\n=====\n\nSee :func:`os.path` and `docs <http://x>`_.\n\nPart one\n--------\n\n.. note:: x\n\n"
        "  Body::\n\n    code\n\nPart two\n--------\nEnd.\n"
    )
    assert [(s.heading, s.level, s.body.split("\n")[0]) for s in rst_sections(text)] == [
        ("Title", 1, "See os.path and docs."),
        ("Part one", 2, "Body:"),
        ("Part two", 2, "End."),
    ]


def test_html_is_taken_apart():
    page = (
        "<title>T</title><nav>menu</nav><script>x()</script><h1>Head &amp; toe</h1><p>One.</p><ul><li>Two<li>Three</ul>"
        "<h2>Next</h2>Four<footer>f</footer>"
    )
    assert html_sections(page) == [Section("Head & toe", 1, "One.\n\nTwo\n\nThree"), Section("Next", 2, "Four")]
    assert html_sections("<title>Only</title><p>Text</p>")[0] == Section("Only", 1, "")


def test_documents_of_every_kind(tmp_path):
    (tmp_path / "a.txt").write_text("Plain text.\nMore.")
    (tmp_path / "b.html").write_text("<h1>Page</h1><p>Text</p>")
    (tmp_path / "c.rst").write_text("Name\n====\nText\n")
    (tmp_path / "d.jsonl").write_text('{"_id": "7", "title": "Row", "text": "body"}\n{"text": "bare"}\n{"text": ""}\n')
    code = (
        'def add(a, b):\n    """Return the sum of two numbers.\n\n    Long.\n    """\n'
        + "    total = a + b\n" * 12
        + "    return total\n"
    )
    (tmp_path / "e.py").write_text(code)
    (tmp_path / "f.md").write_text("  \n")
    inputs = Inputs()
    found = {document.id: document for document in read_documents(tmp_path, inputs=inputs)}
    assert list(found) == ["a.txt", "b.html", "c.rst", "d.jsonl#7", "d.jsonl#2", "e.py"]
    assert [found[name].title for name in ("b.html", "c.rst", "d.jsonl#7", "d.jsonl#2")] == ["Page", "Name", "Row", ""]
    assert found["e.py"].functions[0][0] == "Return the sum of two numbers"
    assert len(inputs.sha256) == 6
    assert [document.id for document in read_documents(tmp_path / "a.txt")] == ["a.txt#1", "a.txt#2"]
    pairs = list(make_pairs(found["e.py"], tuple(STRATEGIES), Context(frequencies=Counter())))
    assert [(pair.strategy, pair.query) for pair in pairs] == [("docstring", "Return the sum of two numbers")]


def test_documents_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataFormatError, match="Cannot read"):
        list(read_documents(tmp_path / "none.md"))
    with pytest.raises(DataFormatError, match="files that end in"):
        list(read_documents(tmp_path))
    (tmp_path / "a.md").write_bytes(b"# Title\n\nna\xefve\n")
    (tmp_path / "b.jsonl").write_text('{"body": 1}\n{"text": "fine"}\n{\n')
    with pytest.raises(DataFormatError, match=r"a\.md:3: expected UTF-8"):
        list(read_documents(tmp_path))
    reading = Reading(on_error="skip")
    assert [document.id for document in read_documents(tmp_path, reading=reading)] == ["b.jsonl#2"]
    assert reading.skipped == 3
    (tmp_path / "c.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataFormatError, match="ends in"):
        list(read_documents(tmp_path / "c.pdf"))


LONG = (
    "The clerk files each form in the blue cabinet by noon. Nobody may open that cabinet without a witness present. "
    "Keys hang behind the second door near the old stairs."
)


def test_each_strategy_makes_its_pairs():
    document = Document(
        id="a/office-rules.md",
        title="Office rules",
        sections=(
            Section("Office rules", 1, f"Office rules: {LONG}"),
            Section("Filing", 2, LONG),
            Section("Who may open the cabinet?", 2, LONG),
            Section(
                "",
                2,
                "Q: Where are the keys kept at night?\n"
                "A: They hang behind the second door, which the guard locks every evening at nine.\nQ: And?",
            ),
        ),
    )
    context = Context(frequencies=document_frequencies([LONG]))
    found = {name: list(make_pairs(document, (name,), context)) for name in STRATEGIES}
    assert [pair.query for pair in found["title"]] == ["Office rules"]
    assert "Office rules" not in found["title"][0].positive
    assert [pair.query for pair in found["heading"]] == ["Office rules: Filing"]
    assert [pair.query for pair in found["faq"]] == ["Who may open the cabinet?", "Where are the keys kept at night?"]
    assert found["faq"][1].positive.startswith("They hang")
    assert all(pair.query in LONG and pair.query not in pair.positive for pair in found["cloze"])
    assert all(len(pair.query.split()) >= 3 for pair in found["phrases"])
    assert found["docstring"] == []
    plain = Document(id="x/leave-policy.txt", title="", sections=(Section("", 0, LONG),))
    assert [pair.query for pair in make_pairs(plain, ("title",), context)] == ["leave policy"]


def test_choices_of_a_document_depend_on_nothing_else():
    documents = [Document(id=str(n), title="", sections=(Section("", 0, LONG),)) for n in range(6)]
    context = Context(frequencies=Counter())
    alone = [pair for pair in make_pairs(documents[4], ("cloze",), context)]
    assert [pair for document in documents for pair in make_pairs(document, ("cloze",), context)][4] == alone[0]
    assert len({next(make_pairs(d, ("cloze",), context)).query for d in documents}) > 1


@pytest.mark.parametrize(
    ("text", "query", "left"),
    [
        ("Sick leave: you may. SICK  LEAVE ends.", "Sick leave", "you may. ends."),
        ("a b a b c", "a b", "c"),
        ("x a a b b y", "a b", "x y"),
        ("Leave-taking is sick", "leave", "taking is sick"),
        ("homeowner home", "home", "homeowner"),
        ("keep this", "???", "keep this"),
        ("El año nuevo: Año  Nuevo llega", "año nuevo", "El llega"),
    ],
)
def test_a_query_is_taken_out_whatever_stands_between_its_words(text, query, left):
    assert without(text, query) == left
    assert not leaks(query, without(text, query)) or query == "???"


def test_sentences_passages_and_phrases():
    assert sentences('He said "no." Then left.\n\nnew part. ¿Qué? Sí.') == [
        'He said "no.',
        "Then left.",
        "new part.",
        "¿Qué?",
        "Sí.",
    ]
    assert passages("One two three. Four five. Six.", 5) == ["One two three. Four five.", "Six."]
    assert passages("", 5) == []
    frequencies = document_frequencies(["the common word here", "the common word there", "zebra crossing"])
    assert key_phrases("the common zebra word", frequencies, most=1)[0].count("zebra") == 1
    assert overlap("How to file taxes", "file your taxes now") == 1.0
    assert overlap("the of", "the cat") == 0.5
    assert clean_pair("word", LONG, "s", "d") is None
    assert clean_pair("two words", "too short", "s", "d") is None


def pair(query, positive):
    return Pair(query=query, positive=positive, strategy="s", document="d")


def test_filters_count_what_they_leave_out():
    dropped = Counter()
    assert without_leaks([pair("red door", "the red, door is"), pair("red door", "a door, red")], dropped) == [
        pair("red door", "a door, red")
    ]
    assert (
        len(
            distinct(
                [
                    pair("a b", "x"),
                    pair("A b!", "X"),
                    pair("a b", "y"),
                    pair("c d", "x"),
                    pair("c d", "y"),
                    pair("c d", "z"),
                ],
                dropped,
            )
        )
        == 2
    )
    assert not_literal([pair("red green blue", "blue green red"), pair("red green blue", "red")], 0.8, dropped) == [
        pair("red green blue", "red")
    ]
    texts = [pair(f"topic {topic}", f"{topic} {noun}") for topic, noun in zip(TOPICS, NOUNS, strict=False)]
    lost = pair("nothing alike", "some other words")
    assert consistent([*texts, lost], 1, dropped) == texts
    assert dropped == {"query_in_positive": 1, "repeated": 1, "ambiguous": 3, "token_overlap": 1, "inconsistent": 1}
    with pytest.raises(InvalidInputError, match="rank of 1"):
        consistent(texts, 0, dropped)


def test_an_embedder_may_find_what_words_do_not():
    import numpy as np

    class Meaning:
        def embed_documents(self, texts):
            return np.array(
                [[1.0, 0.0] if "car" in text or "vehicle" in text else [0.0, 1.0] for text in texts], np.float32
            )

        embed_queries = embed_documents

    pairs = [pair("vehicle repair", "fix a car engine"), pair("bread oven", "bake it slowly")]
    assert consistent(pairs, 1, Counter()) == []
    assert consistent(pairs, 1, Counter(), embedder=Meaning()) == pairs


def ask(passage):
    return ["what hangs behind the second door", passage.split(".")[0], "what hangs behind the second door"]


def test_generated_queries_pass_the_same_filters(tmp_path, monkeypatch):
    (tmp_path / "asking.py").write_text(
        "def ask(text):\n    return 'where do the keys hang'\n\nnothing = 3\n\ndef bad(text):\n    return [1]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(generated_pairs(open_generator("asking:ask"), [("d", LONG)]))
    assert [(p.query, p.strategy, p.document) for p in found] == [("where do the keys hang", "generated", "d")]
    many = list(generated_pairs(lambda texts: [ask(text) for text in texts], [("d", LONG)]))
    assert len(many) == 2
    assert all(not leaks(p.query, p.positive) for p in many)
    for spec, message in (
        ("asking:none", "Cannot find"),
        ("asking:nothing", "to be a function"),
        ("nomodule:f", "Cannot find"),
        ("word", "module:function"),
        (str(tmp_path), "Cannot open a sequence"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            open_generator(spec)
    with pytest.raises(InvalidInputError, match="return a string"):
        list(generated_pairs(open_generator("asking:bad"), [("d", LONG)]))
    with pytest.raises(InvalidInputError, match="Expected queries for 1"):
        list(generated_pairs(lambda texts: [], [("d", LONG)]))


def test_a_generator_alone_makes_data(tmp_path, monkeypatch):
    (tmp_path / "asking2.py").write_text("def ask(text):\n    return 'Keys and cabinets of the clerk'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a.txt").write_text(LONG)
    report = prepare_documents(
        tmp_path / "a.txt",
        tmp_path / "out",
        PrepareConfig(strategies=(), generator="asking2:ask", consistency=None, max_overlap=1.0),
    )
    assert report.kept == {"generated": 1}


def test_a_sequence_to_sequence_model_in_a_folder_generates(tmp_path, bert_tokenizer):
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    size = bert_tokenizer.get_vocab_size()
    config = T5Config(
        vocab_size=size,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=3,
    )
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=bert_tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        tmp_path
    )
    generate = open_generator(str(tmp_path))
    found = generate([LONG, "Bread is baked."])
    assert len(found) == 2
    assert all(isinstance(text, str) for of in found for text in of)
    assert generate([LONG, "Bread is baked."]) == found


@pytest.mark.parametrize(
    "options",
    [
        {"strategies": ("magic",)},
        {"strategies": ()},
        {"num_pairs": 0},
        {"negatives": -1},
        {"consistency": 0},
        {"passage_words": 5},
        {"max_overlap": 0},
        {"split": (0.8, 0.1, 0.2)},
        {"split": (1.0, 0.0, 0.0)},
    ],
)
def test_bad_settings_are_refused(options):
    with pytest.raises(InvalidInputError):
        PrepareConfig(**options)


def test_documents_without_pairs_are_an_error_and_nothing_is_written(tmp_path):
    (tmp_path / "a.txt").write_text("short\ntext\n")
    with pytest.raises(DataFormatError, match="Expected pairs"):
        prepare_documents(tmp_path / "a.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_the_guides_spelling(folder, tmp_path, capsys):
    words = ["prepare-data", "--documents", str(folder), "--generate_pairs", "--num_pairs", "60", "--add_negatives"]
    assert main([*words, "--split", "0.8", "0.1", "0.1", "--output_dir", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "clean split" in said
    assert "test_eval.json" in said
    assert "negative" in rows(tmp_path / "a" / "train.json")[0]
    dashed = [word.replace("_", "-") if word.startswith("--") else word for word in words]
    assert main([*dashed, "--split", "0.8", "0.1", "0.1", "--output-dir", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leakage"]["clean"] is True
    assert (tmp_path / "a" / "train.json").read_bytes() == (tmp_path / "b" / "train.json").read_bytes()


def test_the_command_takes_csv_and_says_what_is_wrong(tmp_path, capsys):
    (tmp_path / "p.csv").write_text(
        "query,positive,negative\n" + "".join(f"q {n},p {n} {TOPICS[n]},n {n}\n" for n in range(10)) + "only\n"
    )
    arguments = [
        "prepare-data",
        "--csv_file",
        str(tmp_path / "p.csv"),
        "--split",
        "0.6",
        "0.2",
        "0.2",
        "--output",
        str(tmp_path / "o" / "train.json"),
    ]
    assert main(arguments) == 2
    assert "p.csv:12: expected 3 values, as in the header, got 1" in capsys.readouterr().err
    assert main([*arguments, "--on_error", "skip"]) == 0
    assert "left out 1 broken lines" in capsys.readouterr().out
    assert main([*arguments, "--on-error", "skip", "--strategies", "magic"]) == 2
    assert "Expected strategies of title" in capsys.readouterr().err


@pytest.mark.skipif("SEMANTIC_RANKER_DATA" not in os.environ, reason="needs real documents: set SEMANTIC_RANKER_DATA")
def test_a_real_handbook_leaks_nothing(tmp_path):
    source = Path(os.environ["SEMANTIC_RANKER_DATA"]) / "docs-18f-handbook"
    report = prepare_documents(source, tmp_path, PrepareConfig(split=(0.8, 0.1, 0.1), num_pairs=600))
    assert report.leakage.clean
    assert all(
        not leaks(group.query, text) for group in read_groups(tmp_path / "train.json") for text in group.positives
    )
    assert isinstance(next(iter(read_groups(tmp_path / "train.json"))), Group)
