"""A folder with safetensors alone is converted at its first use: without torch, checked, once for all processes."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from semantic_ranker import CrossEncoder, Embedder, ModelLoadError
from semantic_ranker.conversion import first_load
from semantic_ranker.conversion.encoder_weights import EncoderWeights, tensors_of
from semantic_ranker.conversion.sample_pairs import built_in_pairs
from semantic_ranker.errors import ExportParityError

WIDTH, INNER, LAYERS, HEADS = 32, 64, 2, 4
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = sorted({word for pair in built_in_pairs() for text in pair for word in text.lower().split()})
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "layer_norm_eps": 1e-12, "pad_token_id": 0, "max_position_embeddings": 200,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMANTIC_RANKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tensors(head=True):
    random = np.random.default_rng(0)

    def normal(*shape, scale=0.25):
        return (scale * random.standard_normal(shape)).astype(np.float32)

    found = {}

    def linear(name, out, into, scale=0.25):
        found[f"{name}.weight"], found[f"{name}.bias"] = normal(out, into, scale=scale), normal(out, scale=0.1)

    def norm(name):
        found[f"{name}.weight"], found[f"{name}.bias"] = 1 + normal(WIDTH, scale=0.1), normal(WIDTH, scale=0.1)

    for name, size in (("word", len(SPECIALS) + len(WORDS)), ("position", 200), ("token_type", 2)):
        found[f"bert.embeddings.{name}_embeddings.weight"] = normal(size, WIDTH, scale=0.5)
    norm("bert.embeddings.LayerNorm")
    for depth in range(LAYERS):
        layer = f"bert.encoder.layer.{depth}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
        linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", INNER, WIDTH)
        linear(f"{layer}.output.dense", WIDTH, INNER)
        norm(f"{layer}.output.LayerNorm")
    if head:
        linear("bert.pooler.dense", WIDTH, WIDTH)
        linear("classifier", 1, WIDTH, scale=1.0)
    return found


def safetensors_of(arrays):
    header, data = {}, b""
    for name, array in arrays.items():
        header[name] = {
            "dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]
        }  # fmt: skip
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_folder(folder, arrays):
    folder.mkdir()
    vocab = {word: index for index, word in enumerate([*SPECIALS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors_of(arrays))
    return folder


@pytest.fixture
def reranker(tmp_path):
    return write_folder(tmp_path / "tiny", tensors())


def kept(cache, kind="rerankers"):
    return sorted(path for path in (cache / kind).iterdir() if path.is_dir())


QUERY, TEXTS = "how do I reset my password", ["reset your password", "the Seine crosses Paris", "six digits"]


def test_safetensors_are_enough(reranker, cache):
    exact = CrossEncoder(reranker, precision="fp32").score(QUERY, TEXTS)
    usual = CrossEncoder(reranker)
    assert usual.precision == "int8"
    assert np.abs(usual.score(QUERY, TEXTS) - exact).max() < 0.6  # of logits that lie 3 apart over all pairs
    (folder,) = kept(cache)
    manifest = json.loads((folder / "semantic_ranker.json").read_text())
    assert manifest["name"] == "tiny"
    assert manifest["parity"]["fp32_max_difference"] < 1e-4
    assert set(manifest["files"]) == {"config.json", "tokenizer.json", "onnx/model.onnx", "onnx/model_qint8.onnx"}


def test_nothing_heavy_is_imported_for_it(reranker):
    code = (
        "import sys; from semantic_ranker import CrossEncoder\n"
        f"print(len(CrossEncoder({str(reranker)!r}).score('reset', ['a', 'b'])))\n"
        "print([name for name in ('torch', 'onnx', 'safetensors', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["2", "[]"]


def test_the_conversion_is_kept_and_follows_the_weights(reranker, cache, monkeypatch):
    first = CrossEncoder(reranker).score(QUERY, TEXTS)
    monkeypatch.setattr(first_load, "logger", None)  # a second conversion would log
    assert (CrossEncoder(reranker).score(QUERY, TEXTS) == first).all()
    monkeypatch.undo()
    monkeypatch.setenv("SEMANTIC_RANKER_CACHE", str(cache))
    changed = tensors() | {"classifier.bias": np.asarray([9.0], np.float32)}
    (reranker / "model.safetensors").write_bytes(safetensors_of(changed))
    assert (CrossEncoder(reranker).score(QUERY, TEXTS) > first + 1).all()
    assert len(kept(cache)) == 2


def test_a_half_conversion_is_made_again(reranker, cache):
    first = CrossEncoder(reranker, precision="fp32").score(QUERY, TEXTS)
    (folder,) = kept(cache)
    (folder / "onnx/model.onnx").write_bytes(b"half")
    assert (CrossEncoder(reranker, precision="fp32").score(QUERY, TEXTS) == first).all()


def test_several_processes_convert_once(reranker, cache):
    code = (
        "import sys; from semantic_ranker import CrossEncoder\n"
        f"print(CrossEncoder({str(reranker)!r}).score('reset', ['password']).tolist())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate() for process in started]
    assert len({out for out, _ in answers}) == 1
    assert sum("converting" in errors for _, errors in answers) == 1
    assert len(kept(cache)) == 1
    assert not list((cache / "rerankers").glob(".*.partial"))


def test_int8_that_strays_is_left_out(reranker, cache, monkeypatch, caplog):
    from semantic_ranker.conversion import reranker as module

    genuine = module.reranker_graph
    doubled = {name: value for name, value in tensors().items()} | {"bert.pooler.dense.weight": -np.eye(WIDTH)}

    def damaged(weights, *, int8=False, **options):
        other = EncoderWeights.of(CONFIG, {k: np.float32(v) for k, v in doubled.items()}, "x") if int8 else weights
        return genuine(other, int8=int8, **options)

    monkeypatch.setattr(module, "reranker_graph", damaged)
    assert CrossEncoder(reranker).precision == "fp32"
    assert "has no int8" in caplog.text
    with pytest.raises(ModelLoadError, match="found fp32"):
        CrossEncoder(reranker, precision="int8").score(QUERY, TEXTS)


def test_a_wrong_graph_is_refused(reranker, cache, monkeypatch):
    from semantic_ranker.conversion import encoder_graph

    monkeypatch.setitem(encoder_graph.HEADS, "bert", ("pooler.dense", "classifier", "Relu"))
    from semantic_ranker.conversion import reference

    monkeypatch.setattr(reference, "HEADS", {"bert": ("pooler.dense", "classifier", "Tanh")})
    with pytest.raises(ExportParityError, match="does not score like its source"):
        CrossEncoder(reranker).score(QUERY, TEXTS)
    assert kept(cache) == []


def test_a_model_without_a_head_is_refused(tmp_path):
    folder = write_folder(tmp_path / "bare", tensors(head=False))
    with pytest.raises(ModelLoadError, match="Expected a trained head"):
        CrossEncoder(folder).score(QUERY, TEXTS)


def test_a_bi_encoder_is_converted_too(tmp_path, cache):
    folder = write_folder(tmp_path / "bi", tensors(head=False))
    exact = Embedder(folder, precision="fp32").embed_documents(TEXTS)
    coarse = Embedder(folder, precision="int8").embed_documents(TEXTS)
    assert ((exact * coarse).sum(1) > 0.98).all()
    manifest = json.loads((kept(cache, "embedders")[0] / "semantic_ranker.json").read_text())
    assert manifest["parity"]["fp32_min_cosine"] > 0.9999
    assert manifest["weights_sha256"] == manifest["files"]["model.safetensors"]["sha256"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-4],
        lambda content: content + b"x",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content.replace(b'"shape": [1, 32]', b'"shape": [2, 32]'),
        lambda content: content.replace(b'"shape": [1, 32]', b'"shape": [1, "]]'),
        lambda content: b"",
    ],
)
def test_damaged_safetensors_are_refused(damage):
    content = safetensors_of(tensors())
    assert len(tensors_of(content, "good")) > 30
    with pytest.raises(ModelLoadError, match="no complete safetensors file"):
        tensors_of(damage(content), "bad")
