"""Folders with everything wrong in them."""

import os
import socket

import pytest

from semantic_ranker.documents import REASONS, read_document, read_folder
from semantic_ranker.documents.files import read_bytes
from semantic_ranker.documents.readers import Refusal
from semantic_ranker.errors import InvalidInputError


def reasons(found):
    assert all(item.reason in REASONS for item in found.skipped)
    return {item.source: item.reason for item in found.skipped}


def test_folder_with_everything_wrong(tmp_path):
    base = tmp_path / "docs"
    (base / "sub").mkdir(parents=True)
    (base / "a.md").write_text("# Title\n\nText")
    (base / "sub" / "b.txt").write_text("Other text")
    (base / "copy.md").write_text("# Title\n\nText")
    (base / ".hidden.md").write_text("x")
    (base / "image.png").write_bytes(b"\x89PNG")
    (base / "binary.txt").write_bytes(b"a\x00\x01\x02")
    (base / "empty.md").write_text(" \n")
    (base / "marks.md").write_text("---\ntitle: T\n---\n")
    (base / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (base / "large.txt").write_text("x" * 200)
    (base / "loop").symlink_to(base, target_is_directory=True)
    (base / "self.md").symlink_to(base / "self.md")
    (base / "gone.md").symlink_to(base / "nowhere.md")
    (base / "out.md").symlink_to("/etc/passwd")
    (base / "inside.md").symlink_to(base / "sub" / "b.txt")
    os.mkfifo(base / "pipe.md")
    (base / "device.md").symlink_to("/dev/zero")
    found = read_folder(base, max_bytes=100)
    assert [document.source for document in found.documents] == ["a.md", "inside.md"]
    assert reasons(found) == {
        ".hidden.md": "hidden",
        "binary.txt": "binary",
        "broken.pdf": "damaged",
        "copy.md": "duplicate",
        "device.md": "link outside",
        "empty.md": "no text",
        "gone.md": "broken link",
        "image.png": "other kind",
        "large.txt": "too large",
        "loop": "link loop",
        "marks.md": "no text",
        "out.md": "link outside",
        "pipe.md": "not a file",
        "self.md": "link loop",
        "sub/b.txt": "duplicate",
    }
    assert found.reasons["duplicate"] == 2


def test_socket_and_name_that_is_not_utf_8(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.md")
        with open(os.fsencode(tmp_path) + b"/n\xe9.txt", "wb") as file:
            file.write(b"text")
        found = read_folder(tmp_path)
    assert reasons(found) == {"s.md": "not a file"}
    assert [document.source for document in found.documents] == ["n\\udce9.txt"]


def test_empty_folder_is_said(tmp_path):
    found = read_folder(tmp_path)
    assert (found.documents, reasons(found)) == ((), {".": "empty folder"})


def test_one_file_and_no_file(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    assert [document.text for document in read_folder(tmp_path / "a.txt").documents] == ["one"]
    assert read_document(tmp_path / "a.txt").source == "a.txt"
    for path in (tmp_path / "none", "a\0b"):
        with pytest.raises(InvalidInputError, match="Expected a folder or file"):
            read_folder(path)
    with pytest.raises(InvalidInputError, match="unreadable"):
        read_document(tmp_path / "none.txt")
    (tmp_path / "a.docx").write_text("one")
    with pytest.raises(InvalidInputError, match=r"other kind \(.docx\)"):
        read_document(tmp_path / "a.docx")


def test_pipe_given_itself_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "p.txt")
    assert reasons(read_folder(tmp_path / "p.txt")) == {"p.txt": "not a file"}
    with pytest.raises(Refusal):
        read_bytes(tmp_path)


def test_what_the_system_refuses_is_said(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    scan, open_file = os.scandir, os.open

    def scandir(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    def opened(path, *arguments, **options):
        if os.fspath(path).endswith("b.txt"):
            raise PermissionError(13, "Permission denied")
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "open", opened)
    found = read_folder(tmp_path)
    assert [document.source for document in found.documents] == ["a.txt"]
    assert reasons(found) == {"closed": "unreadable", "b.txt": "unreadable"}


def test_file_that_grows_is_capped(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 11)
    with pytest.raises(InvalidInputError, match="too large"):
        read_document(tmp_path / "a.txt", max_bytes=10)
