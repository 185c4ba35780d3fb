import hashlib
import json
import shutil
import threading

import numpy as np
import pytest

from semantic_ranker.backends.static import BUNDLED_EMBEDDER, StaticBackend
from semantic_ranker.errors import InvalidInputError, ModelLoadError

TEXTS = ["Cats sleep all day.", "To change a forgotten password, open Settings.", "The cafeteria opens at noon."]


@pytest.fixture(scope="module")
def backend():
    return StaticBackend()


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled folder, with a tiny vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "up": 1, "down": 2, "left": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    target = tmp_path / "static"
    target.mkdir()
    tokenizer.save(str(target / "tokenizer.json"))
    np.save(target / "vectors.npy", np.array([[1, 1], [0, 100], [0, -50], [100, 0]], np.int8))
    np.save(target / "scales.npy", np.array([1.0, 0.5, 1.0, 2.0], np.float32))
    return _sealed(target)


def _sealed(target, **changes):
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in target.iterdir()
        if path.name != "semantic_ranker.json"
    }
    manifest = {"schema_version": 1, "kind": "static-embedder", "name": "tiny", "max_length": 4, "files": files}
    (target / "semantic_ranker.json").write_text(json.dumps({**manifest, **changes}))
    return target


def test_the_bundled_embedder_knows_what_is_alike(backend):
    similarity = backend.run(["how do I reset my password"]) @ backend.run(TEXTS).T
    assert similarity.argmax() == 1
    assert similarity[0, 1] > 0.4
    assert similarity[0, [0, 2]].max() < 0.3


def test_vectors_have_length_one_whatever_the_text(backend):
    odd = ["", "   ", "\0", "\U0001f9d1\u200d\U0001f680", "漢字", "\ud800", "[CLS] [SEP]", "x" * 100_000]
    found = backend.run([*TEXTS, *odd])
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS) + len(odd), backend.dim)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert backend.run([]).shape == (0, backend.dim)


def test_a_vector_does_not_depend_on_the_texts_beside_it(backend):
    many = [f"text number {number} about passwords and cats" for number in range(1100)]
    assert np.array_equal(backend.run(many)[1050], backend.run([many[1050]])[0])


def test_special_tokens_in_a_text_are_text(backend):
    assert not np.array_equal(backend.run(["a [SEP] b"]), backend.run(["a b"]))
    with_brackets = backend.run(["[MASK]"]) @ backend.run(["mask"]).T
    assert with_brackets > 0.5


def test_ten_million_characters_are_cut_and_read_like_their_beginning(backend):
    long = "password settings " * 600_000
    assert np.array_equal(backend.run([long]), backend.run([long[: backend.max_length * 8]]))


def test_threads_share_it(backend):
    expected, found = backend.run(TEXTS), [None] * 8

    def work(place):
        found[place] = backend.run(TEXTS)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(np.array_equal(vectors, expected) for vectors in found)


def test_a_sum_of_scaled_rows(folder):
    backend = StaticBackend(folder)
    assert (backend.dim, backend.max_length, backend.name, backend.precision) == (2, 4, "static", "int8")
    np.testing.assert_allclose(backend.run(["left up"]), [[200, 50] / np.hypot(200, 50)], rtol=1e-6)
    # Opposite vectors leave nothing, and no token leaves nothing either: then the unknown token stands for the text.
    np.testing.assert_allclose(backend.run(["up down", "", "unknown"]), np.full((3, 2), np.sqrt(0.5)), rtol=1e-6)
    assert np.array_equal(backend.run(["up up up up left left left left"]), backend.run(["up"]))


def test_hashes_tell_models_apart(folder, backend):
    tiny = StaticBackend(folder)
    assert len(tiny.weights_sha256) == 64
    assert tiny.weights_sha256 != backend.weights_sha256
    assert tiny.tokenizer_sha256 != backend.tokenizer_sha256
    assert StaticBackend(folder).weights_sha256 == tiny.weights_sha256


@pytest.mark.parametrize(
    ("texts", "index"), [("one string", None), (["a", 3], 1), ([b"bytes"], 0), ([None], 0), ([["list"]], 0)]
)
def test_what_is_no_list_of_strings_is_refused(backend, texts, index):
    with pytest.raises(InvalidInputError) as error:
        backend.run(texts)
    assert error.value.index == index


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vectors.npy", np.zeros((4, 2), np.float32), "int8 with 2 dimensions"),
        ("vectors.npy", np.zeros((3, 2), np.int8), "each of the 4 tokens"),
        ("scales.npy", np.zeros(3, np.float32), "each of the 4 tokens"),
        ("scales.npy", np.array([1, np.nan, 1, 1], np.float32), "finite scales"),
        ("vectors.npy", np.zeros((4, 2), np.int8), "a vector for unknown tokens"),
        ("vectors.npy", b"\x93NUMPY", "Cannot read"),
        ("vectors.npy", np.array([{"a": 1}], dtype=object), "Cannot read"),
        ("tokenizer.json", b"{}", "Cannot open tokenizer.json"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder, name, content, message):
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        np.save(folder / name, content, allow_pickle=True)
    with pytest.raises(ModelLoadError, match=message):
        StaticBackend(_sealed(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "reranker"}, "Expected kind 'static-embedder'"),
        ({"schema_version": 2}, "schema_version 1"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": "many"}, "max_length"),
        ({"files": {}}, "sha256 of tokenizer.json"),
    ],
)
def test_manifests_of_another_kind_are_refused(folder, changes, message):
    with pytest.raises(ModelLoadError, match=message):
        StaticBackend(_sealed(folder, **changes))


def test_a_changed_file_is_noticed(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLED_EMBEDDER, copy)
    content = bytearray((copy / "scales.npy").read_bytes())
    content[-1] ^= 1
    (copy / "scales.npy").write_bytes(content)
    with pytest.raises(ModelLoadError, match="damaged or was changed"):
        StaticBackend(copy)


def test_no_folder_and_no_manifest_are_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="found nothing"):
        StaticBackend(tmp_path / "absent")
    with pytest.raises(ModelLoadError, match=r"semantic_ranker\.json"):
        StaticBackend(tmp_path)
    (tmp_path / "semantic_ranker.json").write_text("nonsense")
    with pytest.raises(ModelLoadError, match=r"Cannot read semantic_ranker\.json"):
        StaticBackend(tmp_path)
