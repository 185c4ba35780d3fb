"""The fitted weight goes to who is right, and its held-out figure does not flatter."""

import numpy as np
import pytest

from semantic_ranker.errors import EvaluationError, InvalidInputError
from semantic_ranker.evaluation import evaluate
from semantic_ranker.fusion_weight import fit_fusion_weight

QUERIES, DOCUMENTS = 60, 30


def collection(reranker_noise, first_stage_noise, seed=0):
    """Two runs of the same truth with noise of their own."""
    random = np.random.default_rng(seed)
    reranked, first, qrels = {}, {}, {}
    for query in range(QUERIES):
        relevant = random.integers(0, DOCUMENTS)
        truth = np.zeros(DOCUMENTS)
        truth[relevant] = 1.0
        names = [f"d{number}" for number in range(DOCUMENTS)]
        scores = [truth + noise * random.standard_normal(DOCUMENTS) for noise in (reranker_noise, first_stage_noise)]
        reranked[f"q{query}"] = dict(zip(names, map(float, scores[0]), strict=True))
        first[f"q{query}"] = dict(zip(names, map(float, 40 * scores[1] + 7), strict=True))
        qrels[f"q{query}"] = {f"d{relevant}": 1}
    return reranked, first, qrels


@pytest.mark.parametrize(("noises", "low", "high"), [((0.4, 3.0), 0.6, 1.0), ((3.0, 0.4), 0.0, 0.4)])
def test_the_better_system_gets_the_weight(noises, low, high):
    assert low <= fit_fusion_weight(*collection(*noises)).weight <= high


def test_equals_share_it_and_fusion_is_worth_something():
    reranked, first, qrels = collection(0.5, 0.5)
    found = fit_fusion_weight(reranked, first, qrels)
    assert 0.25 <= found.weight <= 0.75
    alone = [evaluate(run, qrels, ["nDCG@10"]).mean["nDCG@10"] for run in (reranked, first)]
    assert found.held_out > max(alone) + 0.03
    assert evaluate(found.fuse(reranked, first), qrels, ["nDCG@10"]).mean["nDCG@10"] == pytest.approx(found.mean)


def test_noise_alone_is_not_flattered_by_the_held_out_figure():
    optimism, noise = [], []
    for seed in range(12):
        found = fit_fusion_weight(*collection(50.0, 50.0, seed))
        optimism.append(found.mean)
        noise.append(found.held_out)
    assert np.mean(noise) < np.mean(optimism)


def test_the_ends_are_the_systems_themselves():
    reranked, first, qrels = collection(0.4, 0.9)
    found = fit_fusion_weight(reranked, first, qrels, weights=[0.0, 1.0])
    assert found.by_weight[1.0] == pytest.approx(evaluate(reranked, qrels, ["nDCG@10"]).mean["nDCG@10"])
    assert found.by_weight[0.0] == pytest.approx(evaluate(first, qrels, ["nDCG@10"]).mean["nDCG@10"])
    assert set(found.per_query) == set(qrels)
    assert found.to_dict()["by_weight"].keys() == {"0", "1"}


def test_equal_seeds_give_equal_results():
    data = collection(0.5, 0.7)
    assert fit_fusion_weight(*data, seed=4) == fit_fusion_weight(*data, seed=4)


@pytest.mark.parametrize(
    "options", [{"weights": []}, {"weights": [0.5, 1.5]}, {"weights": [float("nan")]}, {"folds": 1}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(InvalidInputError):
        fit_fusion_weight(*collection(0.5, 0.5), **options)


def test_too_few_queries_are_refused():
    reranked, first, qrels = collection(0.5, 0.5)
    with pytest.raises(EvaluationError, match="at least 10"):
        fit_fusion_weight(reranked, first, {query: qrels[query] for query in list(qrels)[:9]})
