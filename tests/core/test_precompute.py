"""States on disk: the same scores without the model's work, across kills, changes and damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from semantic_ranker import CrossEncoder, InvalidInputError, ModelLoadError
from semantic_ranker.cli import main
from semantic_ranker.errors import StorageError
from semantic_ranker.model_folder import BUNDLED

QUERY = "how do I reset my password"
TEXTS = [
    "Cats sleep all day.",
    "To change a forgotten password, open Settings.",
    "",
    "Lunch is at noon. " * 400,
    "lone \ud800 surrogate",
]


@pytest.fixture
def states(tmp_path):
    assert CrossEncoder(cache_bytes=0).precompute(TEXTS, tmp_path / "states") == len(TEXTS)
    return tmp_path / "states"


def test_scores_are_the_same_and_only_the_query_is_encoded(states, encoded):
    expected = CrossEncoder(cache_bytes=0).score(QUERY, TEXTS)
    encoded.clear()
    encoder = CrossEncoder(states=states, cache_bytes=0)
    np.testing.assert_array_equal(encoder.score(QUERY, TEXTS), expected)
    assert len(encoded) == 1
    encoder.score(QUERY, [*TEXTS, "something new"])
    assert len(encoded) == 1 + 2


def test_spans_and_cuts_are_kept(states):
    fresh, stored = CrossEncoder(cache_bytes=0), CrossEncoder(states=states, cache_bytes=0)
    for mine, other in zip(fresh.rank(QUERY, TEXTS), stored.rank(QUERY, TEXTS), strict=True):
        assert (mine.index, mine.span, mine.truncated) == (other.index, other.span, other.truncated)


def test_windows_are_stored_as_windows(tmp_path, encoded):
    long = [TEXTS[3] + TEXTS[1]]
    encoder = CrossEncoder(long_text="windows", cache_bytes=0)
    encoder.precompute(long, tmp_path / "states")
    expected = encoder.rank(QUERY, long)[0]
    encoded.clear()
    stored = CrossEncoder(long_text="windows", states=tmp_path / "states", cache_bytes=0)
    assert stored.rank(QUERY, long)[0] == expected
    assert len(encoded) == 1


def test_only_what_is_new_is_encoded(states, encoded):
    assert CrossEncoder().precompute([*TEXTS, "something new"], states) == len(TEXTS) + 1
    assert len(encoded) == 1


def test_an_iterator_is_read_bit_by_bit(tmp_path):
    def texts():
        for number in range(2500):
            if number > 1000:
                assert (tmp_path / "states/shard-00000").is_dir()  # the first thousand are on the disk by now
            yield f"w{number % 7}"

    assert CrossEncoder().precompute(texts(), tmp_path / "states") == 7


def test_a_killed_run_continues(tmp_path, encoded):
    texts = [f"passage number {number}" for number in range(1200)]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    script = (
        "import json, sys; from semantic_ranker import CrossEncoder\n"
        f"CrossEncoder().precompute(json.load(open({str(tmp_path / 'texts.json')!r})), {str(tmp_path / 'states')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    while not (tmp_path / "states/shard-00000").is_dir() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shards = len(list((tmp_path / "states").glob("shard-*")))
    assert CrossEncoder().precompute(texts, tmp_path / "states") == len(texts)
    assert len(encoded) == max(0, len(texts) - 1000 * shards)


def test_states_of_another_model_are_refused(states, tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "model")
    manifest = json.loads((folder / "semantic_ranker.json").read_text())
    (folder / "semantic_ranker.json").write_text(json.dumps({**manifest, "max_length": 128}))
    with pytest.raises(ModelLoadError, match="another model's"):
        CrossEncoder(folder, states=states).score(QUERY, TEXTS)
    with pytest.raises(ModelLoadError, match="another model's"):
        CrossEncoder(folder).precompute(TEXTS, states)


def damage(name, content):
    def change(states):
        (states / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    "change",
    [
        damage("states.json", b"{"),
        damage("states.json", b'{"schema_version": 9, "fingerprint": "x"}'),
        damage("shard-00000/codes.npy", b""),
        damage("shard-00000/codes.npy", b"\x93NUMPY\x01\x00"),
        lambda states: (states / "shard-00000/scale.npy").unlink(),
        lambda states: np.save(states / "shard-00000/ids.npy", np.zeros(3, np.int32)),
        lambda states: np.save(states / "shard-00000/pooled.npy", np.zeros((5, 384), np.float64)),
        lambda states: np.save(states / "shard-00000/keys.npy", np.array([object()]), allow_pickle=True),
        lambda states: shutil.rmtree(states),
    ],
)
def test_damage_is_told(states, change):
    change(states)
    with pytest.raises(ModelLoadError, match="states"):
        CrossEncoder(states=states).score(QUERY, TEXTS)


def test_a_half_written_shard_is_not_there(states, encoded):
    shutil.copytree(states / "shard-00000", states / ".shard-abcd.partial")
    shutil.rmtree(states / "shard-00000")
    encoder = CrossEncoder(states=states, cache_bytes=0)
    encoder.score(QUERY, TEXTS)
    assert len(encoded) == 1 + len(TEXTS)


def test_a_deleted_shard_comes_back(states):
    encoder = CrossEncoder()
    encoder.precompute(["something new"], states)
    shutil.rmtree(states / "shard-00000")
    assert encoder.precompute(TEXTS, states) == len(TEXTS) + 1


def test_nothing_is_left_of_what_is_pruned(states, encoded):
    encoder = CrossEncoder(cache_bytes=0)
    encoder.precompute(["something new", TEXTS[1]], states)
    (states / ".shard-abcd.partial").mkdir()
    encoded.clear()
    reader = CrossEncoder(states=states, cache_bytes=0)
    expected = reader.score(QUERY, TEXTS)
    assert encoder.precompute([TEXTS[1], "something new", TEXTS[0]], states, prune=True) == 3
    np.testing.assert_array_equal(reader.score(QUERY, TEXTS), expected)  # what is mapped stays readable
    assert len(encoded) == 2, "one query each, and no text again"
    assert sorted(path.name for path in states.iterdir()) == ["shard-00001", "shard-00002", "states.json"]
    kept = CrossEncoder(states=states, cache_bytes=0).score(QUERY, [TEXTS[0], TEXTS[1]])
    np.testing.assert_array_equal(kept, expected[:2])
    assert encoder.precompute([], states, prune=True) == 0
    assert [path.name for path in states.iterdir()] == ["states.json"]


def test_other_content_is_not_overwritten(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StorageError, match="empty folder"):
        CrossEncoder().precompute(TEXTS, tmp_path)


@pytest.mark.parametrize("states", ["", 3, True, b"x"])
def test_states_is_a_folder(states):
    with pytest.raises(InvalidInputError, match="states"):
        CrossEncoder(states=states)


def test_a_text_that_is_no_string_is_told(tmp_path):
    with pytest.raises(InvalidInputError, match="index 1") as caught:
        CrossEncoder().precompute(["fine", None], tmp_path / "states")
    assert caught.value.index == 1


def test_a_full_disk_leaves_what_was_there(states):
    import resource

    before = sorted(path.name for path in states.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(StorageError, match="passage states"):
            CrossEncoder().precompute(["many new words " * 30], states)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(path.name for path in states.iterdir()) == before
    assert np.isfinite(CrossEncoder(states=states).score(QUERY, TEXTS)).all()


def test_the_command_writes_states(tmp_path, capsys):
    (tmp_path / "docs.txt").write_text("\n".join(TEXTS[:2]) + "\n")
    out = str(tmp_path / "states")
    assert main(["precompute", str(tmp_path / "docs.txt"), "--out", out]) == 0
    assert "states of 2 passages" in capsys.readouterr().out
    assert os.path.isdir(os.path.join(out, "shard-00000"))
    (tmp_path / "docs.txt").write_text(TEXTS[1] + "\n")
    assert main(["precompute", str(tmp_path / "docs.txt"), "--out", out, "--prune"]) == 0
    assert "states of 1 passages" in capsys.readouterr().out
    assert main(["precompute", str(tmp_path / "absent.txt"), "--out", out]) == 2
