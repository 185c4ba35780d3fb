"""Files are whole after a crash, and lines of several writers never mix."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

from semantic_ranker import _files
from semantic_ranker._files import append_line, locked, write_atomically
from semantic_ranker.errors import InvalidInputError, SemanticRankerError, StorageError


def test_text_and_bytes_are_written_and_nothing_else_is_left(tmp_path):
    write_atomically(tmp_path / "new" / "a.json", "ñ\n")
    write_atomically(tmp_path / "new" / "b.bin", b"\x00\xff")
    assert (tmp_path / "new" / "a.json").read_bytes() == "ñ\n".encode()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.json", "b.bin"]


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path):
    real = tmp_path / "real.txt"
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "link.txt").symlink_to(real)
    write_atomically(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_new_file_gets_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_process_killed_half_way_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    # The kill comes after the content is written beside the file and before it takes the file's place.
    code = (
        "import os, signal, sys; from semantic_ranker import _files\n"
        "_files.os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "_files.write_atomically(sys.argv[1], 'new' * 100_000)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2  # and the partial file, hidden
    assert all(path == target or path.name.startswith(".a.txt.") for path in tmp_path.iterdir())


def test_a_failed_write_is_a_storage_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files.os, "replace", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write_atomically(target, "new")
    assert isinstance(caught.value, SemanticRankerError)
    assert isinstance(caught.value, OSError)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "a", "x")
    with pytest.raises(StorageError):
        append_line(tmp_path / "a", "x")
    with pytest.raises(StorageError):
        locked(tmp_path / "a").__enter__()


@pytest.mark.parametrize("write", [write_atomically, append_line])
def test_a_lone_surrogate_is_refused_before_the_file_is_touched(tmp_path, write):
    with pytest.raises(InvalidInputError, match="position 2"):
        write(tmp_path / "a", "ab\ud800")
    assert not (tmp_path / "a").exists()


def test_lines_are_appended(tmp_path):
    path = tmp_path / "logs" / "a.jsonl"
    append_line(path, "one")
    append_line(path, b"two", sync=False)
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(InvalidInputError, match="line feed"):
        append_line(path, "three\nfour")


def test_a_line_that_a_crash_cut_is_closed_before_the_next(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2')
    append_line(path, '{"id": 3}')
    assert path.read_bytes() == b'{"id": 1}\n{"id": 2\n{"id": 3}\n'


def test_a_short_write_is_a_storage_error(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(_files.os, "write", lambda descriptor, content: real(descriptor, content[:2]))
    with pytest.raises(StorageError, match="2 of 6 bytes"):
        append_line(tmp_path / "a", "hello")


def _append_many(path, mark):
    for number in range(200):
        append_line(path, f"{mark}{number:04}" * 300, sync=False)


def test_lines_of_two_processes_and_several_threads_never_mix(tmp_path):
    path = tmp_path / "a"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, mark)) for mark in "ab"]
    writers += [threading.Thread(target=_append_many, args=(path, mark)) for mark in "cd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = [line for line in path.read_text().split("\n") if line]
    expected = {f"{mark}{number:04}" for mark in "abcd" for number in range(200)}
    assert {line[:5] for line in lines} == expected
    assert len(lines) == len(expected)
    assert all(line == line[:5] * 300 for line in lines)


def test_the_lock_lets_one_in_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
