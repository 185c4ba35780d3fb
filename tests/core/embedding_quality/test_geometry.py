import numpy as np
import pytest

from semantic_ranker.embedding_quality import (
    alignment,
    average_cosine,
    effective_rank,
    geometry,
    hubness,
    iso_score,
    participation_ratio,
    top_component_share,
    uniformity,
)
from semantic_ranker.errors import EvaluationError


def _stretched(count, dim, seed):
    return np.random.default_rng(seed).standard_normal((count, dim)) * np.linspace(1, 3, dim) + 0.5


def _flat():
    return np.random.default_rng(2).standard_normal((500, 4)) @ np.diag([10, 0.1, 0.1, 0.1])


# Values of the package IsoScore 2.0.1 (Rudman et al. 2022), which rounds to float32 on its way, on these matrices.
@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (_stretched(200, 16, 0), 0.6679203285498635),
        (_stretched(50, 8, 1), 0.5360309576327841),
        (np.diag(np.arange(1.0, 13.0)), 0.5120593744501183),
        (_flat(), 0.0001834165895987875),
    ],
)
def test_iso_score_is_that_of_its_authors_package(vectors, expected):
    assert iso_score(vectors) == pytest.approx(expected, abs=1e-6)


def test_iso_score_reads_one_vector_a_row_and_refuses_more_columns_than_rows():
    vectors = _stretched(200, 16, 0)
    # The authors' package gives 0.048 here, without a word.
    with pytest.raises(EvaluationError, match="transposed"):
        iso_score(vectors.T)


def test_iso_score_goes_from_one_direction_to_all():
    round_cloud = np.random.default_rng(0).standard_normal((20_000, 8))
    line = np.outer(np.linspace(-1, 1, 50), np.ones(8))
    assert iso_score(round_cloud) > 0.99
    assert iso_score(line) < 1e-6


def test_rank_and_ratio_count_the_directions_in_use():
    cloud = np.zeros((4000, 10))
    cloud[:, :3] = np.random.default_rng(1).standard_normal((4000, 3))
    assert effective_rank(cloud) == pytest.approx(3, abs=0.01)
    assert participation_ratio(cloud) == pytest.approx(3, abs=0.02)
    assert top_component_share(cloud) == pytest.approx(1 / 3, abs=0.03)


def test_average_cosine_is_over_all_pairs_of_different_vectors():
    vectors = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    assert average_cosine(vectors) == pytest.approx(1 / 3)


def test_alignment_and_uniformity_follow_their_formulas():
    left, right = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert alignment(left, right) == pytest.approx((0 + 2) / 2)
    assert alignment(left, right, alpha=1) == pytest.approx(np.sqrt(2) / 2)
    assert uniformity(left) == pytest.approx(-4)
    cluster = np.random.default_rng(0).standard_normal((50, 8)) * 0.01 + np.ones(8)
    assert uniformity(cluster) > uniformity(np.random.default_rng(0).standard_normal((50, 8)))


def test_a_hub_is_seen():
    generator = np.random.default_rng(0)
    even = generator.standard_normal((400, 3))
    hubs = np.concatenate([generator.standard_normal((400, 100)), np.zeros((4, 100))])
    hubs += 0.8
    assert hubness(hubs) > hubness(even) + 1


def test_figures_do_not_change_with_the_seed_below_the_sample_size():
    vectors = _stretched(100, 8, 3)
    assert geometry(vectors, seed=1) == geometry(vectors, seed=2)
    assert geometry(vectors).to_dict()["dim"] == 8


def test_iso_score_is_left_out_where_there_are_too_few_vectors():
    assert geometry(_stretched(20, 30, 0)).iso_score is None


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, np.nan]] * 12, "NaN or infinity in row 0"),
        ([[1.0, 2.0]] * 3, r"n of 12 or more, got \(3, 2\)"),
        ([1.0, 2.0], "shape"),
        ([[1.0], [1.0, 2.0]], "one width"),
        ([[0.0, 0.0]] + [[1.0, 2.0]] * 12, "zero vector in row 0"),
        ([[1.0, 2.0]] * 12, "no variance"),
    ],
)
def test_what_cannot_be_measured_is_refused(vectors, message):
    with pytest.raises(EvaluationError, match=message):
        geometry(vectors)


def test_pairs_of_other_shapes_are_refused():
    with pytest.raises(EvaluationError, match="one shape"):
        alignment(np.ones((2, 3)), np.ones((3, 3)))
