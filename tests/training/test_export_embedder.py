"""Bi-encoders: pooled and normalised as their own modules say, in whatever opens them."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from semantic_ranker.conversion.sample_pairs import built_in_texts
from semantic_ranker.conversion.vector_parity import VectorReport, VectorThresholds, neighbour_overlap
from semantic_ranker.embedder import Embedder
from semantic_ranker.errors import ExportParityError, InvalidInputError, ModelLoadError
from semantic_ranker_training.export import export_embedder
from semantic_ranker_training.export_options import ExportOptions
from semantic_ranker_training.quality_gate import QualityGate

TEXTS = [text for text in built_in_texts() if len(text.split()) < 40]
OLD = "sentence_transformers.models."


def sentence_folder(folder, tokenizer, *, pooling="pooling_mode_mean_tokens", normalize=True, dense=None):
    """A tiny sentence-transformers folder in the layout of the models on the hub."""
    torch.manual_seed(1)
    size = tokenizer.get_vocab_size()
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = BertConfig(vocab_size=size, max_position_embeddings=128, initializer_range=0.1, pad_token_id=0, **shape)
    folder.mkdir(parents=True)
    BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128}
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens | special))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 64, pooling: True}))
    if dense:
        modules.append(("2_Dense", "Dense"))
        from safetensors.torch import save_file

        (folder / "2_Dense").mkdir()
        kind = {"in_features": 64, "out_features": dense, "bias": True}
        kind["activation_function"] = "torch.nn.modules.activation.Tanh"
        (folder / "2_Dense/config.json").write_text(json.dumps(kind))
        layer = torch.nn.Linear(64, dense)
        tensors = {"linear.weight": layer.weight.detach(), "linear.bias": layer.bias.detach()}
        save_file(tensors, folder / "2_Dense/model.safetensors")
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    entries = [
        {"idx": at, "name": str(at), "path": path, "type": OLD + kind} for at, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    similarity = "cosine" if normalize else "dot"
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "ask : "}, "default_prompt_name": None, "similarity_fn_name": similarity})
    )
    return folder


@pytest.fixture(scope="module")
def source(bert_tokenizer, tmp_path_factory):
    return sentence_folder(tmp_path_factory.mktemp("st") / "tiny-embedder", bert_tokenizer)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    return out, export_embedder(source, out, precisions=("fp32", "fp16", "int8"))


def test_folder_is_complete_and_described(exported):
    folder, report = exported
    manifest = json.loads((folder / "semantic_ranker.json").read_text())
    assert (manifest["kind"], manifest["dim"], manifest["name"]) == ("embedder", 64, "tiny-embedder")
    assert set(manifest["files"]) == set(report.size_bytes)
    assert {"onnx/model.onnx", "onnx/model_qint8.onnx", "1_Pooling/config.json", "modules.json"} <= set(
        manifest["files"]
    )
    assert manifest["parity"]["int8_min_cosine"] > 0.98
    assert [variant["name"] for variant in manifest["export"]["variants"]] == ["torch", "fp32", "fp16", "int8"]
    assert report.size_bytes["onnx/model_fp16.onnx"] < 0.6 * report.size_bytes["onnx/model.onnx"]
    assert "int8" in report.summary()
    assert json.dumps(report.to_dict())


def test_embedder_opens_it_and_agrees_with_torch(source, exported):
    with Embedder(source, backend="torch") as reference, Embedder(exported[0], precision="fp32") as fp32:
        np.testing.assert_allclose(fp32.embed_documents(TEXTS), reference.embed_documents(TEXTS), atol=1e-4)
    with Embedder(exported[0], precision="int8") as int8:
        cosines = (int8.embed_documents(TEXTS) * fp32.embed_documents(TEXTS)).sum(1)
    assert 0.99 < cosines.min() < 0.999999


def test_plain_onnxruntime_runs_it_without_our_code(exported):
    folder, expected = exported[0], None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(TEXTS)
    feeds = {
        "input_ids": np.array([of.ids for of in encoded]),
        "attention_mask": np.array([of.attention_mask for of in encoded]),
        "token_type_ids": np.array([of.type_ids for of in encoded]),
    }
    session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"))
    vectors = session.run(["sentence_embedding"], feeds)[0]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with Embedder(folder, precision="fp32") as model:
        expected = model.embed_documents(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_sentence_transformers_opens_it_with_equal_vectors(source, exported):
    before = SentenceTransformer(str(source), local_files_only=True, device="cpu").encode(TEXTS)
    after = SentenceTransformer(str(exported[0]), local_files_only=True, device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(before, after)
    session = onnxruntime.InferenceSession(str(exported[0] / "onnx/model.onnx"))
    # What its ONNX backend reads, to pool it by itself.
    assert "last_hidden_state" in [node.name for node in session.get_outputs()]


@pytest.mark.parametrize(
    "layout",
    [
        {"pooling": "pooling_mode_cls_token"},
        {"pooling": "pooling_mode_max_tokens", "normalize": False},
        {"dense": 24},
    ],
)
def test_modules_of_the_source_are_part_of_the_graph(layout, bert_tokenizer, tmp_path):
    folder = sentence_folder(tmp_path / "source", bert_tokenizer, **layout)
    export_embedder(folder, tmp_path / "out", precisions=("fp32",))
    expected = SentenceTransformer(str(folder), local_files_only=True, device="cpu").encode(TEXTS)
    with Embedder(tmp_path / "out") as model:
        found = model.embed_documents(TEXTS)
    assert found.shape[1] == layout.get("dense", 64)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_int8_alone_is_small(source, tmp_path):
    report = export_embedder(source, tmp_path / "out", precisions=("int8",), name="small")
    assert "model.safetensors" not in report.size_bytes
    assert "onnx/model.onnx" not in report.size_bytes
    with Embedder(tmp_path / "out") as model:
        assert (model.space.precision, model.space.model) == ("int8", "small")


def test_other_families_are_traced(xlmr_tokenizer, tmp_path):
    from transformers import ModernBertConfig, ModernBertModel

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    ends = {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    size = xlmr_tokenizer.get_vocab_size()
    ModernBertModel(
        ModernBertConfig(vocab_size=size, max_position_embeddings=128, initializer_range=0.1, **shape, **ends)
    ).save_pretrained(tmp_path / "source")
    xlmr_tokenizer.save(str(tmp_path / "source/tokenizer.json"))
    report = export_embedder(tmp_path / "source", tmp_path / "out")
    assert report.parity.fp32_min_cosine > 0.9999
    assert report.parity.int8_mean_cosine > 0.99


def test_a_reranker_and_a_folder_without_weights_are_refused(bert_folder, source, tmp_path):
    with pytest.raises(ModelLoadError, match=r"scores pairs.*--kind reranker"):
        export_embedder(bert_folder, tmp_path / "out")
    shutil.copytree(source, tmp_path / "empty")
    (tmp_path / "empty/model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="found none"):
        export_embedder(tmp_path / "empty", tmp_path / "out")
    shutil.copytree(source, tmp_path / "mute")
    (tmp_path / "mute/tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match="AutoTokenizer"):
        export_embedder(tmp_path / "mute", tmp_path / "out")
    with pytest.raises(ModelLoadError, match="found nothing"):
        export_embedder(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(InvalidInputError, match="12 or more"):
        export_embedder(source, tmp_path / "out", texts=["a", "b"])
    assert not (tmp_path / "out").exists()


def test_gate_searches_judged_data(source, tmp_path, judged):
    gate = QualityGate(data=judged, floor=0.5)
    with pytest.raises(ExportParityError, match=r"stay above 0\.5"):
        export_embedder(source, tmp_path / "out", options=ExportOptions(gate=gate))
    assert not (tmp_path / "out").exists()


def test_report_fails_below_a_threshold_and_on_nan():
    report = VectorReport(texts=20, dim=4, fp32_min_cosine=1.0, batch_min_cosine=1.0, int8_mean_cosine=0.99)
    with pytest.raises(ExportParityError, match=r"int8 against fp32, mean cosine: expected at least 0\.995, got 0\.99"):
        report.check()
    assert report.check(VectorThresholds(int8_cosine=0.98)) is report
    broken = VectorReport(texts=20, dim=4, fp32_min_cosine=float("nan"), batch_min_cosine=1.0)
    with pytest.raises(ExportParityError, match="fp32 ONNX against torch"):
        broken.check()


def test_neighbour_overlap_counts_common_neighbours():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 8)).astype(np.float32)
    assert neighbour_overlap(vectors, 3 * vectors) == 1
    assert neighbour_overlap(vectors, random.normal(size=(40, 8)).astype(np.float32)) < 0.5
