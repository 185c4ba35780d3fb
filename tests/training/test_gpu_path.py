"""What runs on a GPU, as far as a machine without one can tell: arguments, half precision, padded batches."""

import numpy as np
import pytest
import torch

from semantic_ranker import CrossEncoder, InvalidInputError, ModelLoadError
from semantic_ranker._arguments import Options
from semantic_ranker._engine import Engine
from semantic_ranker.backends.torch import TorchBackend
from semantic_ranker.model_folder import ModelFolder

QUERY, TEXTS = "how do I reset my password", ["reset your password", "the river flows through the city"] * 40


def test_half_precision_scores_alike(bert_folder):
    ids = np.random.default_rng(0).integers(4, 60, (6, 20))
    mask, types = np.ones_like(ids), (np.arange(20) > 8).astype(np.int64) + np.zeros_like(ids)
    exact = TorchBackend(bert_folder).run(ids, mask, types)
    half = TorchBackend(bert_folder, precision="bf16").run(ids, mask, types)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < 0.1 * max(1.0, np.abs(exact).max())


def test_a_gpu_gets_padded_batches_by_itself(bert_folder, monkeypatch):
    engine = Engine.load(ModelFolder.open(bert_folder), Options(model=str(bert_folder), backend="torch"))
    shapes = []
    run = TorchBackend.run

    def counted(self, ids, mask, types):
        shapes.append(ids.shape)
        return run(self, ids, mask, types)

    monkeypatch.setattr(TorchBackend, "run", counted)
    alone = engine.score([QUERY], [TEXTS], Options(backend="torch"))
    assert len(shapes) == len(TEXTS)
    shapes.clear()
    together = engine.score([QUERY], [TEXTS], Options(device="cuda"))
    assert len(shapes) == 1
    assert [item.logit for item in together[0]] == pytest.approx([item.logit for item in alone[0]], abs=1e-4)


def test_a_machine_without_a_gpu_says_so(bert_folder, monkeypatch):
    def refused(*args, **kwargs):
        raise RuntimeError("Found no NVIDIA driver on your system.")

    monkeypatch.setattr(torch.nn.Module, "to", refused)
    with pytest.raises(ModelLoadError, match=r"no NVIDIA driver.*device='cpu'"):
        CrossEncoder(bert_folder, device="cuda").score(QUERY, TEXTS[:2])


def test_options_that_do_not_go_together_are_refused():
    for options in ({"device": "cuda", "backend": "onnx"}, {"device": "cuda", "precision": "int8"}):
        with pytest.raises(InvalidInputError, match="device='cuda'"):
            CrossEncoder(**options)
    with pytest.raises(InvalidInputError, match="device='cuda'"):
        CrossEncoder(precision="bf16")
    with pytest.raises(InvalidInputError, match="device"):
        CrossEncoder(device="tpu")
