import pytest

from semantic_ranker._staging import staged_folder
from semantic_ranker.errors import InvalidInputError


def test_folder_appears_whole_at_the_end(tmp_path):
    out = tmp_path / "new" / "model"
    with staged_folder(out) as folder:
        (folder / "config.json").write_text("{}")
        assert not out.exists()
    assert (out / "config.json").read_text() == "{}"
    assert list(out.parent.iterdir()) == [out]


def test_an_error_leaves_the_old_folder_and_no_partial_one(tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "config.json").write_text("old")

    def fill(folder):
        (folder / "config.json").write_text("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), staged_folder(out, overwrite=True) as folder:
        fill(folder)
    assert (out / "config.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_overwriting_replaces_every_file(tmp_path):
    out = tmp_path / "model"
    for name in ("config.json", "new.json"):
        with staged_folder(out, overwrite=True) as folder:
            (folder / "config.json").write_text("{}")
            (folder / name).write_text("{}")
    assert {path.name for path in out.iterdir()} == {"config.json", "new.json"}
    with staged_folder(out, overwrite=True) as folder:
        (folder / "config.json").write_text("{}")
    assert {path.name for path in out.iterdir()} == {"config.json"}


def test_an_empty_folder_is_free(tmp_path):
    with staged_folder(tmp_path / "model") as folder:
        (tmp_path / "model").mkdir()
        (folder / "a").write_text("a")
    assert (tmp_path / "model/a").exists()


def test_what_is_no_model_folder_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    for name, why in (("home", "no config.json"), ("file", "a file or link"), ("link", "a file or link")):
        with pytest.raises(InvalidInputError, match=why), staged_folder(tmp_path / name, overwrite=True):
            raise AssertionError("the block must not run")
    assert (tmp_path / "home/letter.txt").read_text() == "dear"


def test_a_folder_that_appeared_meanwhile_is_not_lost(tmp_path):
    out = tmp_path / "model"
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("another process")
    with pytest.raises(InvalidInputError, match="with content"), staged_folder(out):
        other.rename(out)
    assert (out / "config.json").read_text() == "another process"
