"""Centring and whitening: the algebra, the choice of the power, and the layer in the folder's formats."""

import json

import numpy as np
import pytest

from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.pooling import normalized
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.gaussian.pseudo import pseudo_queries
from semantic_ranker_training.gaussian.report import isotropy, isotropy_table, partition_ratio
from semantic_ranker_training.gaussian.whitening import Whitening, choose_power, write_whitened

TEXTS = [
    f"Chapter {row} tells of {subject} and {verb}. It has more to say."
    for row, (subject, verb) in enumerate(
        (subject, verb)
        for subject in ("rivers", "mountains", "cats", "ships", "bread", "glass", "wind", "stone")
        for verb in ("how they move", "what they cost", "where they rest", "who made them")
    )
]


def skewed(n=400, dim=12, seed=0):
    draws = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(draws.standard_normal((dim, dim)))
    return (draws.standard_normal((n, dim)) * np.geomspace(3, 0.1, dim)) @ turn + 2.0


def test_power_zero_centres_and_a_half_whitens():
    vectors = skewed()
    centred = Whitening.fit(vectors, power=0)
    np.testing.assert_allclose(centred(vectors), vectors - vectors.mean(0), atol=1e-4)
    white = Whitening.fit(vectors, power=0.5)(vectors)
    np.testing.assert_allclose(np.cov(white.T), np.eye(12), atol=1e-2)


def test_power_between_shrinks_the_spread_of_the_variances():
    vectors = skewed()
    spread = [np.ptp(np.log(np.linalg.eigvalsh(np.cov(Whitening.fit(vectors, power=p)(vectors).T)))) for p in (0, 0.25)]
    assert spread[1] == pytest.approx(spread[0] / 2, rel=1e-3)


def test_direction_of_queries_is_taken_out():
    documents = skewed()
    queries = skewed(50, seed=1) @ np.eye(12) + np.eye(12)[0] * 4
    layer = Whitening.fit(documents, queries, power=0.1)
    np.testing.assert_allclose(layer(queries).mean(0), layer(documents).mean(0), atol=1e-3)
    assert layer.queries == 50


def test_directions_without_variance_stay_out():
    vectors = skewed()
    vectors[:, 3] = 1.0
    found = Whitening.fit(vectors, power=0.5)(vectors)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 50


def test_power_is_chosen_on_a_development_set():
    layer, figures = choose_power(lambda p: Whitening.fit(skewed(), power=p), lambda of: -abs(of.power - 0.2), (0, 0.2))
    assert layer.power == 0.2
    assert list(figures) == ["0", "0.2"]


@pytest.mark.parametrize(("documents", "power"), [(np.ones(3), 0.1), (np.ones((1, 3)), 0.1), (skewed(), 0.6)])
def test_bad_input_is_named(documents, power):
    with pytest.raises(InvalidInputError, match="Expected"):
        Whitening.fit(documents, power=power)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny bi-encoder as sentence-transformers saves it, with a normalisation at its end."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize

    folder = write_tiny_base(tmp_path_factory.mktemp("bare") / "bare", TEXTS)
    model = SentenceTransformer(str(folder), device="cpu")
    model.append(Normalize())
    target = tmp_path_factory.mktemp("base") / "base"
    model.save_pretrained(str(target), create_model_card=False)
    return target


@pytest.fixture(scope="module")
def whitened(base, tmp_path_factory):
    embedder = Embedder(base, precision="fp32")
    layer = Whitening.fit(embedder.embed_documents(TEXTS), embedder.embed_queries(pseudo_queries(TEXTS)), power=0.1)
    target = tmp_path_factory.mktemp("whitened") / "model"
    write_whitened(base, layer, target)
    return target, layer, embedder


def test_layer_lives_in_onnx_torch_and_sentence_transformers_alike(whitened):
    from sentence_transformers import SentenceTransformer

    folder, layer, embedder = whitened
    expected = normalized(layer(embedder.embed_documents(TEXTS)))
    onnx = Embedder(folder, precision="fp32", backend="onnx").embed_documents(TEXTS)
    np.testing.assert_allclose(onnx, expected, atol=2e-4)
    torch = Embedder(folder, backend="torch", device="cpu").embed_documents(TEXTS)
    np.testing.assert_allclose(torch, expected, atol=2e-4)
    library = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(library, expected, atol=2e-4)


def test_layer_makes_another_space_and_says_how_it_was_fitted(whitened, base, tmp_path):
    folder, layer, embedder = whitened
    other = Embedder(folder, precision="fp32")
    assert other.space.family != embedder.space.family
    with pytest.raises(SpaceMismatchError):
        embedder.space.require(other.space, same_family=True)
    said = json.loads((folder / "3_Dense" / "config.json").read_text())
    assert said["whitening"] == layer.to_dict()
    again = tmp_path / "again"
    write_whitened(base, Whitening.fit(embedder.embed_documents(TEXTS), power=0.3), again)
    assert Embedder(again, precision="fp32").space.family != other.space.family


def test_isotropy_is_told_before_and_after(whitened):
    folder, _, embedder = whitened
    before, after = embedder.embed_documents(TEXTS), Embedder(folder, precision="fp32").embed_documents(TEXTS)
    found = {name: isotropy(vectors) for name, vectors in (("before", before), ("after", after))}
    assert abs(found["after"]["average_cosine"]) < abs(found["before"]["average_cosine"])
    assert found["after"]["partition_ratio"] > found["before"]["partition_ratio"]
    table = isotropy_table({"before": (before, {"nDCG@10": 0.5}), "after": (after, {"nDCG@10": 0.6})})
    assert "| before | 0.500 |" in table
    assert table.count("\n") == 4


def test_partition_ratio_knows_a_cone_from_a_ball():
    ball = np.random.default_rng(0).standard_normal((2000, 16))
    assert partition_ratio(ball) > 0.9
    assert partition_ratio(ball + 3) < 0.5


def test_pseudo_queries_are_first_sentences():
    assert pseudo_queries(["One two. Three four five six. More.", "x"], seed=1) == ["Three four five six."]
    assert len(pseudo_queries(TEXTS, 5)) == 5
    with pytest.raises(InvalidInputError):
        pseudo_queries(["a", ""])
