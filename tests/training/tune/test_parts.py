"""Small parts: options, languages, links, stages, the verdict."""

import shutil
import time
from dataclasses import replace

import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.evaluation import compare
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker_training.terms import stop_words
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.embedder import KeptEmbedder, PooledEmbedder, searches_itself
from semantic_ranker_training.tune.language import SNOWBALL, Language, language_of
from semantic_ranker_training.tune.links import Link, resolve
from semantic_ranker_training.tune.options import TuneOptions, seconds
from semantic_ranker_training.tune.verdict import judge
from semantic_ranker_training.tune.work import WorkFolder

SPANISH = "Los empleados que viajan deben guardar los recibos de los gastos que hacen durante el viaje para la empresa."
ENGLISH = "The people who travel must keep the receipts of what they spend while they are on the way for the company."


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("1h", 3600), ("0.5h", 1800), ("15", 900)])
def test_reads_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5 weeks"])
def test_refuses_what_is_no_time(text):
    with pytest.raises(InvalidInputError, match="such as 90s, 15m or 1h"):
        seconds(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_s": 1.0}, "30 seconds or more"),
        ({"qrels": "q"}, "--queries with --qrels"),
        ({"queries": "absent.txt"}, "file for --queries"),
        ({"guards": ("absent",)}, "BEIR folder for --guard"),
        ({"general": 1.0}, "general share"),
        ({"epochs": 0.0}, "epochs above 0"),
        ({"out": "docs/model"}, None),
        ({"out": "."}, "outside of the documents"),
    ],
)
def test_checks_options(tmp_path, monkeypatch, changes, message):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    given = {"documents": Path("docs"), "out": Path("out")}
    for name, value in changes.items():
        given[name] = (
            tuple(map(Path, value)) if isinstance(value, tuple) else Path(value) if isinstance(value, str) else value
        )
    if message is None:
        assert TuneOptions(**given)
        return
    with pytest.raises(InvalidInputError, match=message):
        TuneOptions(**given)


def test_finds_out_the_language():
    assert language_of([SPANISH] * 3 + [ENGLISH]) == Language("es", "spanish")
    assert language_of([ENGLISH] * 3 + [SPANISH]) == Language("en", "english")
    assert Language.named("Spanish") == Language.named("es")
    with pytest.raises(InvalidInputError, match="klingon"):
        Language.named("klingon")


def test_every_stemmer_is_there():
    import Stemmer

    assert set(SNOWBALL.values()) <= set(Stemmer.algorithms())
    assert "los" in stop_words("spanish")
    assert stop_words("english") == stop_words("basque") == frozenset()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("b.md", "x/b.md"), ("../c.md", "c.md"), ("/c", "c.md"), ("b/", "x/b.md"), ("guide.html", "deep/guide.md"),
        ("absent.md", None), ("", "x/a.md"),
    ],
)  # fmt: skip
def test_follows_links_inside_the_folder(target, expected):
    known = dict.fromkeys(("x/a.md", "x/b.md", "c.md", "deep/guide.md"))
    assert resolve(Link("some words", target), "x/a.md", known, {"guide": ["deep/guide.md"]}) == expected


def test_a_stage_is_made_once_for_the_same_inputs_and_goes_on_after_a_kill(tmp_path):
    def half(folder):
        (folder / "part").write_text("done")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WorkFolder(tmp_path).stage("s", 1, half)
    seen = []
    assert WorkFolder(tmp_path).stage("s", 1, lambda folder: seen.append((folder / "part").exists()) or 7) == 7
    work = WorkFolder(tmp_path)
    assert work.stage("s", 1, lambda _: pytest.fail("made again")) == 7
    assert work.stage("t", 1, lambda _: time.sleep(0.2)) is None
    assert 0 <= work.seconds["s"] < 0.2 <= work.seconds["t"]
    again = WorkFolder(tmp_path)
    assert again.stage("t", 1, lambda _: pytest.fail("made again")) is None
    assert again.seconds == {"t": work.seconds["t"]}
    assert work.stage("s", 2, lambda folder: seen.append((folder / "part").exists()) or 8) == 8
    assert seen == [True, False]


def runs(shift, count=40):
    """Return judgments and two runs, of which the second puts the right document first in so many more queries."""
    qrels = {f"q{row}": {"d0": 1} for row in range(count)}
    good, bad = {"d0": 2.0, "d1": 1.0, "d2": 0.5}, {"d0": 0.1, "d1": 1.0, "d2": 0.5}
    a = {f"q{row}": good if row < count // 2 else bad for row in range(count)}
    b = {f"q{row}": good if row < count // 2 + shift else bad for row in range(count)}
    return compare(a, b, qrels, ["nDCG@10"])


@pytest.mark.parametrize(
    ("own", "guard", "outcome", "status", "words"),
    [
        (12, 0, "better", 0, "Use the tuned model"),
        (1, 0, "not shown", 3, "Keep the bundled reranker: SemanticRerank()"),
        (-12, 0, "worse", 4, "Keep the bundled reranker"),
        (12, -12, "worse", 4, "Keep the bundled reranker"),
    ],
)
def test_says_what_was_shown_and_no_more(own, guard, outcome, status, words):
    found = judge(
        runs(own),
        runs(max(own, 0)),
        {"guard": runs(guard)},
        base="bundled reranker",
        model="./mine",
        asked="9 headings",
    )
    assert (found.outcome, found.status) == (outcome, status)
    assert words in found.recommendation
    assert ("It lost" in found.words) is (guard < 0)


def test_says_when_search_alone_is_better():
    found = judge(runs(12), runs(-12), {}, base="bundled reranker", model="./mine", asked="9 headings")
    assert found.outcome == "better"
    assert "hybrid search alone" in found.recommendation


def test_a_base_that_reads_the_language_searches_with_its_own_vectors(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(BUNDLED, folder)
    base = Base(folder, "interaction", "mine", ("es",))
    own = KeptEmbedder(tmp_path / "kept", 2, "es", base=base)
    assert own.name.startswith("mine, its pooled states (")
    found = own.embed_documents([SPANISH, ENGLISH])
    assert found == pytest.approx(PooledEmbedder().embed_documents([SPANISH, ENGLISH]))
    assert KeptEmbedder(tmp_path / "kept", 2, "en", base=base).name == PooledEmbedder().name
    others = (replace(base, languages=("en",)), replace(base, kind="cls"), Base(tmp_path, "interaction", "x", ("es",)))
    assert not any(searches_itself(of, "es", 2) for of in others)
    assert not KeptEmbedder(tmp_path / "kept", 100_000, "es", base=base).name.startswith("mine")  # too slow for so many
