import numpy as np
import pytest

from semantic_ranker.catalogue import ModelSpec, find
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding import download
from semantic_ranker.embedding.sources import is_here
from semantic_ranker.errors import ModelLoadError

constants = pytest.importorskip("huggingface_hub.constants")
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch, make_folder):
    """The hub's cache, into which models are put as a download leaves them."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(model_id, **options):
        repository = tmp_path / "hub" / f"models--{model_id.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(REVISION)
        return make_folder(f"hub/{repository.name}/snapshots/{REVISION}", **options)

    return put


def test_a_cached_model_opens_without_a_network_and_keeps_its_hub_name(hub):
    folder = hub("somebody/model")
    embedder = Embedder("somebody/model")
    assert embedder.space.model == "somebody/model"
    assert np.array_equal(embedder.embed_documents(["cats"]), Embedder(folder).embed_documents(["cats"]))


def test_a_catalogue_model_in_the_cache_gets_its_prompts_and_counts_as_here(hub):
    assert not is_here(find("intfloat/e5-small-v2"))
    hub("intfloat/e5-small-v2")
    assert is_here(find("intfloat/e5-small-v2"))
    assert Embedder("intfloat/E5-small-v2").space.query_prompt == "query: "


def test_a_cached_model_that_may_be_pooled_in_another_way_is_not_opened(hub):
    folder = hub("somebody/model")
    (folder / "modules.json").unlink()
    with pytest.raises(ModelLoadError, match="not \\(completely\\) in the hub's cache"):
        Embedder("somebody/model").embed_documents(["cats"])
    assert download.cached("somebody/model", "auto") is None
    absent = folder.parent.parent / ".no_exist" / REVISION
    absent.mkdir(parents=True)
    (absent / "modules.json").touch()
    assert Embedder("somebody/model").space.pooling == "mean"


def test_what_a_download_brings_is_completed_and_failures_are_said(hub, monkeypatch):
    import huggingface_hub

    folder = hub("somebody/model")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked = []

    def snapshot(model_id, allow_patterns, etag_timeout):
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        Embedder("somebody/model", backend="torch").embed_documents(["cats"])
    assert "model.safetensors" in asked[0]

    def unreachable(model_id, allow_patterns, etag_timeout):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ModelLoadError, match="no route"):
        Embedder("somebody/model", backend="torch").embed_documents(["cats"])


def test_a_package_model_falls_back_to_the_hubs_cache(hub, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("gt_") else real(name))
    hub("sentence-transformers/all-MiniLM-L6-v2", dim=24)
    assert Embedder("all-MiniLM-L6-v2").dim == 24
    assert isinstance(find("all-MiniLM-L6-v2"), ModelSpec)
