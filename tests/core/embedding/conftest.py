import json
from pathlib import Path

import numpy as np
import pytest

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "cats", "sleep", "all", "day", "reset", "your", "password",
    "in", "settings", "i", "forgot", "my", "the", "of", "how", "do", ".", ",", "query", ":", "passage", "dogs", "bark",
    "at", "night", "water", "boils", "to", "and", "clause", "tenant", "pays", "by",
]  # fmt: skip


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(WORDS[:5])
    # A folder of sentence-transformers often has both of these switched on; they must not matter.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": 64, "tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )


def write_graph(path: Path, table: np.ndarray, *, output: str = "last_hidden_state") -> None:
    """A graph of one layer: the state of a token is its row of the table."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["found", "column"], [output]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", "length", table.shape[1]])]
    values = [
        numpy_helper.from_array(table.astype(np.float32), "table"),
        numpy_helper.from_array(np.asarray([2], np.int64), "last"),
    ]
    graph = helper.make_graph(nodes, "lookup", inputs, outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def write_folder(
    folder: Path, *, dim: int = 16, seed: int = 0, noise: float = 0.001, prompts: dict | None = None
) -> Path:
    """A bi-encoder's folder with an fp32 graph, and an int8 one that differs by some noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(len(WORDS), dim))
    write_tokenizer(folder)
    write_graph(folder / "onnx" / "model.onnx", table)
    write_graph(folder / "onnx" / "model_qint8.onnx", table + noise * rng.normal(size=table.shape))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 64}))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": dim, "pooling_mode_mean_tokens": True})
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts or {}}))
    return folder


@pytest.fixture
def onnx_folder(tmp_path):
    return write_folder(tmp_path / "lookup-model")


@pytest.fixture
def make_folder(tmp_path):
    """Makes such folders, by name."""
    return lambda name, **options: write_folder(tmp_path / name, **options)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMANTIC_RANKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """A tiny BERT bi-encoder of random weights, in safetensors only."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = write_folder(tmp_path_factory.mktemp("bert") / "tiny-bert", dim=32, prompts={"query": "query : "})
    for name in ("model.onnx", "model_qint8.onnx"):
        (folder / "onnx" / name).unlink()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder
