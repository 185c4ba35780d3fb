"""Tiny real models for the adapter tests, and one face over both frameworks for the shared checks.

The model is an ONNX graph that counts how many words of the text also stand in the query. The word
"poison" makes its score NaN.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

import semantic_ranker_langchain
import semantic_ranker_llama_index

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["poison", "cat", "dog", "feeds", "sleeps", "house", "red", "password", "reset", "open", "settings"]
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}


def build_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", VOCABULARY["[CLS]"]), ("[SEP]", VOCABULARY["[SEP]"])],
    )
    return tokenizer


def build_graph(*, drop_first_score: bool = False) -> onnx.ModelProto:
    """Return the overlap scorer; with `drop_first_score` it answers one score too few."""
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    constants = {
        "last_special": np.array(len(SPECIAL) - 1, np.int64),
        "poison_id": np.array(VOCABULARY["poison"], np.int64),
        "one": np.array(1, np.int64),
        "middle": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "words": np.array([1], np.int64),
        "offset": np.array(1.5, np.float32),
        "nan": np.array(np.nan, np.float32),
        "from_row": np.array([1 if drop_first_score else 0], np.int64),
        "to_row": np.array([np.iinfo(np.int64).max], np.int64),
        "rows": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Greater", ["input_ids", "last_special"], ["is_word"]),
        helper.make_node("Equal", ["token_type_ids", "one"], ["second_part"]),
        helper.make_node("Not", ["second_part"], ["first_part"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.BOOL),
        helper.make_node("And", ["is_word", "real"], ["counts"]),
        helper.make_node("And", ["counts", "first_part"], ["in_query"]),
        helper.make_node("And", ["counts", "second_part"], ["in_text"]),
        helper.make_node("Unsqueeze", ["input_ids", "last"], ["query_ids"]),
        helper.make_node("Unsqueeze", ["input_ids", "middle"], ["text_ids"]),
        helper.make_node("Equal", ["query_ids", "text_ids"], ["same"]),
        helper.make_node("Unsqueeze", ["in_query", "last"], ["query_side"]),
        helper.make_node("Unsqueeze", ["in_text", "middle"], ["text_side"]),
        helper.make_node("And", ["query_side", "text_side"], ["sides"]),
        helper.make_node("And", ["same", "sides"], ["matches"]),
        helper.make_node("Cast", ["matches"], ["match_numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["match_numbers", "words"], ["hit"], keepdims=0),
        helper.make_node("ReduceSum", ["hit", "words"], ["overlap"], keepdims=1),
        helper.make_node("Sub", ["overlap", "offset"], ["scored"]),
        helper.make_node("Equal", ["input_ids", "poison_id"], ["poisoned"]),
        helper.make_node("Cast", ["poisoned"], ["poison_numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["poison_numbers", "words"], ["poison_number"], keepdims=1),
        helper.make_node("Cast", ["poison_number"], ["is_poisoned"], to=TensorProto.BOOL),
        helper.make_node("Where", ["is_poisoned", "nan", "scored"], ["all_logits"]),
        helper.make_node("Slice", ["all_logits", "from_row", "to_row", "rows"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "overlap",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["scores", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def write_model(folder: Path, *, drop_first_score: bool = False) -> Path:
    """Write a model folder as a plain export has it (no manifest of ours)."""
    (folder / "onnx").mkdir(parents=True)
    onnx.save(build_graph(drop_first_score=drop_first_score), str(folder / "onnx" / "model.onnx"))
    build_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "max_position_embeddings": 64,
        "vocab_size": len(VOCABULARY),
        "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the overlap scorer."""
    return str(write_model(tmp_path_factory.mktemp("models") / "overlap"))


@pytest.fixture(scope="session")
def miscounting_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a model that answers one score too few."""
    return str(write_model(tmp_path_factory.mktemp("models") / "miscounting", drop_first_score=True))


@dataclass(frozen=True)
class Hit:
    """One reranked item, whichever framework it came from."""

    id: str | None
    text: str
    score: Any
    metadata: dict[str, Any]


class LangChain:
    """`SemanticRerank` of the LangChain adapter."""

    rerank_class = semantic_ranker_langchain.SemanticRerank

    @staticmethod
    def items(texts: Sequence[str]) -> list[Any]:
        return [
            Document(id=f"id-{number}", page_content=text, metadata={"source": number, "score": 0.5})
            for number, text in enumerate(texts)
        ]

    @staticmethod
    def call(reranker: Any, items: list[Any], query: str) -> tuple[Any, tuple[Any, ...]]:
        """Return the bound method that reranks, and its arguments."""
        return reranker.compress_documents, (items, query)

    @classmethod
    def run(cls, reranker: Any, items: list[Any], query: str) -> list[Any]:
        method, arguments = cls.call(reranker, items, query)
        return method(*arguments)

    @staticmethod
    async def arun(reranker: Any, items: list[Any], query: str) -> list[Any]:
        return await reranker.acompress_documents(items, query)

    @staticmethod
    def hit(item: Any) -> Hit:
        return Hit(item.id, item.page_content, item.metadata.get("relevance_score"), item.metadata)

    @staticmethod
    def payload(reranker: Any) -> dict[str, Any]:
        return reranker.to_json()


class LlamaIndex:
    """`SemanticRerank` of the LlamaIndex adapter."""

    rerank_class = semantic_ranker_llama_index.SemanticRerank

    @staticmethod
    def items(texts: Sequence[str]) -> list[Any]:
        return [
            NodeWithScore(node=TextNode(id_=f"id-{number}", text=text, metadata={"source": number}), score=0.5)
            for number, text in enumerate(texts)
        ]

    @staticmethod
    def call(reranker: Any, items: list[Any], query: str) -> tuple[Any, tuple[Any, ...]]:
        """Return the bound method that reranks, and its arguments."""
        return reranker.postprocess_nodes, (items, QueryBundle(query))

    @classmethod
    def run(cls, reranker: Any, items: list[Any], query: str) -> list[Any]:
        method, arguments = cls.call(reranker, items, query)
        return method(*arguments)

    @staticmethod
    async def arun(reranker: Any, items: list[Any], query: str) -> list[Any]:
        return await reranker.apostprocess_nodes(items, query_str=query)

    @staticmethod
    def hit(item: Any) -> Hit:
        return Hit(item.node.node_id, item.node.text, item.score, item.node.metadata)

    @staticmethod
    def payload(reranker: Any) -> dict[str, Any]:
        return reranker.to_dict()


@pytest.fixture(params=[LangChain, LlamaIndex], ids=["langchain", "llama_index"])
def framework(request: pytest.FixtureRequest) -> Any:
    """Each framework's adapter in turn."""
    return request.param
