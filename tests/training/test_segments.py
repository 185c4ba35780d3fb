"""The segment graph and the numpy head give the logits of the torch model that they were written from."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.stats import kendalltau

from semantic_ranker import CrossEncoder
from semantic_ranker.backends.interaction import InteractionConfig, InteractionCrossEncoder
from semantic_ranker.conversion.graph_builder import GraphBuilder, four_bit_codes
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.segments.engine import SegmentBackend
from semantic_ranker.segments.head import InteractionHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery
from semantic_ranker.tokenization import EncodedPair
from semantic_ranker_training.export import ExportOptions, export_model
from semantic_ranker_training.manifest import ModelMetadata
from semantic_ranker_training.segment_graph import segment_graph
from semantic_ranker_training.segments import SegmentScorer, has_segments, write_head, write_segments

CLS, SEP, VOCABULARY = 1, 2, 200


def model_of(joint_layers=0):
    torch.manual_seed(3)
    config = InteractionConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        joint_layers=joint_layers,
        cls_token_id=CLS,
        sep_token_id=SEP,
    )
    model = InteractionCrossEncoder(config)
    with torch.no_grad():
        # Every part of the head has to count, or a mistake in it would not show.
        for parameter in model.head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.head.scale.fill_(5.0)
        model.head.term_weight.uniform_(0.5, 6.0)
        model.head.match_id.copy_(torch.arange(VOCABULARY) // 2)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def pairs():
    random = np.random.default_rng(0)
    query = random.integers(3, 60, 7)
    passages = [random.integers(3, 60, size) for size in (12, 1, 30, 0, 45, 5)]
    passages.append(np.concatenate([query[:4], [70], query[4:]]))  # adjacent matches
    return query, passages


def logits_of_torch(model, query, passages):
    found = []
    for passage in passages:
        ids = np.concatenate([[CLS], query, [SEP, CLS], passage, [SEP]]).astype(np.int64)[None]
        types = (np.arange(ids.shape[1]) >= len(query) + 2).astype(np.int64)[None]
        with torch.no_grad():
            found.append(float(model(*map(torch.from_numpy, (ids, np.ones_like(ids), types)))))
    return np.asarray(found)


def logits_of_segments(folder, precision, query, passages):
    name = {"fp32": "segment.onnx", "int8": "segment_qint8.onnx"}[precision]
    backend = SegmentBackend(folder / name, precision, (folder / "onnx" / name).read_bytes())
    head = InteractionHead.read((folder / "interaction_head.npz").read_bytes())
    sides = []
    for ids in (query, *passages):
        whole = np.concatenate([[CLS], ids, [SEP]]).astype(np.int64)
        sides.append((whole, *backend.encode(whole)))
    _, tokens, pooled, importance = sides[0]
    asked = EncodedQuery(query, tokens[1:-1], pooled, importance[1:-1])
    kept = [
        EncodedPassage.of(EncodedPair(whole, np.zeros_like(whole), None, False), tokens, pooled)
        for whole, tokens, pooled, _ in sides[1:]
    ]
    return head.score(asked, kept)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segments")
    (folder / "onnx").mkdir()
    write_segments(model, folder, ["fp32", "int8"])
    return folder


def test_fp32_gives_the_logits_of_torch(model, pairs, folder):
    expected = logits_of_torch(model, *pairs)
    assert np.ptp(expected) > 1
    # The states of passages are kept in int8; that alone moves the logits.
    np.testing.assert_allclose(logits_of_segments(folder, "fp32", *pairs), expected, atol=0.02)


def test_int8_keeps_the_order(model, pairs, folder):
    expected, found = logits_of_torch(model, *pairs), logits_of_segments(folder, "int8", *pairs)
    assert kendalltau(expected, found).statistic > 0.8
    np.testing.assert_allclose(found, expected, atol=0.5)


def test_compact_tables_keep_the_order_in_half_the_space(model, pairs, tmp_path):
    (tmp_path / "onnx").mkdir()
    write_segments(model, tmp_path, ["int8"], compact=True)
    expected, found = logits_of_torch(model, *pairs), logits_of_segments(tmp_path, "int8", *pairs)
    assert kendalltau(expected, found).statistic > 0.8
    sizes = [len(segment_graph(model, int8=True, compact=compact)) for compact in (False, True)]
    # Half a byte a word's number, 3 bytes a position's but 4 a position, 2 a number of the projection.
    exact = [segment_graph(model, int8=False, compact=compact) for compact in (False, True)]
    assert exact[0] == exact[1]
    saved = VOCABULARY * 32 + 64 * (3 * 64 - 4) + 64 * 64 * 2
    assert sizes[0] - sizes[1] == pytest.approx(saved, abs=900)


def test_a_table_of_four_bits_is_looked_up_as_it_was_rounded():
    random = np.random.default_rng(0)
    table = random.normal(0, 0.05, (50, 96)).astype(np.float32)
    table[3] = 0.0
    codes, steps = four_bit_codes(table)
    rounded = codes * steps
    assert codes.min() >= -8
    assert codes.max() <= 7
    relative = ((rounded - table) ** 2).sum(1)[4:] / (table**2).sum(1)[4:]
    assert relative.max() < 0.02
    assert not rounded[3].any()
    graph = GraphBuilder(int8=True)
    graph.add("Identity", [graph.lookup(table, "input_ids", bits=4)], name="found")
    file = graph.model("lookup", {"input_ids": ("rows", "length")}, {"found": ("rows", "length", 96)})
    ids = np.array([[0, 3, 7], [49, 7, 1]])
    (found,) = onnxruntime.InferenceSession(file).run(None, {"input_ids": ids})
    np.testing.assert_array_equal(found, rounded[ids])


def test_four_bits_need_an_even_width():
    with pytest.raises(InvalidInputError, match="even width"):
        four_bit_codes(np.zeros((2, 7), np.float32))


def test_rows_of_one_length_can_share_a_run(model):
    session = onnxruntime.InferenceSession(segment_graph(model, int8=False))
    rows = np.random.default_rng(0).integers(3, 60, (2, 9))
    together = session.run(None, {"input_ids": rows})
    for index, row in enumerate(rows):
        alone = session.run(None, {"input_ids": row[None]})
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(many[index], one[0], atol=1e-5)


def test_no_query_words_and_no_passage_words(model, pairs, folder, tmp_path):
    empty = np.empty(0, np.int64)
    for query, passages in ((empty, pairs[1]), (pairs[0][:1], pairs[1])):
        expected = logits_of_torch(model, query, passages)
        np.testing.assert_allclose(logits_of_segments(folder, "fp32", query, passages), expected, atol=0.02)


def test_blocks_of_passages_do_not_change_scores(pairs, folder, monkeypatch):
    whole = logits_of_segments(folder, "fp32", *pairs)
    monkeypatch.setattr("semantic_ranker.segments.head._TOKENS_AT_ONCE", 20)
    np.testing.assert_allclose(logits_of_segments(folder, "fp32", *pairs), whole, atol=1e-5)


def test_joint_layers_have_no_segments():
    joint = model_of(joint_layers=1)
    assert not has_segments(joint)
    with pytest.raises(ValueError, match="joint layers"):
        segment_graph(joint, int8=False)


def test_the_head_file_is_the_same_each_time(model, tmp_path):
    write_head(model.head, tmp_path / "a.npz")
    write_head(model.head, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_scorer_of_pairs_is_exact_in_fp32(model, pairs, folder):
    query, passages = pairs
    scorer = SegmentScorer(folder, "fp32")
    for passage in passages:
        ids = np.concatenate([[CLS], query, [SEP, CLS], passage, [SEP]]).astype(np.int64)[None]
        types = (np.arange(ids.shape[1]) >= len(query) + 2).astype(np.int64)[None]
        found = scorer.run(ids, np.ones_like(ids), types)
        np.testing.assert_allclose(found, logits_of_torch(model, query, [passage]), atol=1e-4)


@pytest.mark.parametrize(
    ("segments", "files"),
    [
        ("also", {"onnx/model_qint8.onnx", "onnx/segment_qint8.onnx", "interaction_head.npz"}),
        ("only", {"onnx/segment_qint8.onnx", "interaction_head.npz"}),
        ("no", {"onnx/model_qint8.onnx"}),
    ],
)
def test_an_export_has_the_graphs_that_were_asked_for(segments, files, tmp_path, bert_tokenizer):
    torch.manual_seed(0)
    config = InteractionConfig(
        vocab_size=bert_tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        cls_token_id=bert_tokenizer.token_to_id("[CLS]"),
        sep_token_id=bert_tokenizer.token_to_id("[SEP]"),
    )
    bert_tokenizer.save(str(tmp_path / "tokenizer.json"))
    export_model(
        InteractionCrossEncoder(config).eval(),
        tmp_path / "model",
        precisions=["int8"],
        metadata=ModelMetadata(name="tiny", max_query_tokens=32),
        tokenizer=tmp_path / "tokenizer.json",
        options=ExportOptions(segments=segments),
    )
    found = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*.onnx")}
    found |= {path.name for path in (tmp_path / "model").glob("*.npz")}
    assert found == files
    manifest = json.loads((tmp_path / "model/semantic_ranker.json").read_text())
    assert ("segment_parity" in manifest) == (segments != "no")
    with CrossEncoder(tmp_path / "model", other_languages="score") as encoder:
        for pair in manifest["canary"]:
            assert float(encoder.score(pair["query"], [pair["text"]])[0]) == pytest.approx(
                pair["logit"]["int8"], abs=1e-3
            )
