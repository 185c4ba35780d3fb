"""Tiny random bases of each architecture, toy rankings, and settings that finish at once."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from semantic_ranker_training.cross_encoder import TrainingConfig
from semantic_ranker_training.data import Group

COLOURS = ["red", "blue", "green", "black", "white", "yellow", "brown", "grey"]
THINGS = ["car", "house", "tree", "boat", "lamp", "chair"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = [*SPECIALS, *COLOURS, *THINGS, "which", "is", "?", ".", "the"]
SIZE = {"vocab_size": len(VOCABULARY), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {**SIZE, "intermediate_size": 64, "pad_token_id": 0}


def toy_tokenizer(*, token_types=True):
    vocab = {token: row for row, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    second = "1" if token_types else "0"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair=f"[CLS]:0 $A:0 [SEP]:0 $B:{second} [SEP]:{second}",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"] if token_types else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=names,
    )


def toy_bases():
    return {
        "bert": lambda: BertModel(BertConfig(**WIDE, max_position_embeddings=64)),
        "roberta": lambda: RobertaModel(
            RobertaConfig(**WIDE, max_position_embeddings=66, type_vocab_size=1, bos_token_id=2, eos_token_id=3)
        ),
        "deberta-v2": lambda: DebertaV2Model(
            DebertaV2Config(
                **WIDE,
                max_position_embeddings=64,
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                pooler_hidden_size=32,
            )
        ),
        "distilbert": lambda: DistilBertModel(
            DistilBertConfig(
                vocab_size=len(VOCABULARY), dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
            )
        ),
        "modernbert": lambda: ModernBertModel(
            ModernBertConfig(
                **WIDE,
                max_position_embeddings=64,
                cls_token_id=2,
                sep_token_id=3,
                bos_token_id=2,
                eos_token_id=3,
                local_attention=16,
            )
        ),
        "minilm": lambda: BertModel(BertConfig(**{**WIDE, "num_hidden_layers": 3}, max_position_embeddings=64)),
    }


@pytest.fixture(scope="session")
def base_folders(tmp_path_factory):
    """Folder by architecture: an encoder without head, as people have it."""
    root, folders = tmp_path_factory.mktemp("bases"), {}
    for name, build in toy_bases().items():
        torch.manual_seed(0)
        build().save_pretrained(root / name)
        toy_tokenizer(token_types=name in ("bert", "minilm", "deberta-v2")).save_pretrained(root / name)
        folders[name] = root / name
    return folders


@pytest.fixture(scope="session")
def bert_base(base_folders):
    return base_folders["bert"]


@pytest.fixture(scope="session")
def toy_groups():
    """'Which is red?' is answered by 'the red car.' and not by 'the blue car.'."""
    groups = []
    for place, colour in enumerate(COLOURS):
        for row, thing in enumerate(THINGS):
            others = [COLOURS[(place + step) % len(COLOURS)] for step in (1, 2, 3)]
            texts = (f"the {colour} {thing}.", *(f"the {other} {thing}." for other in others))
            groups.append(Group(f"which {thing} is {colour}?", texts, (1.0, 0.0, 0.0, 0.0), source=f"toy{row}"))
    return groups


@pytest.fixture
def quick():
    """Settings for a run of a second."""

    def settings(**changes):
        values = {"max_length": 32, "group_size": 4, "batch_size": 8, "logging_steps": 1, "device": "cpu"}
        return TrainingConfig(**{**values, **changes})

    return settings


@pytest.fixture(scope="session")
def easy_groups():
    """Red things are the answer to everything: any loss learns it in a few steps."""
    return [
        Group(
            f"which {thing} is {colour}?",
            (f"the red {thing}.", *(f"the {other} {thing}." for other in others)),
            (1.0, 0.0, 0.0, 0.0),
        )
        for thing in THINGS
        for colour, *others in (COLOURS[1:5], COLOURS[2:6], COLOURS[3:7], COLOURS[4:8])
    ]


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small only lose time with more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
