import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.manifest import SpaceGuard, SpaceManifest
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError

TEXTS = ["cats sleep all day", "reset your password in settings"]


class Liar:
    """Another model that claims to be this one."""

    def __init__(self, claimed, real):
        self.space, self._real = claimed.space, real

    def canary(self):
        return self._real.canary()

    def embed_documents(self, texts):
        return self._real.embed_documents(texts)


@pytest.fixture
def models(make_folder):
    return [Embedder(make_folder(name, seed=seed)) for seed, name in enumerate(("one", "two"), start=1)]


def test_an_empty_index_adopts_the_first_space_and_refuses_the_second(tmp_path, models):
    guard = SpaceGuard(tmp_path / "index" / "space.json")
    assert guard.load() is None
    manifest = guard.open(models[0], empty=True)
    assert manifest.space == models[0].space
    assert manifest.decision.precision == models[0].space.precision
    again = SpaceGuard(guard.path)
    again.open(models[0])
    with pytest.raises(SpaceMismatchError, match="weights") as caught:
        again.open(models[1])
    assert models[0].space.short in str(caught.value)
    assert models[1].space.short in str(caught.value)
    with pytest.raises(SpaceMismatchError):
        again.open(models[1], empty=True)


def test_adding_and_querying_are_checked_too(tmp_path, models):
    guard = SpaceGuard(tmp_path / "space.json")
    with pytest.raises(SpaceMismatchError, match="open"):
        guard.require(models[0].space)
    guard.open(models[0], empty=True)
    for action in ("add to", "query"):
        guard.require(models[0].space, action=action)
        with pytest.raises(SpaceMismatchError, match=action):
            guard.require(models[1].space, action=action)


def test_a_missing_manifest_is_refused_unless_the_stored_vectors_prove_the_model(tmp_path, models):
    guard = SpaceGuard(tmp_path / "space.json")
    with pytest.raises(SpaceMismatchError, match="adopt"):
        guard.open(models[0])
    stored = models[0].embed_documents(TEXTS).astype(np.float16)
    with pytest.raises(SpaceMismatchError, match="another model"):
        guard.adopt(models[1], TEXTS, stored)
    with pytest.raises(SpaceMismatchError, match="another model"):
        guard.adopt(models[0], TEXTS, stored[:, :8])
    with pytest.raises(InvalidInputError, match="texts"):
        guard.adopt(models[0], [], stored[:0])
    assert guard.load() is None
    guard.adopt(models[0], TEXTS, stored)
    guard.open(models[0])


def test_a_manifest_that_lies_is_found_out_by_the_probe_texts(tmp_path, models):
    guard = SpaceGuard(tmp_path / "space.json")
    guard.open(models[0], empty=True)
    with pytest.raises(SpaceMismatchError, match="probe texts") as caught:
        guard.open(Liar(models[0], models[1]))
    assert caught.value.fields == ("canary",)
    forged = replace(guard.load(), space=models[1].space)
    guard.path.write_text(json.dumps(forged.to_dict()))
    with pytest.raises(SpaceMismatchError, match="probe texts"):
        SpaceGuard(guard.path).open(models[1])


def test_another_precision_may_share_an_index_once_its_probe_texts_agree(tmp_path, make_folder):
    folder, rough = make_folder("fine"), make_folder("rough", noise=0.8)
    guard = SpaceGuard(tmp_path / "space.json")
    int8, fp32 = (Embedder(folder, precision=precision) for precision in ("int8", "fp32"))
    guard.open(int8, empty=True)
    with pytest.raises(SpaceMismatchError, match="precision"):
        guard.require(fp32.space)
    guard.open(fp32)
    guard.require(fp32.space)
    other = SpaceGuard(tmp_path / "rough.json")
    other.open(Embedder(rough, precision="int8"), empty=True)
    with pytest.raises(SpaceMismatchError, match="probe texts"):
        other.open(Embedder(rough, precision="fp32"))


def test_the_choice_of_precision_is_frozen_in_the_manifest(tmp_path, onnx_folder):
    guard = SpaceGuard(tmp_path / "space.json")
    guard.open(Embedder(onnx_folder, precision="fp32"), empty=True)
    later = Embedder(onnx_folder, decision=guard.load().decision)
    assert later.space.precision == "fp32"
    guard.open(later)


def test_of_two_spaces_that_come_first_at_once_one_wins(tmp_path, models):
    for model in models:
        model.canary()
    for attempt in range(10):
        path = tmp_path / str(attempt) / "space.json"
        outcomes, barrier = {}, threading.Barrier(4)

        def claim(number, path=path, outcomes=outcomes, barrier=barrier):
            barrier.wait()
            try:
                outcomes[number] = SpaceGuard(path).open(models[number % 2], empty=True).space
            except SpaceMismatchError:
                outcomes[number] = None

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winner = SpaceGuard(path).load().space
        assert winner in (models[0].space, models[1].space)
        for number, space in outcomes.items():
            assert space == (winner if models[number % 2].space == winner else None)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"schema_version": 9}', b'{"schema_version": 1}', b"\xff\xfe"]
)
def test_a_damaged_manifest_is_refused(tmp_path, models, content):
    (tmp_path / "space.json").write_bytes(content)
    with pytest.raises(InvalidInputError):
        SpaceGuard(tmp_path / "space.json").open(models[0])
    assert (tmp_path / "space.json").read_bytes() == content


def test_a_manifest_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "space.json").mkdir()
    with pytest.raises(StorageError, match="Cannot read"):
        SpaceGuard(tmp_path / "space.json").load()


def test_it_survives_json(models):
    manifest = SpaceManifest.of(models[0])
    again = SpaceManifest.from_dict(json.loads(json.dumps(manifest.to_dict())))
    assert again.space == manifest.space
    assert again.check(models[0]) == pytest.approx(1.0)
