import numpy as np
import pytest

from semantic_ranker.collections import Collection
from semantic_ranker.embedding_quality import (
    clustering_scores,
    quantization_impact,
    retrieval_scores,
    similarity_scores,
)
from semantic_ranker.embedding_quality.quantization import Judged
from semantic_ranker.errors import EvaluationError, InvalidInputError

pytest.importorskip("sklearn")


class Letters:
    """Embeds a text as the counts of its letters."""

    def embed_documents(self, texts):
        return np.array([[text.count(letter) + 0.01 for letter in "abcdefgh"] for text in texts], np.float32)

    embed_queries = embed_documents


def _unit(count, dim, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_similarity_is_the_rank_correlation_of_the_cosine():
    angles = np.array([0.1, 0.5, 1.0, 1.5, 2.0])
    left = np.tile([1.0, 0.0], (5, 1))
    right = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1], [9], [1], [5], [1]])
    scores = similarity_scores(left, right, [5.0, 4.0, 3.0, 1.0, 2.0])
    assert scores["cosine_spearman"] == pytest.approx(0.9)
    assert scores["main_score"] == scores["cosine_spearman"]
    assert scores["euclidean_spearman"] < scores["cosine_spearman"]
    assert scores["cosine_pearson"] == pytest.approx(np.corrcoef(np.cos(angles), [5, 4, 3, 1, 2])[0, 1])


@pytest.mark.parametrize(
    ("left", "right", "gold", "message"),
    [
        (np.eye(3), np.eye(3), [1, 2], "one score a pair"),
        (np.eye(3), np.eye(3)[::-1].copy(), [1, 1, 1], "nothing to correlate"),
        (np.eye(3), np.eye(3), [1, 2, np.nan], "finite scores"),
        (np.eye(3), np.eye(3), [1, 2, 3], "different cosine similarity"),
    ],
)
def test_pairs_that_cannot_be_correlated_are_refused(left, right, gold, message):
    with pytest.raises(EvaluationError, match=message):
        similarity_scores(left, right, gold)


def test_clusters_that_are_the_labels_score_one_and_noise_scores_near_zero():
    labels = ["x", "y", "z"] * 40
    centres = {"x": [5, 0, 0], "y": [0, 5, 0], "z": [0, 0, 5]}
    noise = np.random.default_rng(0).standard_normal((120, 3))
    apart = clustering_scores(noise * 0.1 + np.array([centres[label] for label in labels]), labels)
    mixed = clustering_scores(noise, labels)
    assert apart["v_measure"] == apart["main_score"] == pytest.approx(1.0)
    assert apart["silhouette_cosine"] > 0.9
    assert mixed["v_measure"] < 0.15
    assert mixed["silhouette_cosine"] < 0.1
    assert mixed["v_measure_std"] > 0
    assert clustering_scores(noise, labels) == mixed


def test_clusters_follow_the_protocol_of_mteb():
    import random

    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import v_measure_score
    from threadpoolctl import threadpool_limits

    vectors, labels = _unit(60, 5), np.arange(60) % 4
    chooser, values = random.Random(42), []
    model = MiniBatchKMeans(n_clusters=4, batch_size=512, init="k-means++", n_init=1, random_state=42)
    with threadpool_limits(limits=1):
        for _ in range(10):
            rows = chooser.choices(range(60), k=60)
            values.append(v_measure_score(labels[rows], model.fit_predict(vectors[rows])))
    assert clustering_scores(vectors, labels.tolist())["v_measure"] == pytest.approx(np.mean(values))


@pytest.mark.parametrize("labels", [["a"] * 6, list("abcdef"), ["a", "b"]])
def test_labels_that_group_nothing_are_refused(labels):
    with pytest.raises(EvaluationError, match="label"):
        clustering_scores(_unit(6, 3), labels)


def test_retrieval_has_mteb_names_and_the_right_value():
    collection = Collection(
        name="letters",
        corpus={"1": "aaa", "2": "bbb", "3": "ccc"},
        queries={"q1": "a", "q2": "b"},
        qrels={"q1": {"1": 1}, "q2": {"3": 1}},
    )
    scores = retrieval_scores(Letters(), collection)
    assert scores["mrr_at_10"] == pytest.approx((1 + 1 / 3) / 2)
    assert scores["ndcg_at_10"] == scores["main_score"] == pytest.approx((1 + 0.5) / 2)
    assert scores["recall_at_10"] == 1
    assert scores["main_score_interval"][0] <= scores["main_score"] <= scores["main_score_interval"][1]
    assert (scores["queries"], scores["documents"]) == (2, 3)


@pytest.mark.parametrize(
    ("storage", "bytes_per_vector", "least"),
    [("fp16", 128, 0.9999), ("int8", 68, 0.999), ("int8-calibrated", 64, 0.999)],
)
def test_storage_that_keeps_vectors(storage, bytes_per_vector, least):
    (impact,) = quantization_impact(_unit(20, 64, 1), _unit(300, 64), storages=[storage])
    assert impact.bytes_per_vector == bytes_per_vector
    assert least < impact.least_cosine <= impact.mean_cosine <= 1.0000001
    assert impact.overlap_at_10 > 0.9
    assert impact.ndcg_at_10 is None


def test_signs_cost_most_and_the_loss_shows_in_judged_queries():
    documents, queries = _unit(300, 32), _unit(20, 32, 1)
    ids = [str(number) for number in range(300)]
    nearest = (queries @ documents.T).argmax(axis=1)
    judged = Judged(
        queries=ids[:20], documents=ids, qrels={str(query): {str(place): 1} for query, place in enumerate(nearest)}
    )
    found = {impact.storage: impact for impact in quantization_impact(queries, documents, judged=judged)}
    assert found["fp16"].ndcg_at_10_difference == 0
    assert found["binary"].ndcg_at_10_difference < -0.05
    assert found["binary"].overlap_at_10 < found["int8"].overlap_at_10
    assert found["binary"].bytes_per_vector == 4
    assert found["binary"].to_dict()["mean_cosine"] == pytest.approx(np.sqrt(2 / np.pi), abs=0.03)


def test_an_outlier_dimension_costs_one_scale_a_vector_more_than_one_range_a_dimension(caplog):
    documents = _unit(300, 64)
    documents[:, 0] += 3
    by_vector, by_dimension = quantization_impact(_unit(20, 64, 1), documents, storages=["int8", "int8-calibrated"])
    assert by_vector.overlap_at_10 < by_dimension.overlap_at_10


def test_what_cannot_be_stored_or_compared_is_refused():
    with pytest.raises(InvalidInputError, match="codec out of"):
        quantization_impact(_unit(2, 4), _unit(20, 4), storages=["int4"])
    with pytest.raises(EvaluationError, match="one width"):
        quantization_impact(_unit(2, 4), _unit(20, 5))
    with pytest.raises(EvaluationError, match="one id a vector"):
        quantization_impact(_unit(2, 4), _unit(20, 4), judged=Judged(queries=["1"], documents=[], qrels={}))
