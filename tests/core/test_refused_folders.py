"""Model folders that are damaged, incomplete or unsafe are refused with what to do about it."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from semantic_ranker import CrossEncoder, ModelLoadError
from semantic_ranker.model_folder import BUNDLED


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED, tmp_path / "model")


def rank(folder, **options):
    with CrossEncoder(folder, **options) as encoder:
        return encoder.score("query", ["text"])


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_a_copy_of_the_bundled_model_is_fine(folder):
    assert np.isfinite(rank(folder)).all()


def flip_a_byte(folder):
    path = folder / "onnx/segment_qint8.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def outside_link(folder):
    target = folder.parent / "elsewhere.json"
    shutil.move(folder / "tokenizer.json", target)
    (folder / "tokenizer.json").symlink_to(target)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "is damaged or was changed"),
        (outside_link, "leaves the model folder"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"Expected tokenizer\.json"),
        (lambda folder: (folder / "config.json").unlink(), r"Expected config\.json"),
        (lambda folder: (folder / "onnx/segment_qint8.onnx").unlink(), "no weights at all"),
        (lambda folder: (folder / "interaction_head.npz").write_bytes(b"PK"), "is damaged or was changed"),
        (lambda folder: (folder / "config.json").write_text("{broken"), "damaged or was changed|Cannot read"),
        (lambda folder: (folder / "semantic_ranker.json").write_text("[]"), "Expected an object"),
        (lambda folder: edit(folder / "semantic_ranker.json", schema_version=99), "schema_version"),
        (lambda folder: edit(folder / "semantic_ranker.json", kind="embedder"), "reranker"),
        (lambda folder: edit(folder / "semantic_ranker.json", input_layout="sideways"), "input_layout|layout"),
        (lambda folder: edit(folder / "semantic_ranker.json", max_length=-1), "max_length"),
        (lambda folder: edit(folder / "semantic_ranker.json", files={}), "sha256"),
        (lambda folder: edit(folder / "semantic_ranker.json", calibration={"scale": "high"}), "scale"),
    ],
)
def test_a_damaged_folder_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(ModelLoadError, match=message):
        rank(folder)


@pytest.fixture
def plain(folder):
    """Without a manifest nothing is verified, so what is inside must be refused for itself."""
    (folder / "semantic_ranker.json").unlink()
    (folder / "onnx/segment_qint8.onnx").unlink()
    (folder / "interaction_head.npz").unlink()
    return folder


@pytest.mark.parametrize(
    "extra",
    [{"auto_map": {"AutoModel": "evil.py"}}, {"vision": {"trust_remote_code": True}}, {"list": [{"auto_map": "x"}]}],
)
def test_a_config_that_runs_code_is_refused(plain, extra):
    edit(plain / "config.json", **extra)
    with pytest.raises(ModelLoadError, match="Refused"):
        rank(plain)


def test_pickles_are_refused(plain):
    (plain / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelLoadError, match="pickles, which run code"):
        rank(plain)


def test_safetensors_alone_are_explained(plain):
    (plain / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelLoadError, match="safetensors only: run `semantic-ranker export"):
        rank(plain)


def graph(inputs, width):
    """A graph that returns zeros of shape (batch, width)."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("MatMul", ["sum", "zeros"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zeros", TensorProto.FLOAT, [1, width], [0.0] * width),
    ]
    found = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in inputs]
    output = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", width])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", found, output, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (graph(["input_ids", "attention_mask"], 2), "classifier|num_labels"),
        (graph(["input_ids", "pixels", "attention_mask"], 1), "inputs"),
        (b"not an onnx file", "cannot open|Cannot open|damaged"),
    ],
)
def test_a_graph_that_is_no_reranker_is_refused(plain, model, message):
    content = model if isinstance(model, bytes) else model.SerializeToString()
    (plain / "onnx/model_qint8.onnx").write_bytes(content)
    with pytest.raises(ModelLoadError, match=message):
        rank(plain)


def test_external_data_is_refused(plain):
    model = graph(["input_ids", "attention_mask"], 1)
    secret = plain.parent / "secret.bin"
    secret.write_bytes(b"\0" * 4)
    tensor = model.graph.initializer[1]
    tensor.ClearField("float_data")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../../secret.bin"), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    (plain / "onnx/model_qint8.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelLoadError):
        rank(plain)


@pytest.mark.parametrize("file", ["config.json", "config_sentence_transformers.json"])
def test_a_plain_folder_is_read_from_its_config(plain, file):
    (plain / "onnx/model_qint8.onnx").write_bytes(graph(["input_ids", "attention_mask"], 1).SerializeToString())
    identity = {"activation_fn": "torch.nn.modules.linear.Identity"}
    if file == "config.json":
        edit(plain / file, sentence_transformers=identity)
    else:
        (plain / file).write_text(json.dumps(identity))
    with CrossEncoder(plain) as encoder:
        assert encoder.predict([("a", "b"), ("c", "d")]).tolist() == [0.0, 0.0]
        assert encoder.activation == "identity"
        assert [item.index for item in encoder.rank("q", ["x", "y", "z"])] == [0, 1, 2]


@pytest.mark.parametrize("model", ["./nowhere", "no/such/folder/here", "~/x"])
def test_a_path_that_is_not_there_is_named(model):
    with pytest.raises(ModelLoadError, match="nothing"):
        rank(model)


def test_a_hub_id_offline_fails_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelLoadError, match="HF_HUB_OFFLINE"):
        rank("nobody/no-such-model-anywhere")
