"""Killed, filled, truncated, forged, locked: what is on the disk opens whole or is refused."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from semantic_ranker._files import locked
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError
from semantic_ranker.indexes import FaissStore, Passage, PassageIndex
from semantic_ranker.testing import FakeEmbedder


@pytest.fixture
def saved(tmp_path, passages):
    index = PassageIndex(FakeEmbedder())
    index.add(passages(20))
    index.save(tmp_path / "index")
    return tmp_path / "index"


def opened(path, **options):
    return PassageIndex.open(path, embedder=FakeEmbedder(), **options)


def data_of(path):
    return path / json.loads((path / "manifest.json").read_text())["data"]


def test_no_pickle_and_every_file_hashed(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    names = {file.name for file in data_of(saved).iterdir()}
    assert names == set(manifest["files"])
    assert {"passages.jsonl", "vectors.faiss", "rows.json", "bm25.json"} <= names
    assert not any(name.endswith((".pkl", ".pickle")) for name in names)
    for file in data_of(saved).glob("*.npy"):
        assert b"pickle" not in file.read_bytes()
    assert manifest["space"]["space"]["dim"] == 64
    assert manifest["passages"] == 20


def test_process_killed_while_it_saves_leaves_an_index_that_opens(tmp_path, passages):
    path = tmp_path / "index"
    index = PassageIndex(FakeEmbedder())
    index.add(passages(30))
    index.save(path)
    code = """
        import sys
        from semantic_ranker.indexes import Passage, PassageIndex
        from semantic_ranker.testing import FakeEmbedder
        index = PassageIndex.open(sys.argv[1], embedder=FakeEmbedder())
        print("ready", flush=True)
        for step in range(10_000):
            index.add([Passage(id=f"n{step}", text=f"Added number {step}.")])
            index.save()
            print(len(index), flush=True)
    """
    chance = random.Random(7)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(4):
        words = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in process.stdout if line.endswith("\n")]
        process.stdout.close()
        process.wait()
        found = opened(path)
        # What was said to be saved is there; the save that was under way may be, whole.
        assert not said or len(found) in (said[-1], said[-1] + 1)
        assert len(found) == len(found.store)
        assert found.search("sleep", 1)[0].passage.id == "p0"
    (path / ".manifest.json.0a1b2c3d.partial").write_text("{")  # as a kill between its writing and its renaming leaves
    found.save()
    assert sorted(item.name for item in path.iterdir()) == sorted([".lock", data_of(path).name, "manifest.json"])


@pytest.mark.parametrize("name", ["vectors.faiss", "passages.jsonl", "rows.json", "bm25.json", "data.csc.index.npy"])
@pytest.mark.parametrize("how", ["truncated", "one bit", "gone"])
def test_damaged_files_are_refused(saved, name, how):
    file = data_of(saved) / name
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(
            content[: len(content) // 2] if how == "truncated" else content[:-1] + bytes([content[-1] ^ 1])
        )
    with pytest.raises(StorageError, match=name):
        opened(saved)


def rehash(path):
    """Make the manifest agree with what is there."""
    import hashlib

    manifest = json.loads((path / "manifest.json").read_text())
    for name in manifest["files"]:
        content = (data_of(path) / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("how", ["passage less", "id less", "garbage", "empty"])
def test_parts_that_do_not_belong_together_are_refused(saved, how):
    data = data_of(saved)
    if how == "passage less":
        lines = (data / "passages.jsonl").read_text().splitlines(keepends=True)
        (data / "passages.jsonl").write_text("".join(lines[:-1]))
    elif how == "id less":
        rows = json.loads((data / "rows.json").read_text())
        rows["ids"].pop()
        (data / "rows.json").write_text(json.dumps(rows))
    else:
        (data / "vectors.faiss").write_bytes(b"" if how == "empty" else b"x" * 500)
    rehash(saved)
    with pytest.raises(StorageError):
        opened(saved)


def edited(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "../elsewhere"},
        {"data": "/etc"},
        {"data": 3},
        {"files": {"../../etc/passwd": {}}},
        {"files": []},
        {"kind": "other"},
        {"schema_version": 99},
    ],
)
def test_forged_manifests_are_refused(saved, changes):
    edited(saved, **changes)
    with pytest.raises(StorageError, match="damaged"):
        opened(saved)


def test_manifest_without_its_space_or_with_a_canary_that_lies(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    edited(saved, space=None)
    with pytest.raises(SpaceMismatchError, match="build the index anew"):
        opened(saved)
    other = FakeEmbedder(model="other").canary().to_dict()
    edited(saved, space={**manifest["space"], "canary": other})
    with pytest.raises(SpaceMismatchError) as caught:
        opened(saved)
    assert caught.value.fields == ("canary",)
    (saved / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match="not JSON"):
        opened(saved)


def test_folder_of_something_else_is_left_alone(tmp_path, passages):
    (tmp_path / "notes.txt").write_text("mine")
    index = PassageIndex(FakeEmbedder())
    with pytest.raises(InvalidInputError, match="got something else"):
        index.save(tmp_path)
    with pytest.raises(StorageError, match="found none"):
        opened(tmp_path)
    with pytest.raises(InvalidInputError, match="saved nowhere"):
        index.save()
    with pytest.raises(StorageError):
        index.save(tmp_path / "notes.txt" / "index")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_second_writer_is_refused_and_nothing_is_lost(saved):
    first, second = opened(saved), opened(saved)
    first.add([Passage(id="first", text="From the first.")])
    second.add([Passage(id="second", text="From the second.")])
    with locked(saved / ".lock"), pytest.raises(StorageError, match="Another process holds"):
        first.save()
    first.save()
    with pytest.raises(StorageError, match="saved by another process"):
        second.save()
    assert "first" in opened(saved)
    assert "second" not in opened(saved)


def test_readers_see_the_old_or_the_new_while_one_process_saves(saved):
    code = """
        import sys
        from semantic_ranker.indexes import PassageIndex
        from semantic_ranker.testing import FakeEmbedder
        print("ready", flush=True)
        for _ in range(12):
            index = PassageIndex.open(sys.argv[1], embedder=FakeEmbedder(), read_only=True)
            assert len(index) == len(index.store) >= 20
            assert index.search("sleep", 1)[0].passage.id == "p0"
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(saved)]
    readers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    index, step = opened(saved), 0
    while any(reader.poll() is None for reader in readers):
        step += 1
        index.add([Passage(id=f"n{step}", text="New.")])
        index.save()
    for reader in readers:
        reader.stdout.close()
    assert [reader.returncode for reader in readers] == [0, 0]


def test_read_only_refuses_changes(saved):
    index = opened(saved, read_only=True)
    for change in (lambda: index.add([]), lambda: index.delete(["p1"]), index.save):
        with pytest.raises(InvalidInputError, match="read_only"):
            change()


def test_full_disk_leaves_the_old_index(saved):
    index = opened(saved)
    index.add([Passage(id=f"big{place}", text="word " * 400) for place in range(200)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(StorageError):
            index.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert len(opened(saved)) == 20
    assert len(list(saved.iterdir())) == 3
    index.save()
    assert len(opened(saved)) == 220


def test_disk_that_fails_at_every_step_never_costs_the_old_index(saved, monkeypatch):
    steps, limit = 0, 0
    real = {name: getattr(os, name) for name in ("fsync", "replace", "open")}

    def failing(name):
        def call(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == limit:
                raise OSError(28, "No space left on device")
            return real[name](*arguments, **options)

        return call

    failures = 0
    while True:
        index = opened(saved)
        index.add([Passage(id=f"n{limit}", text="New.")])
        steps, limit = 0, limit + 1
        with monkeypatch.context() as patched:
            for name in real:
                patched.setattr(os, name, failing(name))
            try:
                index.save()
            except StorageError:
                failures += 1
            else:
                break
        assert len(opened(saved)) in (20, 21)  # 21: it failed after the rename, which is the save
        assert opened(saved).search("sleep", 1)[0].passage.id == "p0"
        if len(opened(saved)) == 21:
            shutil.rmtree(saved)
            again = PassageIndex(FakeEmbedder())
            again.add([passage for passage in index.passages.values() if not passage.id.startswith("n")])
            again.save(saved)
    assert failures > 5


def test_large_types_of_faiss_are_saved_filtered_and_mended(tmp_path, passages):
    for index_type in ("hnsw", "ivf"):
        path = tmp_path / index_type
        index = PassageIndex(FakeEmbedder(), store=FaissStore(index_type))
        index.add(passages(600))
        index.save(path)
        again = opened(path)
        assert (again.store.index_type, again.store.describe()["index_type"]) == (index_type, index_type)
        exact = PassageIndex(FakeEmbedder(), store=FaissStore("flat"))
        exact.add(passages(600))
        queries = [f"number{place} topic{place % 7}" for place in range(4, 600, 20)]
        found = again.search_many(queries, 10, mode="dense")
        truth = exact.search_many(queries, 10, mode="dense")
        # Many texts tie here, so the scores are compared and not the ids.
        got, best = (sum(hit.score for of in results for hit in of) for results in (found, truth))
        assert (0.97 if index_type == "hnsw" else 0.7) * best <= got <= 1.001 * best
        few = again.search(queries[0], 5, mode="dense", where={"year": {"$lte": 2023}})
        assert sorted(hit.passage.id for hit in few) == ["p0", "p1", "p2", "p3"]
        again.delete([found[0][0].passage.id])
        assert found[0][0].passage.id not in {hit.passage.id for hit in again.search(queries[0], 10, mode="dense")}
        again.add([Passage(id="new", text=queries[0])])
        again.save()
        assert opened(path).search(queries[0], 1, mode="dense")[0].passage.id == "new"
        again.delete([f"p{place}" for place in range(100, 600)])
        again.save()
        assert len(opened(path).store) == len(opened(path)) <= 101


def test_type_follows_the_size(monkeypatch, tmp_path, passages):
    from semantic_ranker.indexes import choose_type, faiss_store

    assert [choose_type(count) for count in (0, 100_000, 100_001, 1_000_001)] == ["flat", "flat", "hnsw", "ivf"]
    monkeypatch.setattr(faiss_store, "FLAT_UP_TO", 50)
    index = PassageIndex(FakeEmbedder())
    index.add(passages(60))
    index.save(tmp_path / "index")
    assert index.store.index_type == "hnsw"
    index.delete([f"p{place}" for place in range(20, 60)])
    index.save()
    assert opened(tmp_path / "index").store.index_type == "flat"
    with pytest.raises(InvalidInputError, match="index_type"):
        FaissStore("lsh")


def test_passage_without_any_word_is_found_by_nothing_and_breaks_nothing(tmp_path):
    index = PassageIndex(FakeEmbedder())
    index.add([Passage(id="a", text="cats"), Passage(id="b", text="…")])
    assert (len(index), len(index.store), index.without_vector) == (2, 1, 1)
    index.save(tmp_path / "index")
    again = opened(tmp_path / "index")
    assert (again.without_vector, [hit.passage.id for hit in again.search("cats")]) == (1, ["a"])


def test_empty_index_is_saved_and_adopts_its_space_later(tmp_path):
    PassageIndex(FakeEmbedder()).save(tmp_path / "index")
    again = opened(tmp_path / "index")
    assert (len(again), again.search("x").hits) == (0, ())
    again.add([Passage(id="a", text="cats")])
    again.save()
    with pytest.raises(SpaceMismatchError):
        PassageIndex.open(tmp_path / "index", embedder=FakeEmbedder(model="other"))


def test_threads_search_while_one_changes(passages):
    index = PassageIndex(FakeEmbedder())
    index.add(passages(400))
    failures = []

    def search():
        try:
            for _ in range(40):
                assert len(index.search("filler topic3", 5, where={"year": {"$gte": 2030}})) == 5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(40):
        index.add([Passage(id=f"n{step}", text=f"New filler {step}.")])
        index.delete([f"n{step - 1}"])
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index) == len(index.store) == 401
