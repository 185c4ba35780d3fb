from __future__ import annotations

import json

import pytest

from semantic_ranker import EvaluationError
from semantic_ranker.reports.training_log import read_history

ENTRIES = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_last_checkpoints_log_counts(tmp_path):
    write(tmp_path / "trainer" / "checkpoint-1" / "trainer_state.json", {"log_history": ENTRIES[:1]})
    write(tmp_path / "trainer" / "checkpoint-2" / "trainer_state.json", {"log_history": ENTRIES})
    write(tmp_path / "training.json", {"recipe": {}})
    assert read_history(tmp_path) == ENTRIES


@pytest.mark.parametrize("content", [ENTRIES, {"log_history": ENTRIES}, {"history": ENTRIES}])
def test_a_history_has_several_forms(tmp_path, content):
    path = write(tmp_path / "training_history.json", content)
    assert read_history(path) == read_history(tmp_path) == ENTRIES


@pytest.mark.parametrize("content", [{}, [], {"log_history": "x"}, [1, 2], 7])
def test_a_folder_without_a_log_is_refused(tmp_path, content):
    write(tmp_path / "trainer_state.json", content)
    with pytest.raises(EvaluationError, match="log of a training run"):
        read_history(tmp_path)


def test_what_is_not_json_or_not_there_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="log of a training run"):
        read_history(tmp_path / "none")
    (tmp_path / "trainer_state.json").write_text("{")
    with pytest.raises(EvaluationError, match="Expected JSON"):
        read_history(tmp_path)
