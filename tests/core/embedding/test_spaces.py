import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_ranker.errors import InvalidInputError, SpaceMismatchError
from semantic_ranker.spaces import CANARY_DOCUMENTS, CANARY_QUERIES, Canary, EmbeddingSpace

SPACE = EmbeddingSpace(model="minilm", weights="a" * 64, tokenizer="b" * 64, dim=384)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", "c" * 64),
        ("tokenizer", "c" * 64),
        ("dim", 385),
        ("backend", "torch"),
        ("precision", "int8"),
        ("graph", "d" * 64),
        ("pooling", "cls"),
        ("normalize", False),
        ("max_length", 256),
        ("query_prompt", "query: "),
        ("document_prompt", "passage: "),
        ("truncate_dim", 384),
        ("normalizer", "nfc-1"),
    ],
)
def test_each_field_that_changes_a_vector_changes_the_fingerprint_and_is_named(name, value):
    other = replace(SPACE, **{name: value})
    assert other.fingerprint != SPACE.fingerprint
    with pytest.raises(SpaceMismatchError) as caught:
        SPACE.require(other, action="query")
    assert caught.value.fields == (name,)
    assert SPACE.short in str(caught.value)
    assert other.short in str(caught.value)
    assert name in str(caught.value)


def test_every_field_is_covered_by_the_test_above():
    covered = set(test_each_field_that_changes_a_vector_changes_the_fingerprint_and_is_named.pytestmark[0].args[1][i][0]
                  for i in range(13))  # fmt: skip
    assert {entry.name for entry in fields(EmbeddingSpace)} == covered | {"model"}


def test_a_renamed_folder_is_the_same_model_and_a_remote_one_is_known_by_its_name():
    assert replace(SPACE, model="other").fingerprint == SPACE.fingerprint
    remote = replace(SPACE, weights="2024-01")
    assert replace(remote, model="other").fingerprint != remote.fingerprint


def test_precision_variants_are_one_family_with_two_fingerprints():
    variant = replace(SPACE, precision="int8", graph="d" * 64)
    assert variant.family == SPACE.family
    SPACE.require(variant, same_family=True)
    with pytest.raises(SpaceMismatchError, match="precision"):
        SPACE.require(variant)
    with pytest.raises(SpaceMismatchError):
        SPACE.require(replace(variant, pooling="cls"), same_family=True)


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_fields_never_run_into_each_other(a, b, c, d):
    first = replace(SPACE, query_prompt=a, document_prompt=b)
    second = replace(SPACE, query_prompt=c, document_prompt=d)
    assert (first.fingerprint == second.fingerprint) == ((a, b) == (c, d))


def test_it_survives_json_and_a_changed_field_is_noticed():
    values = json.loads(json.dumps(SPACE.to_dict()))
    assert EmbeddingSpace.from_dict(values) == SPACE
    with pytest.raises(InvalidInputError, match="changed by hand"):
        EmbeddingSpace.from_dict({**values, "dim": 383})
    with pytest.raises(InvalidInputError, match="colour"):
        EmbeddingSpace.from_dict({**values, "colour": "red"})
    with pytest.raises(InvalidInputError, match="weights"):
        EmbeddingSpace.from_dict({"model": "m"})


@pytest.mark.parametrize(("name", "value"), [("dim", 0), ("dim", True), ("dim", "3"), ("model", 3), ("normalize", 1)])
def test_a_field_of_a_wrong_type_is_refused(name, value):
    with pytest.raises(InvalidInputError, match=name):
        replace(SPACE, **{name: value})


def test_only_spaces_can_be_compared():
    with pytest.raises(InvalidInputError, match="EmbeddingSpace"):
        SPACE.require("minilm")


def canary(seed, dim=8, noise=0.0):
    rng, extra = np.random.default_rng(seed), np.random.default_rng(99)

    def embed(texts):
        return rng.normal(size=(len(texts), dim)) + noise * extra.normal(size=(len(texts), dim))

    return Canary.record(embed, embed)


def test_there_are_eight_probe_texts_and_one_is_longer_than_usual_limits():
    assert len(CANARY_DOCUMENTS) + len(CANARY_QUERIES) == 8
    assert max(len(text.split()) for text in CANARY_DOCUMENTS) > 256


def test_a_canary_passes_its_own_model_and_stops_another_of_the_same_dimension():
    assert canary(0).check(canary(0)) == pytest.approx(1.0)
    assert canary(0).check(canary(0, noise=0.001)) > 0.999
    with pytest.raises(SpaceMismatchError, match="probe texts") as caught:
        canary(0).check(canary(1))
    assert caught.value.fields == ("canary",)


def test_a_canary_of_another_dimension_or_of_nan_never_passes():
    assert canary(0).cosine(canary(0, dim=9)) == -1.0
    broken = Canary(np.full((5, 8), np.nan, np.float32), np.ones((3, 8), np.float32))
    assert canary(0).cosine(broken) == -1.0
    torn = Canary(np.ones((5, 8), np.float32), np.ones((3, 7), np.float32))
    assert torn.cosine(torn) == -1.0


def test_a_canary_survives_json_and_damage_is_noticed():
    values = json.loads(json.dumps(canary(0).to_dict()))
    assert Canary.from_dict(values).cosine(canary(0)) == pytest.approx(1.0)
    for damage in ({}, {**values, "queries": 3}, {**values, "documents": {"dim": 8, "float32": "AAA"}}):
        with pytest.raises(InvalidInputError, match="damaged"):
            Canary.from_dict(damage)


def test_a_model_that_gives_too_few_probe_vectors_is_refused():
    with pytest.raises(InvalidInputError, match="probe texts"):
        Canary.record(lambda texts: np.ones((1, 3)), lambda texts: np.ones((1, 3)))
