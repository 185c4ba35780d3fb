"""Training end to end on a tiny base: the smoke run, an exact resume, the options, what is refused."""

import json
import logging
import os

import numpy as np
import pytest
from safetensors.numpy import load_file

from semantic_ranker import GaussianRetriever
from semantic_ranker.cli import main
from semantic_ranker.embedder import Embedder
from semantic_ranker.errors import CollapseError, InvalidInputError
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data import as_groups
from semantic_ranker_training.gaussian import GaussianConfig, GaussianTrainer
from semantic_ranker_training.gaussian import engine as running
from semantic_ranker_training.gaussian.model import projection_start
from semantic_ranker_training.gaussian.rows import epochs, rows_of

THINGS = ("river", "mountain", "cat", "ship", "bread", "glass", "wind", "stone", "lamp", "field", "horse", "coin")
ASKED = {
    "where is": "lies behind the old",
    "who owns": "belongs to the king of the",
    "what costs": "is sold for gold at the",
}
PAIRS = [
    {"query": f"{asks} the {thing}", "positive": f"The {thing} {says} {THINGS[-row - 1]} gate."}
    for row, thing in enumerate(THINGS)
    for asks, says in ASKED.items()
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    texts = [text for pair in PAIRS for text in pair.values()]
    return str(write_tiny_base(tmp_path_factory.mktemp("base") / "tiny", texts))


def config(**changes):
    values = {"batch_size": 8, "learning_rate": 1e-3, "num_epochs": 2, "logging_steps": 1, "max_length": 32}
    return GaussianConfig(**{**values, **changes})


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return GaussianTrainer(base, config(distance="l2", output_dim=96)).train(PAIRS, output_dir=out)


def weights(folder):
    return {path.parent.name: load_file(path) for path in sorted(folder.rglob("model.safetensors"))}


def test_smoke_run_leaves_all_that_the_guide_names(run):
    names = {path.name for path in run.folder.iterdir()}
    assert {"model", "final", "checkpoints", "train_config.json", "training.log", "learning_curves.svg"} <= names
    assert not [
        path for path in (*run.model.rglob("*"), *run.final.rglob("*")) if path.suffix in (".pt", ".bin", ".pkl")
    ]
    logged = (run.folder / "training.log").read_text()
    for figure in ("loss", "contrastive", "isotropy", "positive_distance", "embedding_std"):
        assert figure in logged
    steps = [entry for entry in run.history if "loss" in entry]
    assert {"contrastive", "isotropy", "positive_distance", "embedding_std", "sigreg"} <= set(steps[-1])
    assert len(list((run.folder / "checkpoints").glob("checkpoint-*"))) == 2
    assert json.loads((run.folder / "train_config.json").read_text())["output_dim"] == 96
    assert run.metrics["after"]["nDCG@10"] > 0


def test_trained_model_is_gaussian_wide_and_the_same_in_onnx_and_torch(run):
    from sentence_transformers import SentenceTransformer

    texts = [pair["positive"] for pair in PAIRS]
    vectors = Embedder(run.model, precision="fp32").embed_documents(texts)
    assert vectors.shape == (len(texts), 96)
    assert np.linalg.norm(vectors, axis=1).mean() == pytest.approx(96**0.5, rel=0.5)
    library = SentenceTransformer(str(run.model), device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(vectors, library, atol=2e-3)
    retriever = GaussianRetriever(run.model, embedding_dim=96)
    retriever.add_documents(texts)
    assert retriever.metric == "l2"
    assert retriever.retrieve(texts[0], top_k=1)[0] == (texts[0], pytest.approx(0, abs=0.1))


def test_killed_run_continues_to_the_same_weights(base, tmp_path, monkeypatch):
    settings = config(lambda_reg=0.1, gradient_accumulation_steps=2, batch_size=4)
    whole = GaussianTrainer(base, settings).train(PAIRS, output_dir=tmp_path / "whole")

    class Killed(Exception):
        pass

    usual = running._Figures.on_step_begin

    def dies(self, args, state, control, **rest):
        if state.global_step == 5:
            raise Killed
        return usual(self, args, state, control, **rest)

    monkeypatch.setattr(running._Figures, "on_step_begin", dies)
    with pytest.raises(Killed):
        GaussianTrainer(base, settings).train(PAIRS, output_dir=tmp_path / "killed")
    monkeypatch.undo()
    assert list((tmp_path / "killed/checkpoints").glob("checkpoint-*"))
    again = GaussianTrainer(base, settings).train(PAIRS, output_dir=tmp_path / "killed")
    for (name, first), second in zip(weights(whole.final).items(), weights(again.final).values(), strict=True):
        for tensor in first:
            np.testing.assert_array_equal(first[tensor], second[tensor], err_msg=f"{name}/{tensor}")
    with pytest.raises(InvalidInputError, match="another output_dir"):
        GaussianTrainer(base, config(seed=9)).train(PAIRS, output_dir=tmp_path / "killed")


def test_frozen_parts_stay_and_an_earlier_model_goes_on(base, run, tmp_path):
    frozen = GaussianTrainer(base, config(freeze_base=True, num_epochs=1, projection_learning_rate=0.01)).train(
        PAIRS, (), output_dir=tmp_path / "frozen"
    )
    before, after = load_file(f"{base}/model.safetensors"), load_file(frozen.final / "model.safetensors")
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor, before[name.removeprefix("bert.")])
    assert frozen.metrics == {}
    further = GaussianTrainer(str(run.folder / "best"), config(num_epochs=1, distance="l2", freeze_early_layers=1))
    found = further.train(PAIRS, (), output_dir=tmp_path / "further")
    assert found.dim == 96
    first = load_file(run.folder / "best" / "model.safetensors")
    second = load_file(found.final / "model.safetensors")
    moved = {name for name in first if not np.array_equal(first[name], second[name])}
    assert moved
    assert not [name for name in moved if "layer.0." in name or "embeddings" in name]
    with pytest.raises(InvalidInputError, match="output_dim of 96"):
        GaussianTrainer(str(run.folder / "best"), config(output_dim=32)).train(PAIRS, (), output_dir=tmp_path / "no")


def test_collapse_stops_the_run_and_names_the_remedy(base, tmp_path, monkeypatch):
    from semantic_ranker_training.gaussian import IsotropicLoss

    usual = IsotropicLoss._note

    def collapsing(self, distances, queries, documents, scaled):
        usual(self, distances, queries, documents, scaled)
        self.figures |= {"embedding_std": 0.01, "random_distance": 0.001}

    monkeypatch.setattr(IsotropicLoss, "_note", collapsing)
    with pytest.raises(CollapseError, match="Raise lambda_isotropy"):
        GaussianTrainer(base, config()).train(PAIRS, (), output_dir=tmp_path)


@pytest.mark.parametrize("dim", [8, 16, 24])
def test_projection_starts_without_changing_a_ranking(dim):
    sample = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32) * np.geomspace(2, 0.01, 16) + 1
    weight, bias = projection_start(sample.astype(np.float32), dim, gaussian=True)
    found = sample @ weight.T + bias
    assert found.var(0).mean() == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    before = np.linalg.norm(sample - sample[0], axis=1)
    after = np.linalg.norm(found - found[0], axis=1)
    assert np.corrcoef(before, after)[0, 1] > 0.99


def test_batches_hold_no_text_twice_and_repeat_for_a_seed():
    groups = as_groups([*PAIRS, {"query": "another", "positive": PAIRS[0]["positive"]}])
    laid, size = epochs(rows_of(groups), count=2, batch_size=8, seed=1)
    for start in range(0, len(laid), size):
        texts = [text for row in laid[start : start + size] for text in (row.query, row.positive)]
        assert len(set(texts)) == 2 * size
    assert laid == epochs(rows_of(groups), count=2, batch_size=8, seed=1)[0]
    with pytest.raises(InvalidInputError):
        epochs(rows_of(as_groups([PAIRS[0], {**PAIRS[0], "query": "b"}])), count=1, batch_size=8, seed=0)


@pytest.mark.parametrize("changes", [{"distance": "dot"}, {"batch_size": 1}, {"learning_rate": 0}, {"output_dim": 0}])
def test_settings_out_of_range_are_named(changes):
    with pytest.raises(InvalidInputError, match=next(iter(changes))):
        config(**changes)
    with pytest.raises(InvalidInputError, match="lambda_isotropy"):
        GaussianConfig.of({"lambda_isotrop": 1})


def test_guides_command_line(base, tmp_path, capsys):
    data = tmp_path / "train.json"
    data.write_text(json.dumps(PAIRS))
    words = ["--train_data", str(data), "--base_model", base, "--output_dir", str(tmp_path / "out")]
    options = "--epochs 1 --batch_size 8 --learning_rate 2e-5 --weight_decay 0.01 --warmup_steps 2 --output_dim 64"
    more = (
        "--freeze_early_layers 1 --lambda_isotropy 1.0 --lambda_reg 0.1 --margin 1.0 --save_interval 1 --log_interval 1"
    )
    assert main(["train-embedder", *words, *options.split(), *more.split(), "--contrastive", "margin"]) == 0
    assert "nDCG@10" in capsys.readouterr().out
    used = json.loads((tmp_path / "out/train_config.json").read_text())
    assert (used["freeze_early_layers"], used["contrastive"], used["warmup_steps"]) == (1, "margin", 2)
    assert main(["train-embedder", *words, "--mixed_precision", "--device", "cpu"]) == 2
    assert "fp16" in capsys.readouterr().err
    assert main(["train-embedder", *words, "--power", "0.1"]) == 2


def test_layer_from_a_folder_of_documents(base, tmp_path, capsys):
    from sentence_transformers import SentenceTransformer

    saved = tmp_path / "base"
    SentenceTransformer(base, device="cpu").save_pretrained(str(saved), create_model_card=False)
    documents = tmp_path / "documents"
    documents.mkdir()
    for row, pair in enumerate(PAIRS):
        (documents / f"{row}.txt").write_text(f"{pair['positive']}\n\nIt is said in {row} books.")
    words = [
        "train-embedder",
        "--documents",
        str(documents),
        "--base-model",
        str(saved),
        "--out",
        str(tmp_path / "model"),
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["isotropy"]["after"]["average_cosine"] < found["isotropy"]["before"]["average_cosine"]
    assert Embedder(tmp_path / "model").dim == found["dim"] == 64
    assert main([*words, "--margin", "1"]) == 2


@pytest.fixture(autouse=True)
def quiet():
    yield
    logging.getLogger("semantic_ranker_training").setLevel(logging.NOTSET)
    os.environ.pop("TOKENIZERS_PARALLELISM", None)
