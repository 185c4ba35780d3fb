"""Models that encode each side alone: what is cached, what is never mixed up, what is refused."""

import shutil
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models

from semantic_ranker import CrossEncoder, InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker.segments import EncodedPassage, StateCache
from semantic_ranker.segments.engine import SegmentBackend
from semantic_ranker.tokenization import EncodedPair, bounds

QUERY = "how do I reset my password"
TEXTS = [
    "Cats sleep all day.",
    "To change a forgotten password, open Settings.",
    "",
    "Lunch is at noon. " * 400,
    "To change a forgotten password, open Settings.",
]


class Counted:
    """Counts what is encoded, and encodes it."""

    def __init__(self, monkeypatch):
        self.lengths = []
        real = SegmentBackend.encode

        def encode(backend, ids):
            self.lengths.append(len(ids))
            return real(backend, ids)

        monkeypatch.setattr(SegmentBackend, "encode", encode)


@pytest.fixture
def folder(tmp_path):
    """A copy of its own, so that no other test's objects share its cache."""
    return shutil.copytree(BUNDLED, tmp_path / "model")


def test_a_known_passage_is_not_encoded_again_and_scores_the_same(folder, monkeypatch):
    counted = Counted(monkeypatch)
    encoder = CrossEncoder(folder)
    first = encoder.score(QUERY, TEXTS)
    assert len(counted.lengths) == 1 + 4  # the query, and each different text once
    second = encoder.score(QUERY, TEXTS)
    assert len(counted.lengths) == 1 + 4 + 1
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, CrossEncoder(folder, cache_bytes=0).score(QUERY, TEXTS))


def test_no_memory_means_nothing_is_kept(folder, monkeypatch):
    encoder = CrossEncoder(folder, cache_bytes=0)
    encoder.score(QUERY, TEXTS[:2])
    counted = Counted(monkeypatch)
    encoder.score(QUERY, TEXTS[:2])
    assert len(counted.lengths) == 3


def test_scores_do_not_depend_on_the_other_texts(folder):
    encoder = CrossEncoder(folder, cache_bytes=0)
    alone = [float(encoder.score(QUERY, [text])[0]) for text in TEXTS]
    np.testing.assert_allclose(encoder.score(QUERY, TEXTS), alone, atol=1e-4)


def test_windows_and_cut_texts_are_told_apart(folder):
    long = "Lunch is at noon. " * 400 + TEXTS[1]
    cut, whole = CrossEncoder(folder), CrossEncoder(folder, long_text="windows")
    assert whole.rank(QUERY, [long])[0].logit > cut.rank(QUERY, [long])[0].logit + 1
    assert cut.rank(QUERY, [long])[0].truncated
    assert long[slice(*whole.rank(QUERY, [long])[0].span)].endswith(TEXTS[1])


def test_many_queries_share_passages(folder, monkeypatch):
    counted = Counted(monkeypatch)
    encoder = CrossEncoder(folder)
    found = encoder.score_many([QUERY, "when is lunch"], [TEXTS[:3], TEXTS[:2]])
    assert len(counted.lengths) == 2 + 3
    np.testing.assert_allclose(found[1], CrossEncoder(folder).score("when is lunch", TEXTS[:2]), atol=1e-4)


def test_threads_agree(folder):
    encoder, found = CrossEncoder(folder), []
    threads = [threading.Thread(target=lambda: found.append(encoder.score(QUERY, TEXTS))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for scores in found:
        np.testing.assert_array_equal(scores, found[0])


@pytest.mark.parametrize("size", [-1, True, 1.5, "64MB", None])
def test_cache_bytes_is_a_number_of_bytes(size):
    with pytest.raises(InvalidInputError, match="cache_bytes"):
        CrossEncoder(cache_bytes=size)


def passage(words, seed):
    tokens = np.random.default_rng(seed).standard_normal((words + 2, 16), dtype=np.float32)
    pair = EncodedPair(np.arange(words + 2), np.zeros(words + 2, np.int64), (0, words), False)
    return EncodedPassage.of(pair, tokens, tokens.mean(0)), tokens


def test_states_keep_their_direction_in_int8():
    found, tokens = passage(20, 0)
    restored = found.codes * found.scale[:, None]
    np.testing.assert_allclose(restored, tokens[1:-1], atol=np.abs(tokens).max() / 127)
    assert found.ids.tolist() == list(range(1, 21))


def test_a_passage_without_words_has_no_states():
    found, _ = passage(0, 0)
    assert found.codes.shape == (0, 16)


def test_the_cache_keeps_within_its_bytes_and_forgets_the_oldest():
    entry = (passage(20, 0)[0],)
    room = 3 * (entry[0].nbytes + 600)
    cache = StateCache(room)
    for key in (b"a", b"b", b"c"):
        cache.put([(key, entry)])
    assert set(cache.get([b"a"])) == {b"a"}  # used, so b is the oldest now
    cache.put([(b"d", entry)])
    assert set(cache.get([b"a", b"b", b"c", b"d"])) == {b"a", b"c", b"d"}
    assert cache.nbytes <= room
    cache.put([(b"big", (passage(2000, 1)[0],))])
    assert len(cache) == 3
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_head_that_cannot_be_read_is_refused(folder):
    (folder / "semantic_ranker.json").unlink()
    (folder / "interaction_head.npz").write_bytes(b"PK nothing")
    with pytest.raises(ModelLoadError, match="interaction head"):
        CrossEncoder(folder).score(QUERY, TEXTS)


def test_a_head_with_objects_is_never_unpickled(folder, tmp_path):
    (folder / "semantic_ranker.json").unlink()

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    np.savez(folder / "interaction_head.npz", term_weight=np.array([Evil()], dtype=object))
    with pytest.raises(ModelLoadError, match="interaction head"):
        CrossEncoder(folder).score(QUERY, TEXTS)
    assert not (tmp_path / "canary").exists()


def test_another_graph_in_its_place_is_refused(folder):
    (folder / "semantic_ranker.json").unlink()
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input_ids"], ["tokens"])],
        "other",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "length"])],
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["rows", "length"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, folder / "onnx/segment_qint8.onnx")
    with pytest.raises(ModelLoadError, match="input_ids to tokens, pooled, importance"):
        CrossEncoder(folder).score(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("names", "found"), [(("[CLS]", "[SEP]"), (0, 1)), (("<s>", "</s>"), (0, 1)), (("[CLS]", "</s>"), None)]
)
def test_a_segment_begins_and_ends_with_the_tokens_of_its_family(names, found):
    tokenizer = Tokenizer(models.WordLevel({names[0]: 0, names[1]: 1, "[UNK]": 2}, unk_token="[UNK]"))
    if found is not None:
        assert bounds(tokenizer) == found
        return
    with pytest.raises(ModelLoadError, match=r"\[CLS\] and \[SEP\] or <s> and </s>"):
        bounds(tokenizer)
