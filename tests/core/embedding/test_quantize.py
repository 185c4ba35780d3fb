import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from semantic_ranker.embedding.quantize import MAX_DIM, Quantizer, cosines, join_codes
from semantic_ranker.embedding.table import VectorTable
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.spaces import EmbeddingSpace

CODECS = ("fp32", "fp16", "int8", "int8-calibrated", "binary")
TOLERANCE = {"fp32": 0.0, "fp16": 1e-3, "int8": 1 / 254, "int8-calibrated": 1 / 255}


def unit(n=200, dim=64, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def round_trip(codec, rows):
    quantizer = Quantizer.fit(rows, codec)
    return quantizer.decode(quantizer.encode(rows))


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-1000, 1000, width=32)
    )
)
@settings(max_examples=60, deadline=None)
def test_what_comes_back_is_within_one_step_of_what_went_in(rows):
    for codec, tolerance in TOLERANCE.items():
        error = np.abs(round_trip(codec, rows) - rows)
        if codec == "int8":
            room = np.abs(rows).max(axis=1, keepdims=True) * (tolerance + 1e-6)
        elif codec == "int8-calibrated":
            room = (rows.max(axis=0) - rows.min(axis=0)) * tolerance + np.abs(rows).max() * 1e-5
        else:
            room = np.abs(rows) * tolerance + (1e-7 if codec == "fp16" else 0)
        assert (error <= room + 1e-12).all(), codec


@pytest.mark.parametrize(
    ("codec", "size", "least"), [("fp32", 256, 1), ("fp16", 128, 0.9999), ("int8", 68, 0.999), ("binary", 8, 0.7)]
)
def test_size_and_closeness_of_each_codec(codec, size, least):
    rows = unit()
    codes = Quantizer.fit(rows, codec).encode(rows)
    assert codes.nbytes == size * len(rows)
    assert cosines(rows, Quantizer(codec).decode(codes)).mean() >= least - 1e-6


@pytest.mark.parametrize("codec", CODECS)
def test_scores_are_those_of_exact_queries_with_what_is_stored(codec):
    rows, queries = unit(5000), unit(3, seed=1)
    quantizer = Quantizer.fit(rows, codec)
    codes = quantizer.encode(rows)
    assert np.allclose(quantizer.scores(queries, codes), queries @ quantizer.decode(codes).T, atol=1e-5)


@pytest.mark.parametrize("codec", CODECS)
def test_search_finds_each_vector_by_itself(codec):
    rows = unit(300)
    quantizer = Quantizer.fit(rows, codec)
    found, scores = quantizer.search(rows[:50], quantizer.encode(rows), 5)
    assert found[:, 0].tolist() == list(range(50))
    assert (np.diff(scores, axis=1) <= 0).all()
    assert found.dtype == np.int64


def test_ties_keep_their_order_and_k_may_be_more_than_there_are():
    rows = np.ones((4, 3), np.float32)
    quantizer = Quantizer("fp16")
    found, _ = quantizer.search(rows[:1], quantizer.encode(rows), 10)
    assert found.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, 1e30, -1e-44])
def test_constant_one_hot_tiny_and_huge_vectors_survive(codec, value):
    rows = np.full((3, 8), value, np.float32)
    rows[1] = 0
    rows[1, 3] = value
    found = round_trip(codec, rows)
    assert np.isfinite(found).all()
    if codec != "binary" and abs(value) in (1.0, 1e30):
        assert cosines(rows, found).min() > 0.99


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_index(codec, bad):
    rows = unit(5)
    quantizer = Quantizer.fit(rows, codec)
    rows[3, 2] = bad
    with pytest.raises(InvalidInputError, match="index 3") as caught:
        quantizer.encode(rows)
    assert caught.value.index == 3


def test_numbers_beyond_fp16_are_kept_in_fp32():
    rows = np.asarray([[1.0, 70_000.0]], np.float32)
    codes = Quantizer("fp16").encode(rows)
    assert codes.codec == "fp32"
    assert np.array_equal(Quantizer("fp16").decode(codes), rows)


@pytest.mark.parametrize(("dim", "fine"), [(1, True), (MAX_DIM, True), (MAX_DIM + 1, False), (0, False)])
def test_dimensions_from_1_to_65535(dim, fine):
    rows = np.ones((1, dim), np.float32)
    for codec in ("fp16", "int8", "binary"):
        if fine:
            assert round_trip(codec, rows).shape == (1, dim)
        else:
            with pytest.raises(InvalidInputError, match="dim"):
                Quantizer(codec).encode(rows)


@pytest.mark.parametrize("codec", CODECS)
def test_memory_layout_and_byte_order_do_not_matter(codec):
    rows = unit(20, 16)
    quantizer = Quantizer.fit(rows, codec)
    expected = quantizer.encode(rows).data
    wide = np.zeros((20, 32), np.float32)
    wide[:, ::2] = rows
    for same in (np.asfortranarray(rows), wide[:, ::2], rows.astype(">f4"), rows.astype(np.float64), rows.tolist()):
        assert np.array_equal(quantizer.encode(same).data, expected)


def test_outlier_dimensions_are_warned_of_and_calibration_helps(caplog):
    rows = unit(400, 64)
    rows[:, 5] += 30
    plain, calibrated = (np.abs(round_trip(codec, rows) - rows).mean() for codec in ("int8", "int8-calibrated"))
    assert calibrated < plain / 20
    # One number is so large that the thousands of others, which decide the direction, become 0.
    with caplog.at_level(logging.WARNING):
        Quantizer("int8").encode(np.r_[50.0, np.full(8000, 0.19)][None])
    assert "mean cosine" in caplog.text
    caplog.clear()
    Quantizer("int8").encode(unit(50))
    assert not caplog.text


def test_vectors_unlike_those_of_the_calibration_are_counted_and_said(caplog):
    rows = unit(200)
    quantizer = Quantizer.fit(rows)
    assert quantizer.encode(rows).clipped == 0
    with caplog.at_level(logging.WARNING):
        codes = quantizer.encode(rows + 1.0)
    assert codes.clipped > 0.5 * rows.size
    assert "calibrate again" in caplog.text


def test_a_calibrated_codec_needs_its_calibration():
    with pytest.raises(InvalidInputError, match="fit"):
        Quantizer("int8-calibrated").encode(unit(3))
    with pytest.raises(InvalidInputError, match="64"):
        Quantizer.fit(unit(3)).encode(unit(3, 32))
    with pytest.raises(InvalidInputError, match="one vector"):
        Quantizer.fit(np.empty((0, 4)))
    quantizer = Quantizer.fit(unit(9))
    again = Quantizer.from_arrays("int8-calibrated", quantizer.to_arrays())
    assert np.array_equal(again.encode(unit(9)).data, quantizer.encode(unit(9)).data)
    assert Quantizer("fp16").to_arrays() == {}


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidInputError, match="codec"):
        Quantizer("int4")
    with pytest.raises(InvalidInputError, match="shape"):
        Quantizer().encode(np.ones(3))
    with pytest.raises(InvalidInputError, match="numbers"):
        Quantizer().encode([["a", "b"]])
    codes = Quantizer().encode(unit(3))
    with pytest.raises(InvalidInputError, match="64 dimensions"):
        Quantizer().scores(unit(1, 32), codes)
    for k in (0, True, 1.5):
        with pytest.raises(InvalidInputError, match="k"):
            Quantizer().search(unit(1), codes, k)
    with pytest.raises(InvalidInputError, match="fp32"):
        join_codes(codes, Quantizer("fp32").encode(unit(1)))


SPACE = EmbeddingSpace(model="m", weights="a" * 64, tokenizer="t", dim=64)


@pytest.mark.parametrize("codec", CODECS)
def test_a_table_grows_and_is_searched(codec):
    table, rows = VectorTable(codec), unit(100)
    assert table.add(rows[:60], SPACE) == range(60)
    assert table.add(rows[60:], SPACE) == range(60, 100)
    assert len(table) == 100
    found, _ = table.search(rows[90:92], SPACE, 1)
    assert found[:, 0].tolist() == [90, 91]
    assert table.nbytes > 0


def test_a_table_of_fp16_takes_a_part_that_needs_fp32():
    table = VectorTable("fp16")
    rows = unit(4)
    table.add(rows[:2], SPACE)
    table.add(rows[2:] * 1e6, SPACE)
    table.add(rows[:1], SPACE)
    found, _ = table.search(rows[2:], SPACE, 1)
    assert found[:, 0].tolist() == [2, 3]


def test_a_table_refuses_what_it_cannot_hold():
    table = VectorTable()
    with pytest.raises(InvalidInputError, match="empty"):
        table.search(unit(1), SPACE)
    with pytest.raises(InvalidInputError, match="64 dimensions"):
        table.add(unit(2, 32), SPACE)
    assert len(table) == 0
    assert table.nbytes == 0
    assert table.space is None
