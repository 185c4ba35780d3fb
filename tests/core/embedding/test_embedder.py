import contextlib
import logging
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

from semantic_ranker.embedder import Embedder
from semantic_ranker.errors import EmbedderContractError, InvalidInputError, ModelLoadError


class KeptVectors:
    """A cache in the plainest sense: a dictionary that counts."""

    def __init__(self):
        self.kept, self.computed = {}, []

    def get_or_compute(self, space, role, texts, compute):
        keys = [(space.fingerprint, role, text) for text in texts]
        missing = [text for key, text in zip(keys, texts, strict=True) if key not in self.kept]
        if missing:
            self.computed.append(missing)
            for text, vector in zip(missing, compute(missing), strict=True):
                self.kept[space.fingerprint, role, text] = vector
        return np.stack([self.kept[key] for key in keys])


@pytest.fixture(scope="module")
def static():
    return Embedder()


def test_the_bundled_model_finds_what_is_meant(static):
    texts = ["Cats sleep all day.", "To change a forgotten password, open Settings.", "Bread needs flour."]
    found = static.embed_queries(["how do I reset my password"]) @ static.embed_documents(texts).T
    assert found.argmax() == 1
    assert static.space.backend == "static"
    assert static.dim == static.space.dim == static.embed_documents(["a"]).shape[1]


def test_vectors_are_float32_of_length_one_in_input_order(static):
    texts = ["one text", "another text", "one text"]
    vectors = static.embed_documents(texts)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[2])
    assert np.array_equal(static.embed_documents(["another text"])[0], vectors[1])


def test_an_onnx_folder_is_pooled_as_its_files_say(onnx_folder):
    embedder = Embedder(onnx_folder, precision="fp32")
    vector = embedder.embed_documents(["cats sleep"])[0]
    import onnx
    from onnx import numpy_helper

    table = numpy_helper.to_array(onnx.load(onnx_folder / "onnx" / "model.onnx").graph.initializer[0])
    expected = table[[2, 7, 8, 3]].mean(axis=0)
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert embedder.space.pooling == "mean"
    assert embedder.space.max_length == 32
    assert embedder.space.backend == "onnx"


def test_prompts_of_the_files_are_used_by_role_and_can_be_replaced(make_folder):
    folder = make_folder("prompted", prompts={"query": "query : ", "passage": "passage : "})
    embedder, bare = Embedder(folder), Embedder(folder, query_prompt="", document_prompt="")
    assert (embedder.space.query_prompt, embedder.space.document_prompt) == ("query : ", "passage : ")
    text = ["cats sleep"]
    assert not np.allclose(embedder.embed_queries(text), embedder.embed_documents(text))
    assert np.allclose(embedder.embed_queries(text), bare.embed_queries(["query : cats sleep"]), atol=1e-6)
    assert np.allclose(embedder.embed_documents(text), bare.embed_documents(["passage : cats sleep"]), atol=1e-6)
    assert bare.space.fingerprint != embedder.space.fingerprint


def test_the_catalogue_knows_prompts_that_the_files_leave_out(make_folder):
    folder = make_folder("bge-small-en-v1.5")
    assert Embedder(folder).space.query_prompt == ""
    named = make_folder("intfloat/e5-small-v2", prompts={"query": "", "document": ""})
    assert Embedder(named).space.query_prompt == ""
    from semantic_ranker.catalogue import find
    from semantic_ranker.embedding import opening, sources
    from semantic_ranker.embedding.options import EmbedderOptions

    source = sources.Source("e5", named, find("intfloat/e5-small-v2"))
    space = opening.ways(source, EmbedderOptions()).rungs[0].open().space
    assert (space.query_prompt, space.document_prompt) == ("query: ", "passage: ")


@pytest.mark.parametrize(
    "text",
    [
        "", "   \t\n", "\ud800 lone", "nul \x00 inside", "a" * 1_000_000, "e\u0301" * 100_000 + "\u0301" * 400_000,
        "\U0001f469\u200d\U0001f4bb cats", "\u202eabc \u05d0\u05d1", "猫は一日中寝ている", "<script>alert(1)</script>",
        "line one\nline two\r\n\x1b[31m",
    ],
    ids=["empty", "space", "surrogate", "nul", "one-word", "combining", "emoji", "bidi", "cjk", "html", "control"],
)  # fmt: skip
def test_odd_texts_give_a_vector_of_length_one_that_is_repeatable(onnx_folder, static, text):
    for embedder in (static, Embedder(onnx_folder)):
        first, second = embedder.embed_documents([text]), embedder.embed_documents(["cats", text])[1:]
        assert np.isfinite(first).all()
        assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(first, second)


def test_special_tokens_in_a_text_are_text(onnx_folder):
    embedder = Embedder(onnx_folder)
    plain = embedder.embed_documents(["cats sleep"])
    injected = embedder.embed_documents(["[CLS] cats sleep [SEP] [MASK]"])
    assert not np.allclose(plain, injected)
    # Each literal is read as its characters, which this vocabulary does not know.
    assert np.allclose(injected, embedder.embed_documents(["(cls) cats sleep (sep) (mask)"]), atol=1e-6)


def test_ten_megabytes_cost_no_more_than_what_is_read_of_them(onnx_folder):
    embedder = Embedder(onnx_folder)
    embedder.embed_documents(["warm"])
    tracemalloc.start()
    embedder.embed_documents(["cats sleep all day " * 500_000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000
    assert embedder.truncated == 1


def test_texts_that_are_too_long_are_counted(onnx_folder):
    embedder = Embedder(onnx_folder)
    embedder.embed_documents(["cats", "cats sleep " * 100, "dogs"])
    embedder.embed_queries(["how do i " * 3200])
    assert embedder.truncated == 2


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["list"], np.str_ and 1.5])
def test_a_text_of_another_type_is_named_by_its_index(static, bad):
    with pytest.raises(InvalidInputError, match="index 2") as caught:
        static.embed_documents(["a", "b", bad])
    assert caught.value.index == 2


@pytest.mark.parametrize("bad", ["one text", b"bytes", {"a": 1}, {"a"}, 3, None])
def test_what_is_no_list_is_refused(static, bad):
    with pytest.raises(InvalidInputError, match="list"):
        static.embed_queries(bad)


def test_an_unknown_role_is_refused(static):
    with pytest.raises(InvalidInputError, match="role"):
        static.embed(["a"], role="document")


def test_no_text_gives_no_vector(static):
    assert static.embed_documents([]).shape == (0, static.dim)
    assert list(static.iter_embed([])) == []


def test_one_bad_text_in_a_thousand_is_skipped_alone(static, caplog):
    texts = [f"text {number}" for number in range(1000)]
    texts[417] = None
    embedder = Embedder(on_error="skip")
    with caplog.at_level(logging.WARNING):
        found = embedder.embed(texts)
    assert found.skipped == (417,)
    assert np.isnan(found.vectors[417]).all()
    assert np.isfinite(np.delete(found.vectors, 417, axis=0)).all()
    assert np.array_equal(found.vectors[418], static.embed_documents(["text 418"])[0])
    assert "417" in caplog.text
    assert "text 4" not in caplog.text


def test_only_bad_texts_give_only_nan():
    assert np.isnan(Embedder(on_error="skip").embed_documents([None, 3])).all()


def test_a_generator_is_read_in_parts_and_bad_items_keep_their_index(static):
    read = []

    def texts():
        for number in range(5000):
            read.append(number)
            yield f"text {number}"

    parts = static.iter_embed(texts(), chunk=500)
    first = next(parts)
    assert first.vectors.shape == (500, static.dim)
    assert len(read) == 500
    assert sum(len(part.vectors) for part in parts) == 4500
    with pytest.raises(InvalidInputError) as caught:
        static.embed_documents(None if number == 2500 else "x" for number in range(3000))
    assert caught.value.index == 2500


def test_a_hundred_thousand_texts_stream_in_bounded_memory(static):
    resource = pytest.importorskip("resource")
    static.embed_documents(f"cats number {number}" for number in range(5000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = sum(len(part.vectors) for part in static.iter_embed(f"cats number {number}" for number in range(100_000)))
    assert rows == 100_000
    # All vectors together would be 102 MB; ru_maxrss is in kilobytes on Linux and in bytes on macOS, which is laxer.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


def test_a_text_is_computed_once_and_then_comes_from_the_cache(onnx_folder):
    cache = KeptVectors()
    embedder = Embedder(onnx_folder, cache=cache)
    first = embedder.embed_documents(["cats", "dogs", "cats"])
    assert cache.computed == [["cats", "dogs"]]
    assert np.array_equal(embedder.embed_documents(["dogs", "cats"]), first[[1, 0]])
    assert len(cache.computed) == 1
    embedder.embed_queries(["cats"])
    assert len(cache.computed) == 2


def test_two_models_share_a_cache_without_ever_crossing(make_folder):
    cache = KeptVectors()
    folders = [make_folder("one", dim=16, seed=1), make_folder("two", dim=16, seed=2), make_folder("three", dim=24)]
    for folder in folders:
        embedder = Embedder(folder, cache=cache)
        assert np.allclose(embedder.embed_documents(["cats"]), Embedder(folder).embed_documents(["cats"]))
    assert len(cache.computed) == 3


def test_what_the_files_say_decides_the_space(make_folder):
    plain = Embedder(make_folder("same")).space
    assert Embedder(make_folder("same-again")).space.fingerprint == plain.fingerprint
    folder = make_folder("edited")
    edits = {
        "1_Pooling/config.json": '{"pooling_mode_cls_token": true}',
        "sentence_bert_config.json": '{"max_seq_length": 16}',
        "tokenizer.json": (folder / "tokenizer.json").read_text().replace("bark", "meow"),
        "modules.json": (folder / "modules.json").read_text().replace("models.Normalize", "models.Normalize"),
    }
    seen = {plain.fingerprint}
    for name, content in list(edits.items())[:3]:
        other = make_folder(f"edited-{len(seen)}")
        (other / name).write_text(content)
        seen.add(Embedder(other).space.fingerprint)
    seen.add(Embedder(make_folder("weights", seed=5)).space.fingerprint)
    seen.add(Embedder(folder, max_length=8).space.fingerprint)
    seen.add(Embedder(folder, precision="fp32").space.fingerprint)
    seen.add(Embedder(folder, truncate_dim=8, allow_lossy_truncation=True).space.fingerprint)
    assert len(seen) == 8


def test_weights_that_are_edited_in_place_are_another_space(make_folder):
    folder = make_folder("in-place")
    before = Embedder(folder).space
    make_folder("in-place", seed=7)
    assert Embedder(folder).space.fingerprint != before.fingerprint


def test_cutting_vectors_is_for_models_that_were_trained_so(onnx_folder):
    with pytest.raises(InvalidInputError, match="allow_lossy_truncation"):
        _ = Embedder(onnx_folder, truncate_dim=8).dim
    embedder = Embedder(onnx_folder, truncate_dim=8, allow_lossy_truncation=True)
    whole = Embedder(onnx_folder).embed_documents(["cats sleep"])[:, :8]
    assert np.allclose(embedder.embed_documents(["cats sleep"]), whole / np.linalg.norm(whole), atol=1e-6)
    assert embedder.dim == 8
    with pytest.raises(InvalidInputError, match="at most 16"):
        _ = Embedder(onnx_folder, truncate_dim=17).dim
    assert Embedder(onnx_folder, truncate_dim=16).space.truncate_dim is None


def test_a_vector_never_depends_on_its_batch_mates(onnx_folder):
    texts = ["cats", "the cats sleep all day and all night", "", "dogs bark at night"]
    together = Embedder(onnx_folder, threads=2).embed_documents(texts)
    assert np.array_equal(together, np.concatenate([Embedder(onnx_folder).embed_documents([text]) for text in texts]))
    batched = Embedder(onnx_folder, token_budget=64).embed_documents(texts)
    assert np.allclose(together, batched, atol=1e-6)


def test_threads_share_one_embedder(onnx_folder):
    embedder = Embedder(onnx_folder)
    expected = embedder.embed_documents([f"cats {'sleep ' * number}" for number in range(20)])
    wrong = []

    def work():
        for _ in range(5):
            found = embedder.embed_documents([f"cats {'sleep ' * number}" for number in range(20)])
            if not np.array_equal(found, expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_pickles_as_settings(onnx_folder):
    embedder = Embedder(onnx_folder, threads=1)
    expected = embedder.embed_documents(["cats"])
    content = pickle.dumps(embedder)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert np.array_equal(again.embed_documents(["cats"]), expected)
    assert repr(again) == f"Embedder(model={str(onnx_folder)!r}, threads=1)"


def test_closing_lets_go_and_the_next_call_opens_again(onnx_folder):
    with Embedder(onnx_folder) as embedder:
        first = embedder.embed_documents(["cats"])
    assert np.array_equal(embedder.embed_documents(["cats"]), first)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int4"}, {"backend": "jax"}, {"device": "tpu"}, {"on_error": "ignore"}, {"threads": 0},
        {"truncate_dim": -1}, {"max_length": True}, {"token_budget": 2}, {"floor": 2}, {"query_prompt": 3},
        {"model": 3}, {"model": ""},
    ],
)  # fmt: skip
def test_bad_options_are_refused_before_anything_is_opened(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        Embedder(**options)


def test_more_tokens_than_the_model_reads_are_refused(onnx_folder):
    with pytest.raises(InvalidInputError, match="at most 64"):
        _ = Embedder(onnx_folder, max_length=65).dim


def test_a_name_that_nobody_knows_gets_the_nearest():
    with pytest.raises(ModelLoadError, match="all-MiniLM-L6-v2"):
        Embedder("all-minilm-l6-v3").embed_documents(["a"])


def test_a_static_model_has_one_precision(static):
    assert static.decision.precision == "int8"
    for options in ({"precision": "fp32"}, {"backend": "onnx"}):
        with pytest.raises(ModelLoadError, match="numpy"):
            _ = Embedder(**options).dim
    with pytest.raises(InvalidInputError, match="max_length"):
        _ = Embedder(max_length=7).dim


def test_nan_from_a_model_never_reaches_the_caller(make_folder):
    from onnx import load, numpy_helper, save

    folder = make_folder("nan")
    for name in ("model.onnx", "model_qint8.onnx"):
        model = load(folder / "onnx" / name)
        table = numpy_helper.to_array(model.graph.initializer[0]).copy()
        table[7] = np.nan
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))
        save(model, folder / "onnx" / name)
    embedder = Embedder(folder)
    assert np.isfinite(embedder.embed_documents(["dogs bark"])).all()
    with pytest.raises(EmbedderContractError, match="NaN") as caught:
        Embedder(folder, fallback=False).embed_documents(["dogs", "cats"])
    assert caught.value.indices == (1,)


def test_opening_is_shared_by_threads_that_come_at_once(onnx_folder, caplog):
    embedder = Embedder(onnx_folder)
    results = []
    threads = [threading.Thread(target=lambda: results.append(embedder.embed_documents(["cats"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(result, results[0]) for result in results)


def test_texts_never_reach_the_log(onnx_folder, caplog):
    with caplog.at_level(logging.DEBUG):
        Embedder(onnx_folder).embed_documents(["secret-canary " * 100, "\x1b[31mred"])
    assert "secret-canary" not in caplog.text
    assert "\x1b" not in caplog.text


def test_a_zero_vector_stays_zero_and_is_said(make_folder, caplog):
    from onnx import load, numpy_helper, save

    folder = make_folder("zero")
    path = folder / "onnx" / "model.onnx"
    model = load(path)
    zeros = np.zeros_like(numpy_helper.to_array(model.graph.initializer[0]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(zeros, "table"))
    save(model, path)
    with caplog.at_level(logging.WARNING):
        vectors = Embedder(folder, precision="fp32", fallback=False).embed_documents(["cats"])
    assert not vectors.any()
    assert "zero vectors" in caplog.text


def test_the_projects_own_cache_keeps_its_vectors(static):
    pytest.importorskip("theine", reason="the cache's first tier needs the extra 'redis'")
    from semantic_ranker.cache import TieredCache

    with contextlib.closing(TieredCache()) as cache:
        embedder = Embedder(cache=cache)
        texts = ["cats", "dogs", "cats"]
        for _ in range(2):
            assert np.allclose(embedder.embed_documents(texts), static.embed_documents(texts), atol=1e-3)
        assert cache.stats().hits >= 2
