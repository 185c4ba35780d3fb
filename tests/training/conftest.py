"""Tiny models and tokenizers, built in memory and written once a session."""

import json
import os
import re

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from semantic_ranker.backends.interaction import InteractionConfig, InteractionCrossEncoder
from semantic_ranker.conversion.sample_pairs import built_in_pairs
from semantic_ranker_training.export import export_model
from semantic_ranker_training.manifest import ModelMetadata

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Conversions go to a folder of the tests' own, not to the user's."""
    before = os.environ.get("SEMANTIC_RANKER_CACHE")
    os.environ["SEMANTIC_RANKER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("SEMANTIC_RANKER_CACHE")
    if before is not None:
        os.environ["SEMANTIC_RANKER_CACHE"] = before


SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
WORDS = sorted(
    {word for pair in built_in_pairs() for text in pair for word in re.findall(r"\w+|[^\w\s]", text.lower())}
)


def tokenizer_of(specials, single, pair):
    vocab = {token: index for index, token in enumerate(dict.fromkeys([*specials, *WORDS, "a", "b"]))}
    unknown = next(token for token in specials if "unk" in token.lower())
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(token, vocab[token]) for token in specials],
    )
    tokenizer.add_special_tokens(specials)
    return tokenizer


@pytest.fixture(scope="session")
def bert_tokenizer():
    return tokenizer_of(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    )


@pytest.fixture(scope="session")
def xlmr_tokenizer():
    return tokenizer_of(["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", "<s> $A </s> </s> $B </s>")


@pytest.fixture(scope="session")
def interaction_model(bert_tokenizer):
    """An untrained interaction cross-encoder whose lexical features make its logits differ."""
    torch.manual_seed(0)
    config = InteractionConfig(
        vocab_size=bert_tokenizer.get_vocab_size(),
        max_position_embeddings=128,
        joint_layers=1,
        cls_token_id=bert_tokenizer.token_to_id("[CLS]"),
        sep_token_id=bert_tokenizer.token_to_id("[SEP]"),
        **SHAPE,
    )
    model = InteractionCrossEncoder(config)
    with torch.no_grad():
        model.head.feature_weight[-1] = 0.5
    return model.eval()


@pytest.fixture(scope="session")
def interaction_export(interaction_model, bert_tokenizer, tmp_path_factory):
    """The model above as a complete model folder: (folder, report)."""
    folder = tmp_path_factory.mktemp("interaction")
    bert_tokenizer.save(str(folder / "tokenizer.json"))
    metadata = ModelMetadata(
        name="tiny", base_model="none", license="mit", languages=("en",), max_query_tokens=32, scale=0.5, bias=-1.0
    )
    report = export_model(interaction_model, folder / "model", metadata=metadata, tokenizer=folder / "tokenizer.json")
    return folder / "model", report


def save_classifier(folder, model, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def bert_folder(bert_tokenizer, tmp_path_factory):
    """A one-label BERT classifier as transformers saves it."""
    torch.manual_seed(0)
    size = bert_tokenizer.get_vocab_size()
    config = BertConfig(
        vocab_size=size, max_position_embeddings=128, num_labels=1, initializer_range=0.2, pad_token_id=0, **SHAPE
    )
    return save_classifier(
        tmp_path_factory.mktemp("bert") / "tiny-bert", BertForSequenceClassification(config), bert_tokenizer
    )


@pytest.fixture(scope="session")
def xlmr_folder(xlmr_tokenizer, tmp_path_factory):
    """A one-label XLM-RoBERTa classifier: one token type, positions that begin at 2."""
    torch.manual_seed(0)
    size = xlmr_tokenizer.get_vocab_size()
    config = XLMRobertaConfig(
        vocab_size=size, max_position_embeddings=130, num_labels=1, initializer_range=0.3, type_vocab_size=1, **SHAPE
    )
    return save_classifier(
        tmp_path_factory.mktemp("xlmr") / "tiny-xlmr", XLMRobertaForSequenceClassification(config), xlmr_tokenizer
    )


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """A BEIR folder of 24 queries over the built-in passages."""
    folder = tmp_path_factory.mktemp("judged")
    pairs = built_in_pairs()
    queries = list(dict.fromkeys(query for query, _ in pairs))
    texts = list(dict.fromkeys(text for _, text in pairs))
    rows = [{"_id": f"d{at}", "title": "", "text": text} for at, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [f"{ask}{query}" for ask in ("", "tell me: ", "please, ") for query in queries]
    lines = [json.dumps({"_id": f"q{at}", "text": text}) + "\n" for at, text in enumerate(asked)]
    (folder / "queries.jsonl").write_text("".join(lines))
    (folder / "qrels").mkdir()
    relevant = [f"q{at}\td{texts.index(pairs[at % len(queries) * 5][1])}\t1" for at in range(len(asked))]
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *relevant]) + "\n")
    return folder
