"""The registry lists what is on the disk, damaged folders too, and compares only what can be compared."""

import hashlib
import json
import os
import shutil

import pytest

from semantic_ranker.cli import main
from semantic_ranker.collections import load_beir
from semantic_ranker.errors import EvaluationError, InvalidInputError
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker.registry import ModelRegistry, read_entry
from semantic_ranker.registry.entries import version_key
from semantic_ranker.registry.retraining import next_version

FIGURES = {"scifact": (0.70, 0.65, 0.75), "cacm": (0.50, 0.45, 0.55), "macro": (0.60, 0.5, 0.7)}


def figures(values):
    return {name: {"nDCG@10": {"value": v, "low": low, "high": high}} for name, (v, low, high) in values.items()}


def write_model(
    folder, name="mine", version="1.0.0", *, metrics=None, kind="reranker", files=("onnx/model_qint8.onnx",), **more
):
    entries = {}
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        entries[file] = {"sha256": hashlib.sha256(b"weights").hexdigest(), "bytes": 7}
    manifest = {
        "schema_version": 1,
        "kind": kind,
        "name": name,
        "version": version,
        "base_model": "base",
        "languages": ["en", "es"],
        "files": entries,
        "metrics": figures(FIGURES if metrics is None else metrics),
        "training": {"recipe": {"steps": 10, "seed": 0}, "data_sha256": {"qa": "aa"}, "pairs": {"qa": 500}},
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "semantic_ranker.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def root(tmp_path):
    write_model(tmp_path / "models" / "mine-1")
    write_model(
        tmp_path / "models" / "team" / "mine-10", version="1.10.0", parent="mine@1.0.0", created="2026-01-02T03:04:05Z"
    )
    write_model(tmp_path / "models" / "mine-2", version="1.2.0", files=("onnx/model.onnx", "model.safetensors"))
    write_model(tmp_path / "models" / "vectors", name="vectors", kind="embedder")
    (tmp_path / "models" / ".half.partial").mkdir()
    return tmp_path / "models"


def test_all_models_are_listed_by_name_and_version_with_the_bundled_one(root):
    entries = ModelRegistry(root).entries()
    mine = [entry for entry in entries if entry.name == "mine"]
    assert [entry.version for entry in mine] == ["1.0.0", "1.2.0", "1.10.0"]
    assert mine[1].precisions == ("fp32", "safetensors")
    assert mine[2].lineage.parent == "mine@1.0.0"
    assert mine[2].lineage.created.startswith("2026-01-02")
    assert mine[0].languages == ("en", "es")
    assert mine[0].size_bytes == 7
    assert mine[0].figure("cacm", "nDCG@10").low == 0.45
    bundled = next(entry for entry in entries if entry.bundled and entry.kind == "reranker")
    assert bundled.path == BUNDLED
    assert not bundled.problem
    assert [entry.name for entry in ModelRegistry(root).entries(kind="embedder")] == ["vectors"]


def test_the_bundled_folder_as_root_lists_nothing_twice():
    entries = ModelRegistry(BUNDLED.parent).entries()
    assert len({entry.path.resolve() for entry in entries}) == len(entries)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "onnx/model_qint8.onnx").unlink(), "is missing"),
        (lambda folder: (folder / "onnx/model_qint8.onnx").write_bytes(b"short"), "expected 7 bytes, got 5"),
        (lambda folder: (folder / "semantic_ranker.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "semantic_ranker.json").write_text("[]"), "Expected an object"),
        (lambda folder: (folder / "semantic_ranker.json").write_bytes(b"\xff\xfe"), "is damaged"),
        (lambda folder: (folder / "semantic_ranker.json").write_text("[" * 100_000), "is damaged"),
        (lambda folder: write_model(folder, schema_version=7), "Expected schema_version 1"),
        (lambda folder: write_model(folder, files={}, metrics={}, kind=3), "kind"),
        (lambda folder: write_model(folder, languages="en"), "languages"),
        (lambda folder: write_model(folder, training=[]), "training"),
        (lambda folder: write_model(folder, metrics={"c": ("high", 0, 1)}), "Expected a number"),
        (lambda folder: manifest_files(folder, {"../../passwd": {"sha256": "a", "bytes": 1}}), "leaves the folder"),
        (lambda folder: manifest_files(folder, {"a": "b"}), "sha256 and bytes"),
        (lambda folder: manifest_files(folder, None), "files"),
    ],
)
def test_damaged_folders_are_listed_with_the_reason(root, break_it, message):
    break_it(root / "mine-1")
    registry = ModelRegistry(root)
    damaged = [entry for entry in registry.entries() if entry.problem]
    assert [entry.path for entry in damaged] == [root / "mine-1"]
    assert message in damaged[0].problem
    with pytest.raises(InvalidInputError, match="cannot be used"):
        registry.get(root / "mine-1")


def manifest_files(folder, files):
    path = folder / "semantic_ranker.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": files}))


def test_a_manifest_that_is_a_folder_cannot_be_read(tmp_path):
    (tmp_path / "m" / "semantic_ranker.json").mkdir(parents=True)
    assert "Cannot read it" in read_entry(tmp_path / "m").problem


def test_verification_reads_the_files(root):
    (root / "mine-1" / "onnx" / "model_qint8.onnx").write_bytes(b"changed")
    registry = ModelRegistry(root)
    assert not any(entry.problem for entry in registry.entries())
    assert [entry.path for entry in registry.entries(verify=True) if entry.problem] == [root / "mine-1"]


def test_a_model_is_named_by_name_version_or_folder(root):
    registry = ModelRegistry(root)
    assert registry.get("mine").version == "1.10.0"
    assert registry.get("mine@1.2.0").path == root / "mine-2"
    assert registry.get(root / "mine-1").reference == "mine@1.0.0"
    with pytest.raises(InvalidInputError, match="did you mean 'mine'"):
        registry.get("mien")
    with pytest.raises(InvalidInputError, match=r"there are: .*mine"):
        registry.get("zzz")
    shutil.copytree(root / "team" / "mine-10", root / "copy")
    with pytest.raises(InvalidInputError, match="several"):
        registry.get("mine")


def test_a_damaged_highest_version_is_passed_over(root):
    (root / "team" / "mine-10" / "onnx" / "model_qint8.onnx").unlink()
    assert ModelRegistry(root).get("mine").version == "1.2.0"
    with pytest.raises(InvalidInputError, match="cannot be used"):
        ModelRegistry(root).get("mine@1.10.0")


def test_the_root_comes_from_the_variable_and_must_be_there(root, monkeypatch, tmp_path):
    monkeypatch.setenv("SEMANTIC_RANKER_MODELS", str(root))
    assert ModelRegistry().root == root
    monkeypatch.setenv("SEMANTIC_RANKER_MODELS", str(root / "nothing"))
    with pytest.raises(InvalidInputError, match=r"\$SEMANTIC_RANKER_MODELS"):
        ModelRegistry()
    with pytest.raises(InvalidInputError, match="the argument"):
        ModelRegistry(tmp_path / "nothing")
    monkeypatch.delenv("SEMANTIC_RANKER_MODELS")
    monkeypatch.chdir(tmp_path / "models" / "vectors")
    assert {entry.bundled for entry in ModelRegistry().entries()} == {True}


def test_links_to_models_are_followed_and_circles_are_not(root):
    (root / "circle").symlink_to(root)
    (root / "linked").symlink_to(root / "vectors")
    names = [entry.path.name for entry in ModelRegistry(root).entries() if not entry.bundled]
    assert sorted(names) == ["linked", "mine-1", "mine-10", "mine-2", "vectors"]


def test_the_best_is_over_the_collections_that_all_share(root):
    write_model(root / "other", name="other", metrics={"scifact": (0.90, 0.85, 0.95), "macro": (0.9, 0.8, 1.0)})
    best = ModelRegistry(root).best("ndcg@10")
    assert best.collections == ("scifact",)
    assert best.entry.name == "other"
    assert best.ranking[-1].entry.name == "mine"
    assert best.is_clear is True
    on_cacm = ModelRegistry(root).best("nDCG@10", "cacm")
    assert "other@1.0.0" in on_cacm.unmeasured
    assert on_cacm.is_clear is False
    both = ModelRegistry(root).best("nDCG@10", "scifact").to_dict()
    assert both["ranking"][0] == {
        "reference": "other@1.0.0",
        "path": str(root / "other"),
        "value": 0.9,
        "low": 0.85,
        "high": 0.95,
    }


def test_models_without_a_collection_in_common_are_not_compared(root):
    write_model(root / "other", name="other", metrics={"private": (0.9, 0.8, 1.0), "macro": (0.9, 0.8, 1.0)})
    with pytest.raises(InvalidInputError, match=r"other@1\.0\.0: private, macro"):
        ModelRegistry(root).best()
    with pytest.raises(InvalidInputError, match="found none; there are: nDCG@10 on cacm"):
        ModelRegistry(root).best("AP", "cacm")
    with pytest.raises(InvalidInputError, match="no manifest holds a figure"):
        ModelRegistry(root).best(kind="static-embedder-of-mars")
    with pytest.raises(EvaluationError, match="did you mean"):
        ModelRegistry(root).best("ndgc@10")


def test_two_models_side_by_side(root):
    write_model(
        root / "team" / "mine-10",
        version="1.10.0",
        metrics={"scifact": (0.8, 0.7, 0.9)},
        training={"recipe": {"steps": 20, "seed": 0}, "data_sha256": {"qa": "bb", "new": "cc"}},
    )
    found = ModelRegistry(root).compare("mine@1.0.0", "mine")
    assert [(pair.collection, pair.a.value, pair.b and pair.b.value) for pair in found.figures] == [
        ("scifact", 0.70, 0.8),
        ("cacm", 0.50, None),
        ("macro", 0.60, None),
    ]
    assert found.lineage == {"recipe.steps": ("10", "20"), "data.qa": ("aa", "bb"), "data.new": ("", "cc")}
    assert found.measured is None
    assert json.dumps(found.to_dict())


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    texts = [
        "To change a forgotten password, open Settings.",
        "My password is longer than your password.",
        "Cats sleep.",
    ]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(texts))
    )
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "how do I reset my password"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    return folder


def test_two_models_on_the_same_candidates(root, judged, tmp_path):
    shutil.copytree(BUNDLED, root / "copy", copy_function=os.link)
    data = load_beir(judged)
    found = ModelRegistry(root).compare(BUNDLED, root / "copy", data=data, metrics=("RR@10",))
    assert found.measured["RR@10"].mean_b == 1.0
    assert found.measured["RR@10"].difference == 0.0
    with pytest.raises(InvalidInputError, match=r"the embedder vectors@1\.0\.0"):
        ModelRegistry(root).compare(BUNDLED, "vectors", data=data)


def test_versions_are_ordered_as_numbers():
    assert sorted(["1.10.0", "1.9", "1.9.0rc1", ""], key=version_key)[-1] == "1.10.0"
    assert next_version(["0.1.0", "0.9.3"]) == "0.10.0"
    assert next_version([]) == "0.1.0"
    assert next_version(["draft"]) == "0.1.0"


def test_retraining_is_refused_before_anything_is_written(root, tmp_path):
    registry = ModelRegistry(root)
    write_model(root / "bare", name="bare", training={})
    for reference, message, options in (
        ("bare", "no recipe|found none", {}),
        ("mine", "Expected data to learn from", {"data": tmp_path / "nothing"}),
        ("mine", "KEY=VALUE", {"overrides": ["stepz=3"]}),
        ("mine", "new or empty folder", {"out": root / "vectors"}),
    ):
        with pytest.raises(InvalidInputError, match=message):
            registry.retrain(reference, **{"data": tmp_path, **options})
    assert not list(root.glob(".*.run"))


def test_list_command(root, capsys):
    (root / "mine-1" / "onnx" / "model_qint8.onnx").unlink()
    assert main(["models", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert "mine@1.10.0" in out
    assert "0.700 [0.650, 0.750]" in out
    assert "DAMAGED" in out
    assert "1 damaged" in out
    assert main(["models", "--root", str(root), "--json", "--verify"]) == 0
    assert {row["reference"] for row in json.loads(capsys.readouterr().out)["models"]} >= {
        "mine@1.2.0",
        "vectors@1.0.0",
    }
    assert main(["models", "--root", str(root / "nothing")]) == 2


def test_best_command(root, capsys):
    assert main(["models", "best", "--metric", "ndcg@10", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("nDCG@10 on scifact, cacm")
    assert "may be chance" in out
    assert main(["models", "--root", str(root), "--json", "best", "--collection", "cacm"]) == 0
    assert json.loads(capsys.readouterr().out)["collections"] == ["cacm"]
    write_model(root / "new", name="new", metrics={})
    assert main(["models", "best", "--root", str(root)]) == 0
    assert "nobody knows: new@1.0.0" in capsys.readouterr().out


def test_compare_command(root, judged, capsys):
    assert main(["models", "compare", "mine@1.0.0", "mine", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert "mine@1.0.0" in out
    assert "--data DIR" in out
    arguments = ["models", "compare", str(BUNDLED), str(BUNDLED), "--data", str(judged), "--metrics", "RR@10"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "The lineage is the same." in out
    assert "On the same candidates" in out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"]["metrics"][0]["mean_b"] == 1.0
    assert main(["models", "compare", "mine", "nothing", "--root", str(root)]) == 2


def test_the_catalogue_lists_embedders_that_can_be_had(capsys):
    assert main(["models", "--catalogue"]) == 0
    assert "in this package" in capsys.readouterr().out
    assert main(["models", "--catalogue", "--json"]) == 0
    assert all(row["dim"] > 0 for row in json.loads(capsys.readouterr().out))


def test_the_shipped_reranker_has_the_name_that_other_commands_give_it(root):
    entry = ModelRegistry(root).get("bundled")
    assert entry.path == BUNDLED
    assert entry.kind == "reranker"
