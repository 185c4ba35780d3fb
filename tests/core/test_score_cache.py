"""Scores of pairs are kept exactly, per model and options, and found again."""

import pickle

import numpy as np
import pytest

from semantic_ranker import CrossEncoder, InvalidInputError, NonFiniteScoreError
from semantic_ranker._engine import Scored
from semantic_ranker.cache import TieredCache
from semantic_ranker.score_cache import cached_scores

QUERY = "how do I reset my password"
TEXTS = ["To reset a password, open Settings.", "Cats sleep all day.", "", "To reset a password, open Settings."]


@pytest.fixture
def cache():
    return TieredCache(codec="fp32", policy="lru")


def test_the_second_time_nothing_is_computed_and_all_is_equal(cache):
    plain, encoder = CrossEncoder(), CrossEncoder(score_cache=cache)
    expected = plain.rank(QUERY, TEXTS)
    assert encoder.rank(QUERY, TEXTS) == expected
    computed = cache.stats().misses
    assert encoder.rank(QUERY, TEXTS) == expected
    assert (encoder.score(QUERY, TEXTS) == plain.score(QUERY, TEXTS)).all()
    assert cache.stats().misses == computed == len(set(TEXTS))


def test_queries_and_options_do_not_mix(cache):
    encoder = CrossEncoder(score_cache=cache)
    first = encoder.score_many(["a b", "a"], [["c"], ["b c"]])
    plain = CrossEncoder().score_many(["a b", "a"], [["c"], ["b c"]])
    assert all((a == b).all() for a, b in zip(first, plain, strict=True))
    long = "A password is a secret word. " * 20
    cut = CrossEncoder(score_cache=cache, max_length=32).rank(QUERY, [long])[0]
    windows = CrossEncoder(score_cache=cache, max_length=32, long_text="windows").rank(QUERY, [long])[0]
    again = CrossEncoder(score_cache=cache, max_length=32).rank(QUERY, [long])[0]
    assert cut == again
    assert cut.truncated
    assert not windows.truncated


def test_a_broken_model_leaves_nothing(cache):
    def compute(queries, groups):
        return [[Scored(float("nan"), False, None) for _ in texts] for texts in groups]

    with pytest.raises(NonFiniteScoreError):
        cached_scores(cache, "f", ["q"], [["t"]], compute)
    found = cached_scores(cache, "f", ["q"], [["t"]], lambda q, g: [[Scored(0.1, True, (3, 70_001))]])
    assert found == [[Scored(float(np.float32(0.1)), True, (3, 70_001))]]
    assert cached_scores(cache, "f", ["q"], [["t"]], compute) == found
    assert cached_scores(cache, "f", [], [], compute) == []


def test_a_codec_that_rounds_is_refused():
    with pytest.raises(InvalidInputError, match="codec='fp32'"):
        CrossEncoder(score_cache=TieredCache())
    with pytest.raises(InvalidInputError, match="TieredCache or None"):
        CrossEncoder(score_cache={})


def test_the_cache_travels_with_the_encoder(cache):
    copy = pickle.loads(pickle.dumps(CrossEncoder(score_cache=cache)))
    assert copy.rank(QUERY, TEXTS) == CrossEncoder().rank(QUERY, TEXTS)
    assert copy._score_cache.stats().lookups > 0
