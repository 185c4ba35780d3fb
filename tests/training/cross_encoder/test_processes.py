"""Runs in processes of their own: killed half-way, on a full disk, on two processes at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semantic_ranker_training.checkpoints import last_checkpoint
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.data import write_groups

WORKER = Path(__file__).with_name("worker.py")
SETTINGS = {
    "max_length": 32,
    "group_size": 4,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "num_epochs": 4,
    "save_steps": 8,
    "logging_steps": 8,
    "device": "cpu",
    "loss_function": "mnrl",  # draws random negatives in every step
}


@pytest.fixture
def groups_file(toy_groups, tmp_path):
    write_groups(tmp_path / "groups.jsonl", toy_groups)
    return tmp_path / "groups.jsonl"


def command(base, groups, out, **changes):
    return [sys.executable, str(WORKER), str(base), str(groups), str(out), json.dumps({**SETTINGS, **changes})]


def environment(**changes):
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", **changes}


@pytest.mark.slow
def test_a_run_that_is_killed_half_way_ends_with_the_same_weights(bert_base, groups_file, toy_groups, tmp_path):
    whole = CrossEncoderTrainer(str(bert_base), **SETTINGS).train(toy_groups, (), output_dir=tmp_path / "whole")
    out = tmp_path / "killed"
    worker = subprocess.Popen(
        command(bert_base, groups_file, out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while last_checkpoint(out / "checkpoints") is None:
            assert worker.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert not (out / "model").exists()
    stopped = int(last_checkpoint(out / "checkpoints").name.split("-")[1])
    assert 0 < stopped < 48
    resumed = CrossEncoderTrainer(str(bert_base), **SETTINGS).train(toy_groups, (), output_dir=out)
    assert (resumed.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    assert resumed["train_loss"] == whole["train_loss"]


def test_half_a_checkpoint_is_not_resumed_from(tmp_path):
    files = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text('{"epoch": 1')
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "optimizer.pt").unlink()
    assert last_checkpoint(tmp_path) is None


@pytest.mark.slow
def test_a_full_disk_is_a_typed_error_and_leaves_nothing_half_written(bert_base, groups_file, tmp_path):
    out = tmp_path / "full"
    done = subprocess.run(
        command(bert_base, groups_file, out, file_size_limit=60_000),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "StorageError: Cannot write a checkpoint" in done.stderr
    assert not (out / "model").exists()
    assert not list((out / "checkpoints").glob("checkpoint-*"))


@pytest.mark.slow
def test_two_processes_end_with_one_set_of_weights(bert_base, groups_file, tmp_path):
    out = tmp_path / "two"
    changes = {"batch_size": 4, "num_epochs": 1, "save_steps": 100, "loss_function": "listnet"}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone",
         *command(bert_base, groups_file, out, **changes)[1:]],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((out / f"rank-{rank}.json").read_text())["sha256"] for rank in (0, 1))
    assert first == second
    steps = json.loads((out / "training_history.json").read_text())["log_history"][-1]["step"]
    assert steps == 6  # 48 queries in batches of 4 on two processes
    assert (out / "model" / "semantic_ranker.json").is_file()
