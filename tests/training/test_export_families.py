"""Every family of encoder: graphs built from the weights, or traced, give the logits and vectors of torch."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers

from semantic_ranker.conversion import encoder_graph
from semantic_ranker.conversion.encoder_graph import embedder_graph, encoder_statistics, reranker_graph
from semantic_ranker.conversion.encoder_weights import EncoderWeights, is_bert_like, read_safetensors
from semantic_ranker.embedding.pooling import MODES, normalized, pool
from semantic_ranker.errors import ModelLoadError
from semantic_ranker.tokenization import EncodedPair
from semantic_ranker_training.export import export_model
from semantic_ranker_training.half import write_fp16

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 130,
    "num_labels": 1,
    "initializer_range": 0.2,
}
FAMILIES = {
    "Bert": {},
    "Roberta": {},
    "XLMRoberta": {"type_vocab_size": 1},
    "Camembert": {"type_vocab_size": 1},
    "DistilBert": {"hidden_dim": 128},
    "Electra": {"embedding_size": 32},
    "MPNet": {"max_position_embeddings": 180},
}


def model_of(family, **extra):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE | extra)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms start as zeros and ones, which would hide a mix-up
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request, tmp_path_factory):
    """(model, weights, feeds): rows of three lengths, padded on the right."""
    model = model_of(request.param, **FAMILIES[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    assert is_bert_like(config)
    weights = EncoderWeights.read(config, folder / "model.safetensors")
    random = np.random.default_rng(0)
    mask = (np.arange(120) < np.array([120, 60, 7])[:, None]).astype(np.int64)
    feeds = {
        "input_ids": np.where(mask, random.integers(5, 300, mask.shape), model.config.pad_token_id),
        "attention_mask": mask,
    }
    if weights.token_types:
        feeds["token_type_ids"] = mask * (np.arange(120) > 5)
    return model, weights, feeds


def run(graph, feeds, output=None):
    onnx.checker.check_model(onnx.load_model_from_string(graph))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options)
    return session.run(None if output is None else [output], feeds)[0]


def torch_logits(model, feeds):
    with torch.inference_mode():
        return model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.numpy()


def test_fused_graph_gives_the_logits_of_torch(encoder):
    model, weights, feeds = encoder
    expected = torch_logits(model, feeds)
    assert np.ptp(expected) > 0.1
    graph = reranker_graph(weights)
    np.testing.assert_allclose(run(graph, feeds), expected, atol=1e-4)
    single = run(graph, {name: value[2:, :7] for name, value in feeds.items()})
    np.testing.assert_allclose(single, expected[2:], atol=1e-4)
    model = onnx.load_model_from_string(graph)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MultiHeadAttention") == kinds.count("BiasGelu") == 2
    assert model.ir_version <= 10


def test_last_layer_is_computed_for_the_first_token_only(encoder):
    _, weights, feeds = encoder
    graph = onnx.load_model_from_string(reranker_graph(weights))
    cut = next(index for index, node in enumerate(graph.graph.node) if node.op_type == "Slice" and index > 10)
    after = [node.op_type for node in graph.graph.node[cut:]]
    assert after.count("BiasGelu") == 1
    states = run(embedder_graph(weights, pooling=("cls",)), feeds, "last_hidden_state")
    assert states.shape == (3, 1, 64)


def test_int8_graph_is_close_and_its_weights_have_seven_bits(encoder):
    model, weights, feeds = encoder
    exact = torch_logits(model, feeds)
    spread = exact.std()
    errors = {
        norm: np.sqrt(np.mean((run(reranker_graph(weights, int8=True, row_norm=norm), feeds) - exact) ** 2)) / spread
        for norm in ("none", "all")
    }
    assert 0 < errors["all"] < 0.6
    graph = onnx.load_model_from_string(reranker_graph(weights, int8=True)).graph
    names = {node.input[1] for node in graph.node if node.op_type == "DynamicQuantizeMatMul"}
    codes = [onnx.numpy_helper.to_array(of) for of in graph.initializer if of.name in names]
    assert len(codes) == 4 + 5
    assert max(abs(int(of.min())) for of in codes) <= 64
    assert all(abs(of).max(0).min() == 63 for of in codes), "each channel uses its whole range"


def inputs_of(count, seed):
    random = np.random.default_rng(seed)
    rows = [random.integers(5, 300, random.integers(8, 100)) for _ in range(count)]
    return [EncodedPair(ids, (np.arange(len(ids)) > 5).astype(np.int64), None, False) for ids in rows]


def test_int8_that_has_seen_texts_is_nearer_on_other_texts(encoder):
    _, weights, _ = encoder
    seen, graphs = encoder_statistics(weights, inputs_of(60, 1), pooling=("mean",)), {}
    assert len(seen) == 2 * 4
    graphs["exact"] = embedder_graph(weights, pooling=("mean",))
    graphs["plain"] = embedder_graph(weights, pooling=("mean",), int8=True)
    graphs["fitted"] = embedder_graph(weights, pooling=("mean",), int8=True, statistics=seen)
    found = {name: [] for name in graphs}
    for text in inputs_of(20, 2):
        feeds = {"input_ids": text.input_ids[None], "attention_mask": np.ones_like(text.input_ids[None])}
        if weights.token_types:
            feeds["token_type_ids"] = text.token_type_ids[None]
        for name, graph in graphs.items():
            found[name].append(run(graph, feeds, "sentence_embedding")[0])
    errors = {name: np.square(np.array(found[name]) - found["exact"]).sum() for name in ("plain", "fitted")}
    assert errors["fitted"] < 0.85 * errors["plain"]


def test_few_rows_say_little_so_the_first_token_alone_moves_no_weight_far(encoder):
    _, weights, _ = encoder
    seen = encoder_statistics(weights, inputs_of(3, 1))
    last = seen[-1]
    assert last.rows == 3
    weight = weights.layer(1)["output.dense.weight"].T
    step = np.abs(weight).max(0) / 63
    codes = last.codes(weight, step, np.ones(len(weight), np.float32), 63)
    assert np.abs(codes - np.rint(weight / step)).max() <= 1


def test_a_big_encoder_has_its_columns_evened_out_only(encoder, monkeypatch):
    _, weights, _ = encoder
    monkeypatch.setattr(encoder_graph, "_MOST_ROUNDED", weights.products - 1)
    seen = encoder_statistics(weights, inputs_of(5, 1), pooling=("mean",))
    assert all(of.gram is None for of in seen)
    weight = weights.layer(0)["output.dense.weight"].T
    step = np.abs(weight).max(0) / 63
    np.testing.assert_array_equal(seen[3].codes(weight, step, np.ones(len(weight)), 63), np.rint(weight / step))
    assert np.ptp(seen[3].scale(weight)) > 0.1


@pytest.mark.parametrize("mode", MODES)
def test_pooling_is_that_of_the_runtime(encoder, mode):
    model, weights, feeds = encoder
    base = getattr(model, model.base_model_prefix)
    with torch.inference_mode():
        states = base(**{name: torch.from_numpy(value) for name, value in feeds.items()}).last_hidden_state.numpy()
    expected = normalized(pool(states, feeds["attention_mask"], (mode,)))
    found = run(embedder_graph(weights, pooling=(mode,)), feeds, "sentence_embedding")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_token_types_matter_where_the_model_has_them(encoder):
    """The seeds' exporter named token_type_ids and passed none, so that every pair was scored as one segment."""
    _, weights, feeds = encoder
    graph = reranker_graph(weights)
    assert (
        "token_type_ids" in [node.name for node in onnx.load_model_from_string(graph).graph.input]
    ) == weights.token_types
    if weights.token_types:
        plain = feeds | {"token_type_ids": np.zeros_like(feeds["token_type_ids"])}
        assert np.abs(run(graph, plain) - run(graph, feeds)).max() > 0.01


def test_fp16_file_is_half_and_scores_alike(encoder, tmp_path):
    _, weights, feeds = encoder
    graph = reranker_graph(weights)
    (tmp_path / "model.onnx").write_bytes(graph)
    write_fp16(tmp_path / "model.onnx", tmp_path / "half.onnx")
    half = onnx.load(tmp_path / "half.onnx")
    large = [of for of in half.graph.initializer if np.prod(of.dims) >= 1024]
    assert all(of.data_type == onnx.TensorProto.FLOAT16 for of in large)
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * (tmp_path / "model.onnx").stat().st_size
    difference = np.abs(run(half.SerializeToString(), feeds) - run(graph, feeds)).max()
    assert 0 < difference < 0.05


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("ModernBert", {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}),
        ("DebertaV2", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}),
    ],
)
def test_other_families_are_traced(family, extra, bert_tokenizer, tmp_path):
    size = {"vocab_size": bert_tokenizer.get_vocab_size(), "num_hidden_layers": 1}
    model = model_of(family, **extra, **size)
    model.save_pretrained(tmp_path / "source")
    bert_tokenizer.save(str(tmp_path / "source/tokenizer.json"))
    assert not is_bert_like(json.loads((tmp_path / "source/config.json").read_text()))
    report = export_model(tmp_path / "source", tmp_path / "out", precisions=("fp32",))
    assert report.parity.fp32_max_difference < 1e-3
    assert report.parity.batch_max_difference < 1e-3


def test_weights_of_other_types_and_old_names_are_read(bert_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(bert_folder / "model.safetensors")
    renamed = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value.bfloat16() for name, value in tensors.items()}
    save_file(renamed, tmp_path / "model.safetensors")
    config = json.loads((bert_folder / "config.json").read_text())
    found = EncoderWeights.read(config, tmp_path / "model.safetensors").tensors["embeddings.LayerNorm.weight"]
    expected = tensors["bert.embeddings.LayerNorm.weight"].numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_weights_that_do_not_belong_to_the_config_are_refused(bert_folder, tmp_path):
    config = json.loads((bert_folder / "config.json").read_text())
    with pytest.raises(ModelLoadError, match="does not belong to its config"):
        EncoderWeights.read(config | {"num_hidden_layers": 5}, bert_folder / "model.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((bert_folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match="no complete safetensors file"):
        read_safetensors(tmp_path / "cut.safetensors")
    with pytest.raises(ModelLoadError, match="Cannot read absent"):
        read_safetensors(tmp_path / "absent.safetensors")
    weights = EncoderWeights.read(config, bert_folder / "model.safetensors")
    bare = {name: value for name, value in weights.tensors.items() if not name.startswith("classifier")}
    with pytest.raises(ModelLoadError, match=r"classifier\.weight"):
        reranker_graph(EncoderWeights.of(config, bare, "x"))
    two = bare | {"classifier.weight": np.zeros((2, 64), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    with pytest.raises(ModelLoadError, match="num_labels=1"):
        reranker_graph(EncoderWeights.of(config, two, "x"))
