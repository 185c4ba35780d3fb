"""The quality gate, ModelOptimizer, the command, and what happens to bad input."""

import json
import resource
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from sentence_transformers import CrossEncoder as SentenceCrossEncoder
from tokenizers import Tokenizer

from semantic_ranker import CrossEncoder
from semantic_ranker.cli import main
from semantic_ranker.conversion.sample_pairs import built_in_pairs
from semantic_ranker.errors import (
    ExportParityError,
    InvalidInputError,
    ModelLoadError,
    SemanticRankerError,
    StorageError,
)
from semantic_ranker_training.export import export_model
from semantic_ranker_training.export_options import GRAPHS, ExportOptions
from semantic_ranker_training.optimizer import ModelOptimizer, kind_of_source
from semantic_ranker_training.quality_gate import QualityDifference, QualityGate, QualityReport

QUERY = "how do I reset my password"
TEXTS = [text for _, text in built_in_pairs() if len(text.split()) < 60][:10]


def scores(folder, **options):
    with CrossEncoder(folder, **options) as model:
        return model.score(QUERY, TEXTS)


@pytest.fixture(scope="module")
def exported(bert_folder, judged, tmp_path_factory):
    out = tmp_path_factory.mktemp("gate") / "model"
    gate = QualityGate(data=judged, floor=-0.9)
    return out, export_model(bert_folder, out, precisions=("fp32", "fp16", "int8"), options=ExportOptions(gate=gate))


def test_quality_is_measured_and_recorded(exported):
    folder, report = exported
    assert [of.precision for of in report.quality.differences] == ["int8", "fp16"]
    assert 0 < report.quality.fp32 < 1
    assert all(of.low <= of.difference <= of.high for of in report.quality.differences)
    stored = json.loads((folder / "semantic_ranker.json").read_text())["export"]
    assert stored["quality"]["queries"] == 24
    assert stored["quality"]["accepted_loss"] is False
    assert [variant["name"] for variant in stored["variants"]] == ["torch", "fp32", "fp16", "int8"]
    assert "nDCG@10 on 24 queries" in report.summary()


def test_report_is_a_page_with_plots(exported):
    page = exported[1].page().render()
    assert page.count("<svg") == 2
    assert "milliseconds" in page


def test_a_worse_model_is_refused_unless_accepted(bert_folder, judged, tmp_path):
    gate = QualityGate(data=judged, floor=0.5, queries=12)
    with pytest.raises(ExportParityError, match=r"stay above 0\.5 on 12 queries.*int8.*accept_loss=True"):
        export_model(bert_folder, tmp_path / "out", options=ExportOptions(gate=gate))
    assert list(tmp_path.iterdir()) == []
    accepted = QualityGate(data=judged, floor=0.5, queries=12, accept_loss=True)
    report = export_model(bert_folder, tmp_path / "out", options=ExportOptions(gate=accepted))
    assert report.quality.accepted_loss
    stored = json.loads((tmp_path / "out/semantic_ranker.json").read_text())["export"]["quality"]
    assert stored["accepted_loss"] is True


@pytest.mark.parametrize(("low", "passes"), [(-0.004, True), (-0.006, False), (float("nan"), False)])
def test_gate_looks_at_the_lower_bound(low, passes):
    difference = QualityDifference(precision="int8", mean=0.5, difference=0.0, low=low, high=0.01)
    report = QualityReport(collection="c", queries=50, fp32=0.5, floor=-0.005, differences=(difference,))
    if passes:
        assert report.check() is report
    else:
        with pytest.raises(ExportParityError, match="interval"):
            report.check()


def test_gate_needs_enough_queries(judged):
    with pytest.raises(InvalidInputError, match="10 or more judged queries"):
        QualityGate(data=judged, queries=3).collection()


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_optimizer_gives_the_precision_that_was_asked_for(precision, bert_folder, tmp_path):
    """The seeds' exporter gave fp32 under the name of int8, and ignored fp16."""
    report = ModelOptimizer(bert_folder).export_to_onnx(tmp_path / "out", quantize=True, precision=precision)
    assert {kind for kind, name in GRAPHS.items() if name in report.size_bytes} == {"fp32", precision}
    kinds = {of.data_type for of in onnx.load(tmp_path / "out" / GRAPHS[precision]).graph.initializer}
    expected = {"int8": onnx.TensorProto.INT8, "fp16": onnx.TensorProto.FLOAT16, "fp32": onnx.TensorProto.FLOAT}
    assert expected[precision] in kinds
    with CrossEncoder(tmp_path / "out", precision=precision) as model:
        assert model.precision == precision


def test_optimizer_without_quantisation_and_without_fp32(bert_folder, tmp_path):
    plain = ModelOptimizer(bert_folder).export_to_onnx(tmp_path / "plain", quantize=False)
    assert GRAPHS["int8"] not in plain.size_bytes
    small = ModelOptimizer(bert_folder).export_to_onnx(tmp_path / "small", keep_fp32=False)
    assert not {GRAPHS["fp32"], "model.safetensors"} & set(small.size_bytes)
    with pytest.raises(InvalidInputError, match="fp32, fp16, int8"):
        ModelOptimizer(bert_folder).export_to_onnx(tmp_path / "x", precision="int4")
    with pytest.raises(InvalidInputError, match="kind"):
        ModelOptimizer(bert_folder, kind="generator")


def test_sentence_transformers_opens_the_folder_with_equal_logits(exported, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, "model_input_names": names}
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens | special))
    import torch

    model = SentenceCrossEncoder(str(folder), local_files_only=True, device="cpu")
    expected = model.predict([(QUERY, text) for text in TEXTS], activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scores(exported[0], precision="fp32"), expected, atol=1e-3)


def test_layout_is_what_the_onnx_backend_of_sentence_transformers_looks_for(exported):
    from sentence_transformers.backend.utils import backend_should_export

    found = backend_should_export(
        exported[0], True, {}, target_file_name="model.onnx", target_file_glob="*.onnx", backend_name="ONNX"
    )
    export, arguments = found
    assert export is False
    assert (arguments["subfolder"], arguments["file_name"]) == ("onnx", "model.onnx")


def test_plain_onnxruntime_runs_it_without_our_code(exported):
    tokenizer = Tokenizer.from_file(str(exported[0] / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch([(QUERY, text) for text in TEXTS])
    feeds = {
        "input_ids": np.array([of.ids for of in encoded]),
        "attention_mask": np.array([of.attention_mask for of in encoded]),
        "token_type_ids": np.array([of.type_ids for of in encoded]),
    }
    for precision, tolerance in (("fp32", 1e-3), ("fp16", 0.05)):
        session = onnxruntime.InferenceSession(str(exported[0] / GRAPHS[precision]))
        found = session.run(["logits"], feeds)[0].ravel()
        np.testing.assert_allclose(found, scores(exported[0], precision="fp32"), atol=tolerance)


def test_kind_is_read_off_the_files(bert_folder, interaction_export, tmp_path):
    assert kind_of_source(bert_folder) == kind_of_source(interaction_export[0]) == "reranker"
    assert kind_of_source(tmp_path) == "reranker"
    (tmp_path / "config.json").write_text('{"architectures": ["MPNetModel"]}')
    assert kind_of_source(tmp_path) == "embedder"
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.base.modules.transformer.Transformer"}]')
    assert kind_of_source(tmp_path) == "reranker"


def test_a_bi_encoder_as_a_reranker_is_refused(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "bi")
    (tmp_path / "bi/modules.json").write_text('[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]')
    with pytest.raises(ModelLoadError, match=r"gives vectors.*--kind embedder"):
        export_model(tmp_path / "bi", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_activation_of_sentence_transformers_six_is_kept(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "six")
    stored = {"activation_fn": "torch.nn.modules.linear.Identity", "model_type": "CrossEncoder"}
    (tmp_path / "six/config_sentence_transformers.json").write_text(json.dumps(stored))
    export_model(tmp_path / "six", tmp_path / "out", precisions=("fp32",))
    assert json.loads((tmp_path / "out/semantic_ranker.json").read_text())["activation"] == "identity"
    assert (tmp_path / "out/config_sentence_transformers.json").is_file()


def test_a_full_disk_is_a_typed_error_and_leaves_nothing(bert_folder, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"Cannot write .*nothing was changed"):
            export_model(bert_folder, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_command_exports_both_kinds_as_json_and_page(bert_folder, judged, tmp_path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{QUERY}\t{text}\n" for text in TEXTS))
    arguments = ["--precisions", "fp32", "fp16", "--pairs", str(pairs), "--data", str(judged), "--json"]
    page = tmp_path / "page.html"
    assert main(["export", str(bert_folder), str(tmp_path / "out"), *arguments, "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parity"]["pairs"] == len(TEXTS)
    assert found["quality"]["differences"][0]["precision"] == "fp16"
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "absent.tsv"], "Cannot read the pairs"),
        (["--data", "absent"], "absent"),
        (["--kind", "embedder"], "scores pairs"),
    ],
)
def test_command_says_what_is_wrong(arguments, message, bert_folder, tmp_path, capsys):
    assert main(["export", str(bert_folder), str(tmp_path / "out"), *arguments]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_refuses_pairs_without_a_tab(bert_folder, tmp_path, capsys):
    (tmp_path / "pairs.tsv").write_text("good\tpair\nno tab here\n")
    assert main(["export", str(bert_folder), str(tmp_path / "out"), "--pairs", str(tmp_path / "pairs.tsv")]) != 0
    assert "line 2" in capsys.readouterr().err


def test_options_are_checked():
    with pytest.raises(InvalidInputError, match="row_norm"):
        ExportOptions(row_norm="some")
    assert issubclass(StorageError, SemanticRankerError)
