"""A tiny base with random weights, for trying the whole way where no base is installed. It knows nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_WORDS = 4000


def write_tiny_base(folder: Path, texts: Sequence[str], *, layers: int = 2, seed: int = 0) -> Path:
    """Write a BERT of 64 dimensions with a vocabulary of whole words, and return its folder.

    Args:
        folder: Where to.
        texts: Their commonest words become the vocabulary.
        layers: Layers.
        seed: Of the weights.
    """
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]]
    vocabulary = {word: row for row, word in enumerate(dict.fromkeys([*_SPECIALS, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder)
    names = {name.strip("[]").lower() + "_token": name for name in _SPECIALS}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)
    return folder
