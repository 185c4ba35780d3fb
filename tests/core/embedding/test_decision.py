import json
import logging
from pathlib import Path

import pytest

from semantic_ranker._settings import MANIFEST
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding import machine as machine_module
from semantic_ranker.embedding.decision import PrecisionDecision, decide
from semantic_ranker.embedding.machine import Machine
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import sha256

VNNI = frozenset({"avx2", "avx512f", "avx512_vnni"})
AVX2 = frozenset({"avx2"})
ARM = frozenset({"asimddp"})
NONE = frozenset()
BOTH = ("fp32", "int8")


@pytest.mark.parametrize(
    ("available", "machine", "megabytes", "expected"),
    [
        (BOTH, Machine(cpu_flags=VNNI, available_mb=16000), 90, ("int8", "cpu", "8-bit numbers at once")),
        (BOTH, Machine(cpu_flags=AVX2, available_mb=16000), 90, ("int8", "cpu", "AVX2")),
        (BOTH, Machine(cpu_flags=ARM, architecture="aarch64"), 90, ("int8", "cpu", "8-bit")),
        (BOTH, Machine(cpu_flags=NONE, available_mb=16000), 90, ("fp32", "cpu", "no instructions")),
        (BOTH, Machine(cpu_flags=NONE, available_mb=100), 90, ("int8", "cpu", "100 MB are free")),
        (BOTH, Machine(cpu_flags=NONE, available_mb=16000, limit_mb=128), 90, ("int8", "cpu", "128 MB are free")),
        (BOTH, Machine(cpu_flags=NONE, available_mb=128, limit_mb=9000), 90, ("int8", "cpu", "128 MB are free")),
        (BOTH, Machine(cpu_flags=NONE), None, ("fp32", "cpu", "no instructions")),
        (BOTH, Machine(cpu_flags=VNNI, gpu="H200", gpu_free_mb=80000), 1340, ("fp16", "cuda", "H200")),
        (BOTH, Machine(cpu_flags=VNNI, gpu="small", gpu_free_mb=500), 1340, ("int8", "cpu", "8-bit")),
        (("fp32",), Machine(cpu_flags=VNNI, available_mb=10), 90, ("fp32", "cpu", "all there is")),
        (("int8",), Machine(cpu_flags=NONE), 90, ("int8", "cpu", "all there is")),
        (("fp32", "fp16"), Machine(cpu_flags=AVX2), 90, ("fp32", "cpu", "no instructions")),
    ],
)
def test_the_precision_of_each_machine(available, machine, megabytes, expected):
    found = decide(available, machine, megabytes=megabytes)
    assert (found.precision, found.device) == expected[:2]
    assert expected[2] in found.reasons[-1]
    assert found.chosen_by == "machine"
    assert Machine.from_dict(dict(found.machine)) == machine


def test_a_precision_whose_probe_texts_are_below_the_floor_is_left_out():
    machine = Machine(cpu_flags=VNNI)
    found = decide(BOTH, machine, canary_cosine={"int8": 0.91}, floor=0.98)
    assert found.precision == "fp32"
    assert "0.9100" in found.reasons[0]
    assert decide(BOTH, machine, canary_cosine={"int8": 0.99}, floor=0.98).precision == "int8"
    assert decide(("int8",), machine, canary_cosine={"int8": 0.5}, floor=0.98).precision == "int8"


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(InvalidInputError):
        decide((), Machine())


def test_a_decision_survives_json_as_the_choice_of_a_manifest():
    found = decide(BOTH, Machine(cpu_flags=VNNI))
    again = PrecisionDecision.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.precision == "int8"
    assert again.chosen_by == "manifest"
    assert again.reasons == found.reasons
    for bad in ({}, {"precision": "int4"}, {"precision": "int8", "device": "tpu"}):
        with pytest.raises(InvalidInputError, match="precision"):
            PrecisionDecision.from_dict(bad)


def test_this_machine_is_described():
    here = Machine.here()
    assert here.cores >= 1
    assert here.gpu == ""
    assert Machine.from_dict(json.loads(json.dumps(here.to_dict()))) == here


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "max\n", "memory.current": "5\n"}, None),
        ({"memory.max": "300000000\n", "memory.current": "100000000\n"}, 200.0),
        ({"memory.max": "100\n", "memory.current": "300\n"}, 0.0),
        ({"memory/memory.limit_in_bytes": "300000000", "memory/memory.usage_in_bytes": "200000000"}, 100.0),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "2"}, None),
        ({}, None),
    ],
)
def test_the_container_limit_is_read_from_its_files(tmp_path, monkeypatch, files, expected):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(machine_module, "_CGROUP", tmp_path)
    assert Machine.here().limit_mb == expected


def test_flags_and_memory_are_read_from_the_system(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni sse\n")
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 2000 kB\n")
    monkeypatch.setattr(machine_module, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine_module, "_MEMORY_INFO", tmp_path / "meminfo")
    assert Machine.here().cpu_flags == {"avx2", "avx512_vnni"}
    assert Machine.here().available_mb == pytest.approx(2.048)
    monkeypatch.setattr(machine_module, "_CPU_INFO", tmp_path / "absent")
    monkeypatch.setattr(machine_module, "_MEMORY_INFO", tmp_path / "absent")
    assert Machine.here().has_wide_vectors
    assert Machine.here().available_mb is None


def test_the_choice_is_logged_and_can_be_overruled(onnx_folder, caplog):
    with caplog.at_level(logging.INFO):
        automatic = Embedder(onnx_folder).decision
    assert automatic.precision in caplog.text
    asked = Embedder(onnx_folder, precision="fp32")
    assert asked.decision.chosen_by == "caller"
    assert asked.space.precision == "fp32"
    frozen = Embedder(onnx_folder, decision=PrecisionDecision.from_dict({"precision": "fp32"}))
    assert frozen.space.precision == "fp32"
    assert frozen.decision.chosen_by == "manifest"
    with pytest.raises(InvalidInputError, match="decision"):
        Embedder(onnx_folder, precision="int8", decision=frozen.decision)


def manifest(folder: Path, **content) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path.read_bytes())}
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    values = {"schema_version": 1, "kind": "embedder", "name": "made", "files": files, **content}
    (folder / MANIFEST).write_text(json.dumps(values))


def test_the_parity_that_an_export_measured_keeps_a_bad_int8_out(onnx_folder):
    manifest(onnx_folder, parity={"int8_min_cosine": 0.5})
    embedder = Embedder(onnx_folder)
    assert embedder.space.precision == "fp32"
    assert "0.5000" in embedder.decision.reasons[0]
    manifest(onnx_folder, parity={"int8_min_cosine": 0.999}, weights_sha256="f" * 64)
    embedder = Embedder(onnx_folder)
    assert embedder.space.weights == "f" * 64
    assert embedder.space.model == "made"
