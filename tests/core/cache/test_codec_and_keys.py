import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semantic_ranker.cache import codec as codecs
from semantic_ranker.cache.keys import keys_of
from semantic_ranker.errors import CacheError
from semantic_ranker.spaces import EmbeddingSpace

CODECS = ("fp16", "fp32", "int8")
finite = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def there_and_back(vectors, codec):
    keys = [f"key {row}" for row in range(len(vectors))]
    values = codecs.encode(vectors, keys, codec)
    assert all(codecs.is_sound(value, key, vectors.shape[1]) for key, value in zip(keys, values, strict=True))
    return codecs.decode(values, vectors.shape[1]), values


@settings(max_examples=150, deadline=None)
@given(finite, st.sampled_from(CODECS))
def test_101_any_finite_vector_comes_back(vectors, codec):
    found, values = there_and_back(vectors, codec)
    for before, after, value in zip(vectors.astype(float), found.astype(float), values, strict=True):
        peak = np.abs(before).max()
        stored = codecs.codec_of(value)
        share = {"fp32": 0.0, "fp16": 2**-10, "int8": 0.5 / 127}[stored]
        assert np.abs(before - after).max() <= peak * share * 1.001
        if stored != "fp32":
            length = np.linalg.norm(before) * np.linalg.norm(after)
            assert length == 0 or before @ after / length > 0.9989


@pytest.mark.parametrize(("codec", "most"), [("fp32", 0.0), ("fp16", 1e-6), ("int8", 1e-4)])
def test_101_unit_vectors_lose_no_more_than_measured(codec, most):
    vectors = np.random.default_rng(0).normal(size=(200, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found, values = there_and_back(vectors, codec)
    cosines = (vectors * found).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert 1 - cosines.min() <= most + 1e-6
    assert {codecs.codec_of(value) for value in values} == {codec}
    assert len(values[0]) == 16 + 384 * {"fp32": 4, "fp16": 2, "int8": 1}[codec]


@pytest.mark.parametrize("codec", CODECS)
def test_102_103_what_a_codec_cannot_hold_goes_into_a_wider_one(codec):
    rows = {"constant": 0.5, "one-hot": 0, "zero": 0, "tiny": 1e-30, "subnormal": 1e-44, "large": 7e4, "huge": 3e38}
    vectors = np.stack([np.full(32, value, np.float32) for value in rows.values()])
    vectors[1, 3] = 1
    vectors[3:, 1] *= -0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, values = there_and_back(vectors, codec)
    np.testing.assert_allclose(found, vectors, rtol=1e-2, atol=0)
    stored = dict(zip(rows, map(codecs.codec_of, values), strict=True))
    assert stored["constant"] == stored["one-hot"] == stored["zero"] == codec
    if codec == "fp16":
        assert {stored["tiny"], stored["large"], stored["huge"], stored["subnormal"]} == {"fp32"}
    if codec == "int8":
        assert stored["large"] == stored["tiny"] == "int8"
        assert stored["huge"] == stored["subnormal"] == "fp32"


def test_106_outliers_do_not_ruin_an_int8_vector():
    vectors = np.random.default_rng(0).normal(size=(3, 1024)).astype(np.float32)
    vectors[1, 5] = 100
    found, values = there_and_back(vectors, "int8")
    assert [codecs.codec_of(value) for value in values] == ["int8", "fp16", "int8"]
    np.testing.assert_allclose(found[1], vectors[1], rtol=1e-3)


@pytest.mark.parametrize("codec", CODECS)
def test_104_dimensions(codec):
    for dim in (1, 65_535):
        vectors = np.random.default_rng(0).normal(size=(2, dim)).astype(np.float32)
        found, _ = there_and_back(vectors, codec)
        np.testing.assert_allclose(found, vectors, atol=0.03)
    with pytest.raises(CacheError, match="at most 65535"):
        codecs.encode(np.ones((1, 65_536), np.float32), ["key"], codec)
    assert codecs.encode(np.empty((0, 4), np.float32), [], codec) == []


def test_the_header_is_as_documented():
    (value,) = codecs.encode(np.array([[1.0, -0.5]], np.float32), ["key"], "int8")
    magic, form, flags, dim, _, scale = struct.unpack("<4sBBHIf", value[:16])
    assert (magic, form, flags, dim, round(scale, 6)) == (b"SRE1", 2, 0, 2, round(1 / 127, 6))
    assert value[16:] == bytes([127, 256 - 64])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 20))
def test_no_bytes_are_taken_for_a_value_by_chance(data, dim):
    assert not codecs.is_sound(data, "key", dim)
    assert not codecs.is_sound(b"SRE1" + data, "key", dim)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_10_any_flipped_bit_is_seen(data):
    codec = data.draw(st.sampled_from(CODECS))
    (value,) = codecs.encode(np.array([[0.25, -0.5, 1.0]], np.float32), ["key"], codec)
    place = data.draw(st.integers(0, 8 * len(value) - 1))
    changed = bytearray(value)
    changed[place // 8] ^= 1 << place % 8
    assert codecs.is_sound(value, "key", 3)
    assert not codecs.is_sound(bytes(changed), "key", 3)
    assert not codecs.is_sound(value, "kez", 3)
    assert not codecs.is_sound(value, "key", 4)


def test_values_of_different_codecs_decode_together():
    vectors = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    values = [codecs.encode(vectors[row : row + 1], [""], CODECS[row % 3])[0] for row in range(9)]
    np.testing.assert_allclose(codecs.decode(values, 5), vectors, atol=0.03)


def test_unknown_codec_is_refused():
    with pytest.raises(CacheError, match="'fp8'"):
        codecs.encode(np.ones((1, 2), np.float32), ["key"], "fp8")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from("qd"), st.text()), unique=True, max_size=20))
def test_54_different_parts_have_different_keys(parts):
    spaces = {name: EmbeddingSpace(model=name, weights="w", tokenizer="t", dim=4) for name in ("a", "b")}
    keys = [keys_of(spaces[name], role, [text])[0] for name, role, text in parts]
    assert len(set(keys)) == len(parts)
    assert all(key.count(":") == 5 for key in keys)


def test_54_no_ambiguous_joining():
    first = EmbeddingSpace(model="a", weights="b:c", tokenizer="t", dim=4)
    second = EmbeddingSpace(model="a:b", weights="c", tokenizer="t", dim=4)
    assert keys_of(first, "q", ["x"]) != keys_of(second, "q", ["x"])
