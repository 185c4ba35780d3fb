"""int8 fitted to texts: nearer to float32 than rounding each weight by itself, and exact where nothing is rounded."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from semantic_ranker.backends.interaction import InteractionConfig, InteractionCrossEncoder
from semantic_ranker.conversion.calibrated import InputStatistics, input_statistics
from semantic_ranker.conversion.graph_builder import GraphBuilder
from semantic_ranker_training.release import calibration_ids
from semantic_ranker_training.segment_graph import segment_graph
from semantic_ranker_training.states import RaggedStates

VOCABULARY = 150


def run(graph, ids):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": np.asarray([ids], np.int64)})


def texts(count, seed):
    random = np.random.default_rng(seed)
    return [[1, *random.integers(3, VOCABULARY, random.integers(4, 40)).tolist(), 2] for _ in range(count)]


@pytest.fixture(scope="module")
def model():
    """A small model with outlying columns, as trained ones have them."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = InteractionConfig(
        vocab_size=VOCABULARY, max_position_embeddings=64, joint_layers=0, cls_token_id=1, sep_token_id=2, **shape
    )
    model = InteractionCrossEncoder(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("encoder") and name.endswith("LayerNorm.weight"):
                parameter[:3] *= 12
            elif name.startswith("encoder") and parameter.ndim == 2:
                parameter.normal_(0, 0.15)
    return model.eval()


def test_calibration_halves_the_error_on_other_texts(model):
    exact = segment_graph(model, int8=False)
    plain, fitted = segment_graph(model, int8=True), segment_graph(model, int8=True, calibration=texts(60, 1))
    errors = {"plain": [], "fitted": []}
    for ids in texts(20, 2):
        wanted = run(exact, ids)[0]
        for name, graph in (("plain", plain), ("fitted", fitted)):
            errors[name].append(1 - (run(graph, ids)[0] * wanted).sum(-1).mean())
    assert np.mean(errors["fitted"]) < 0.6 * np.mean(errors["plain"])


def test_a_calibrated_graph_is_as_large_but_for_the_divisors(model):
    plain, fitted = segment_graph(model, int8=True), segment_graph(model, int8=True, calibration=texts(5, 1))
    assert len(fitted) - len(plain) < 4 * 2 * (3 * 64 + 128) + 1500
    assert sum(node.op_type == "DynamicQuantizeMatMul" for node in onnx.load_model_from_string(fitted).graph.node) == 8


def test_the_same_texts_give_the_same_graph(model):
    once, again = (segment_graph(model, int8=True, calibration=texts(5, 1)) for _ in range(2))
    assert once == again


def test_statistics_are_those_of_the_products_inputs():
    weight = np.eye(3, dtype=np.float32)
    graph = GraphBuilder()
    table = np.asarray([[1, 2, -4], [0, 3, 1], [0, 0, 0]], np.float32)
    looked = graph.lookup(table, "input_ids")
    graph.add("Identity", [graph.product(looked, weight)], name="out")
    texts = [{"input_ids": np.asarray([[0, 1]])}, {"input_ids": np.asarray([[2]])}]
    found = input_statistics(graph, {"input_ids": (1, "length")}, texts)
    np.testing.assert_allclose(found[0].peak, [1 / 4, 1, 1])
    np.testing.assert_allclose(found[0].gram, table.T @ table)
    assert len(found) == 1


def test_rounding_makes_up_for_earlier_rows():
    random = np.random.default_rng(0)
    common = random.standard_normal((500, 1))
    inputs = (common + 0.2 * random.standard_normal((500, 32))).astype(np.float32)
    weight = random.standard_normal((32, 8)).astype(np.float32)
    step = np.abs(weight).max(0) / 7
    seen = InputStatistics(np.ones(32, np.float32), inputs.T.astype(np.float64) @ inputs, 500)
    fitted = seen.codes(weight, step, np.ones(32, np.float32), 7) * step
    plain = np.clip(np.rint(weight / step), -7, 7) * step
    assert np.abs(fitted / step).max() <= 7
    assert np.linalg.norm(inputs @ (fitted - weight)) < 0.5 * np.linalg.norm(inputs @ (plain - weight))


def test_columns_that_are_never_used_do_no_harm():
    seen = InputStatistics(np.zeros(4, np.float32), np.zeros((4, 4)), 0)
    weight = np.asarray([[1.0, -2.0], [0.5, 1.0], [0, 0], [2.0, 0.1]], np.float32)
    divisors = seen.scale(weight)
    assert np.isfinite(divisors).all()
    assert (divisors > 0).all()
    step = np.abs(weight).max(0) / 63
    np.testing.assert_array_equal(seen.codes(weight, step, np.ones(4, np.float32), 63), np.rint(weight / step))


def test_a_release_calibrates_on_all_sources_of_its_run(tmp_path):
    for place, name in enumerate(("b.passages", "a.passages", "a.queries", "a.teacher_passages")):
        ids = np.arange(100, dtype=np.int32) + 1000 * place
        offsets = np.arange(0, 101, 10)
        RaggedStates(ids, offsets, np.zeros((100, 2), np.float16), np.zeros((10, 2), np.float32)).save(
            tmp_path / f"{name}.npz"
        )
    found = calibration_ids(tmp_path, passages=3, queries=2)
    assert found == calibration_ids(tmp_path, passages=3, queries=2)
    assert [len(ids) for ids in found] == [10] * 8
    assert [ids[0] // 1000 for ids in found] == [1] * 3 + [0] * 3 + [2] * 2
