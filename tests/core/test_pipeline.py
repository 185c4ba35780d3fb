"""The seed's API over the index: what a user does with it, from documents to the context."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ranker import CrossEncoder
from semantic_ranker.context import build_context, cut_at_sentence
from semantic_ranker.documents import Redactor, estimate_tokens
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError
from semantic_ranker.indexes import Passage
from semantic_ranker.pipeline import RAGPipeline
from semantic_ranker.retrieval import RankedPassage
from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder

TEXTS = [
    "Cats sleep all day. They wake up at night. Then they hunt.",
    "To change a forgotten password, open Settings. Then press Reset.",
    "Dogs bark at night when somebody walks by the house.",
]


@pytest.fixture
def pipeline():
    pipeline = RAGPipeline(retriever_model=FakeEmbedder(), reranker_model=FakeCrossEncoder(), top_k_rerank=2)
    assert pipeline.index_documents(TEXTS) == 3
    return pipeline


def test_seed_api(pipeline):
    found = pipeline.retrieve_and_rerank("forgotten password")
    assert found[0] == {
        "document": TEXTS[1],
        "index": 1,
        "id": "1",
        "source": "",
        "citation": "1",
        "degraded": None,
    }
    assert len(found) == 2
    found = pipeline.retrieve_and_rerank("dogs", top_k_retrieval=3, top_k_rerank=1, return_scores=True)
    assert ([item["index"] for item in found], type(found[0]["score"])) == ([2], float)
    many = pipeline.batch_retrieve_and_rerank(["forgotten password", "dogs bark"], top_k_rerank=1)
    assert [[item["index"] for item in results] for results in many] == [[1], [2]]
    json.dumps(many)
    assert pipeline.index.embedder.calls[-1] == ("q", 2)


def test_context_is_ordered_numbered_and_cited(pipeline):
    text = pipeline.get_context_for_llm("forgotten password settings", top_k=2)
    assert text.startswith(f"[1] 1\n{TEXTS[1]}\n\n[2] ")
    assert "(score: 0." in pipeline.get_context_for_llm("forgotten password", 1, include_scores=True)
    context = pipeline.context_for("forgotten password", max_tokens=25)
    assert context.text == "[1] 1\nTo change a forgotten password, open Settings. Then press Reset."
    assert context.tokens == estimate_tokens(context.text) <= 25


def ranked(*passages):
    return [RankedPassage(passage, 0.5, 0.5, place) for place, passage in enumerate(passages, start=1)]


def test_context_says_nothing_twice():
    one = Passage(id="a", text="Alpha beta.  Gamma", source="a.md", titles=("T",), span=(0, 18))
    results = ranked(
        one,
        Passage(id="b", text="alpha BETA. gamma"),
        Passage(id="c", text="beta. Gamma delta", source="a.md", span=(6, 24)),
        Passage(id="d", text="Gamma", source="b.md"),
    )
    context = build_context(results)
    assert [item.id for item in context.passages] == ["a", "c"]
    assert context.text.startswith("[1] a.md, T\nAlpha beta.  Gamma\n\n[2] a.md\n")
    overlapping = ranked(
        Passage(id="a", text="0123456789", source="a.md", span=(0, 10)),
        Passage(id="b", text="6789abcdef", source="a.md", span=(6, 16)),
        Passage(id="c", text="6789abcdef", source="other.md", span=(6, 16)),
    )
    assert [line for line in build_context(overlapping).text.splitlines() if line[:1] not in ("[", "")] == [
        "0123456789",
        "abcdef",
        "6789abcdef",
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab .!?\n¿é", max_size=200), max_size=6), st.integers(1, 120), st.booleans())
def test_context_never_exceeds_its_budget(texts, most, scores):
    results = ranked(*(Passage(id=str(place), text=text or "x") for place, text in enumerate(texts)))
    context = build_context(results, max_tokens=most, include_scores=scores)
    assert estimate_tokens(context.text) == context.tokens <= most
    assert len({item.id for item in context.passages}) == len(context.passages)


def test_cut_is_at_the_end_of_a_sentence():
    text = "First one here. Second one (really!) is 3.5 long? Third without end"
    for most in range(1, 40):
        cut = cut_at_sentence(text, most)
        assert text.startswith(cut)
        assert not cut or cut[-1] in ".?!)"
        assert "3." not in cut or "3.5" in cut
    with pytest.raises(InvalidInputError, match="max_tokens"):
        build_context([], max_tokens=0)


def test_the_number_of_an_item_is_no_sentence():
    text = "Do this:\n1. Open the door.\n2. Close it again, and lock it with the key."
    assert [cut_at_sentence(text, most, lambda part: len(part.split())) for most in (3, 6, 7)] == [
        "Do this:",
        "Do this:\n1. Open the door.",
        "Do this:\n1. Open the door.",
    ]


def test_what_documents_say_is_not_formatted():
    text = "{context} {query} %s {{7*7}} ${HOME} {0.__class__}"
    pipeline = RAGPipeline(retriever_model=FakeEmbedder(), reranker_model=None)
    pipeline.index_documents([text])
    assert text in pipeline.get_context_for_llm("context")


def test_saved_and_loaded(pipeline, tmp_path):
    pipeline.save(tmp_path / "p")
    with pytest.raises(InvalidInputError, match="retriever_model="):
        RAGPipeline.load(tmp_path / "p")
    options = {"retriever_model": FakeEmbedder(), "reranker_model": FakeCrossEncoder()}
    again = RAGPipeline.load(tmp_path / "p", **options)
    assert again.retrieve_and_rerank("dogs", return_scores=True) == pipeline.retrieve_and_rerank(
        "dogs", return_scores=True
    )
    assert (again.retriever.k, again.retriever.top_n) == (50, 2)
    with pytest.raises(SpaceMismatchError):
        RAGPipeline.load(tmp_path / "p", **{**options, "retriever_model": FakeEmbedder(model="other")})
    for content in ("{", "[]", '{"kind": "x"}'):
        (tmp_path / "p" / "pipeline.json").write_text(content)
        with pytest.raises(StorageError):
            RAGPipeline.load(tmp_path / "p", **options)
    with pytest.raises(StorageError):
        RAGPipeline.load(tmp_path / "none")


def test_passages_are_known_by_their_document_and_a_saved_pipeline_goes_on_so(tmp_path):
    texts = {"b.md": ["dogs sleep"], "a.md": ["dogs bark at night", "cats"]}
    passages = [
        Passage(id=f"{source} {place}", text=text, source=source)
        for source, of in texts.items()
        for place, text in enumerate(of)
    ]
    models = {"retriever_model": FakeEmbedder(), "reranker_model": FakeCrossEncoder()}
    orders = {}
    for weight in (None, 0.9):
        pipeline = RAGPipeline(**models, source_weight=weight)
        pipeline.index_documents(passages)
        orders[weight] = [found["id"] for found in pipeline.retrieve_and_rerank("dogs bark at")]
    assert orders == {None: ["a.md 0", "b.md 0", "a.md 1"], 0.9: ["a.md 0", "a.md 1", "b.md 0"]}
    pipeline.save(tmp_path)
    again = RAGPipeline.load(tmp_path, **models)
    assert [found["id"] for found in again.retrieve_and_rerank("dogs bark at")] == orders[0.9]
    # Written before there were source weights.
    settings = json.loads((tmp_path / "pipeline.json").read_text())
    del settings["source_weight"]
    (tmp_path / "pipeline.json").write_text(json.dumps(settings))
    older = RAGPipeline.load(tmp_path, **models)
    assert [found["id"] for found in older.retrieve_and_rerank("dogs bark at")] == orders[None]


def test_bundled_models_are_opened_by_name(tmp_path):
    pipeline = RAGPipeline(reranker_model=None)
    pipeline.index_documents(TEXTS)
    pipeline.save(tmp_path / "p")
    again = RAGPipeline.load(tmp_path / "p", read_only=True)
    assert again.retriever.reranker is None
    assert again.retrieve_and_rerank("how do I reset a password")[0]["index"] == 1
    settings = json.loads((tmp_path / "p" / "pipeline.json").read_text())
    assert (settings["retriever_model"], settings["reranker_model"]) == ("bundled", "")


def test_folder_is_followed(tmp_path):
    docs, path = tmp_path / "docs", tmp_path / "p"
    docs.mkdir()
    (docs / "a.md").write_text("# Cats\n\nCats sleep all day. Ask ana@example.org.\n")
    (docs / "b.md").write_text("# Dogs\n\nDogs bark at night.\n")
    options = {"retriever_model": FakeEmbedder(), "reranker_model": FakeCrossEncoder()}
    pipeline = RAGPipeline(**options)
    report = pipeline.index_folder(docs, path, redactor=Redactor())
    assert (report.added, report.passages, report.redacted) == (2, 2, {"email": 1})
    assert "ana@" not in "".join(file.read_text("latin-1") for file in path.rglob("*") if file.is_file())
    (docs / "a.md").write_text("# Cats\n\nCats purr.\n")
    (docs / "b.md").unlink()
    (docs / "c.md").write_text("# Birds\n\nBirds sing.\n")
    pipeline = RAGPipeline.load(path, **options)
    pipeline.index.embedder.calls.clear()
    report = pipeline.index_folder(docs, path, redactor=Redactor())
    assert (report.added, report.changed, report.deleted, report.unchanged) == (1, 1, 1, 0)
    assert pipeline.index.embedder.calls == [("d", 2)]
    assert sorted(passage.source for passage in pipeline.index.passages.values()) == ["a.md", "c.md"]
    report = pipeline.index_folder(docs, path, redactor=Redactor())
    assert (report.unchanged, report.to_dict()["documents"]["added"]) == (2, 0)
    found = pipeline.retrieve("purr")[0].passage
    assert (found.source, found.titles, found.metadata["format"]) == ("a.md", ("Cats",), "markdown")


def test_states_of_passages_are_kept_beside_the_index(tmp_path, encoded):
    docs, path = tmp_path / "docs", tmp_path / "p"
    docs.mkdir()
    (docs / "a.md").write_text("# Cats\n\nCats sleep all day.\n")
    (docs / "b.md").write_text("# Dogs\n\nDogs bark at night.\n")
    pipeline = RAGPipeline(FakeEmbedder(), precompute=True)
    pipeline.index_folder(docs, path)
    plain = RAGPipeline(FakeEmbedder(), CrossEncoder(cache_bytes=0))
    plain.index_folder(docs, tmp_path / "plain")
    expected = [(item.id, item.score) for item in plain.retrieve("who barks")]
    for opened in (pipeline, RAGPipeline.load(path, retriever_model=FakeEmbedder(), read_only=True)):
        encoded.clear()
        assert [(item.id, item.score) for item in opened.retrieve("who barks")] == expected
        assert len(encoded) == 1, "the query alone"
    (docs / "b.md").write_text("# Birds\n\nBirds sing.\n")
    encoded.clear()
    RAGPipeline.load(path, retriever_model=FakeEmbedder()).index_folder(docs, path)
    assert len(encoded) == 1, "the changed passage alone"
    assert CrossEncoder().precompute([], path / "states") == 2, "nothing is left of the old one"


def test_states_need_a_reranker():
    with pytest.raises(InvalidInputError, match="reranker"):
        RAGPipeline(FakeEmbedder(), None, precompute=True)
    pipeline = RAGPipeline(FakeEmbedder(), None)
    with pytest.raises(InvalidInputError, match="reranker"):
        pipeline.precompute = True


def test_states_of_another_model_are_made_again(tmp_path, encoded, caplog):
    pipeline = RAGPipeline(FakeEmbedder(), precompute=True)
    pipeline.index_documents(TEXTS)
    pipeline.save(tmp_path)
    (tmp_path / "states" / "states.json").write_text('{"schema_version": 1, "fingerprint": "of last year"}')
    again = RAGPipeline.load(tmp_path, retriever_model=FakeEmbedder())
    assert "Index the documents again" in caplog.text
    assert again.retrieve("forgotten password")[0].id == "1"
    again.save(tmp_path)
    encoded.clear()
    found = RAGPipeline.load(tmp_path, retriever_model=FakeEmbedder()).retrieve("forgotten password")
    assert (found[0].id, found.degraded, len(encoded)) == ("1", None, 1)


def test_crash_between_save_and_state_is_mended_by_the_next_call(tmp_path, monkeypatch):
    from semantic_ranker.documents.sync import Changes

    docs, path = tmp_path / "docs", tmp_path / "p"
    docs.mkdir()
    (docs / "a.md").write_text("# Cats\n\nCats sleep.\n")
    options = {"retriever_model": FakeEmbedder(), "reranker_model": None}
    with monkeypatch.context() as patched:
        patched.setattr(Changes, "commit", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            RAGPipeline(**options).index_folder(docs, path)
    pipeline = RAGPipeline(**options)
    pipeline.index_folder(docs, path)
    assert len(pipeline.index) == len(pipeline.index.store) == 1


def test_benchmark_has_percentiles_by_stage(pipeline):
    found = pipeline.benchmark(["cats", "dogs"], num_runs=2)
    assert set(found) == {"first_stage", "rerank", "total"}
    for of in found.values():
        assert 0 <= of["p50"] <= of["p95"] <= of["p99"]
    for arguments in (([], 3), (["x"], 0)):
        with pytest.raises(InvalidInputError):
            pipeline.benchmark(*arguments)


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidInputError, match="put it in a list"):
        RAGPipeline(FakeEmbedder(), None).index_documents("one text")
    for bad in (
        {"retriever_model": 3},
        {"reranker_model": 3},
        {"top_k_rerank": 0},
        {"language": "klingon"},
        {"source_weight": 2},
    ):
        with pytest.raises(InvalidInputError):
            RAGPipeline(**bad)
