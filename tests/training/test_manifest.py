import hashlib
import json

import pytest

from semantic_ranker import CrossEncoder
from semantic_ranker._settings import ModelSettings
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import ModelFolder
from semantic_ranker_training.manifest import (
    DataSource,
    Metric,
    ModelMetadata,
    build_manifest,
    file_entries,
    write_manifest,
)

METRIC = Metric(collection="scifact", name="nDCG@10", value=0.72, low=0.69, high=0.75, baselines={"BM25": 0.679})


def manifest_of(folder):
    return json.loads((folder / "semantic_ranker.json").read_text(encoding="utf-8"))


def test_every_file_is_hashed(interaction_export):
    folder, report = interaction_export
    files = manifest_of(folder)["files"]
    assert set(files) == set(report.size_bytes)
    for name, entry in files.items():
        content = (folder / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_canary_is_what_the_runtime_gives(interaction_export):
    folder, _ = interaction_export
    canary = manifest_of(folder)["canary"]
    assert len(canary) == 4
    for precision in ("fp32", "int8"):
        with CrossEncoder(folder, precision=precision) as model:
            for pair in canary:
                logit = float(model.score(pair["query"], [pair["text"]])[0])
                assert logit == pytest.approx(pair["logit"][precision], abs=1e-4)
    assert canary[0]["logit"]["fp32"] != canary[0]["logit"]["int8"]


def test_parity_is_stored(interaction_export):
    folder, report = interaction_export
    assert manifest_of(folder)["parity"] == report.parity.to_dict()


def test_a_changed_file_is_refused_by_the_runtime(interaction_export, tmp_path):
    for name in ("config.json", "tokenizer.json", "semantic_ranker.json"):
        (tmp_path / name).write_bytes((interaction_export[0] / name).read_bytes())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(b"changed")
    with pytest.raises(ModelLoadError, match=r"onnx/model\.onnx .* damaged"), CrossEncoder(tmp_path) as model:
        model.score("q", ["t"])


def test_metadata_survives_being_read_back(tmp_path):
    metadata = ModelMetadata(
        name="m", version="2.0", base_model="b", license="mit", languages=("en", "de"), scale=0.5, bias=-1.5,
        metrics=(METRIC,), training={"steps": 600},
    )  # fmt: skip
    settings = ModelSettings(name="m", layout="segments", max_length=256, scale=0.5, bias=-1.5, languages=("en", "de"))
    (tmp_path / "config.json").write_text("{}")
    write_manifest(tmp_path, build_manifest(tmp_path, metadata, settings, parity={"pairs": 1}))
    opened = ModelFolder.open(tmp_path)
    assert opened.settings.layout == "segments"
    assert opened.settings.max_length == 256
    assert ModelMetadata.of_source(opened.settings, {}, opened.manifest) == metadata


def test_plain_folder_says_little():
    found = ModelMetadata.of_source(ModelSettings(name="plain"), {"_name_or_path": "owner/base"}, None)
    assert found == ModelMetadata(name="plain", base_model="owner/base")


def test_manifest_is_not_among_its_own_files(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(b"1")
    (tmp_path / "semantic_ranker.json").write_text("{}")
    assert list(file_entries(tmp_path)) == ["onnx/model.onnx"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_values_that_json_does_not_know_are_refused(tmp_path, value):
    with pytest.raises(InvalidInputError, match="finite JSON values"):
        write_manifest(tmp_path, {"training": {"loss": value}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [{"name": " "}, {"scale": 0.0}, {"scale": float("nan")}, {"bias": float("inf")}])
def test_metadata_that_could_not_be_opened_is_refused(values):
    with pytest.raises(InvalidInputError, match="Expected"):
        ModelMetadata(**{"name": "m", **values})


def test_data_sources_name_their_licence():
    source = DataSource(name="qa", license="CC BY-SA 4.0")
    assert (source.use, source.sha256) == ("", "")
