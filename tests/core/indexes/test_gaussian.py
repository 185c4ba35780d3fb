"""`GaussianRetriever`: one distance on every store, spaces kept apart, nothing pickled."""

import numpy as np
import pytest

from semantic_ranker import Embedder, GaussianRetriever
from semantic_ranker.embedding.canary import Canary
from semantic_ranker.errors import InvalidInputError, SpaceMismatchError, StorageError
from semantic_ranker.indexes import ChromaStore, PineconeStore
from semantic_ranker.spaces import EmbeddingSpace

TEXTS = [
    "Cats sleep all day long.",
    "Dogs bark at night.",
    "Water boils at 100 degrees.",
    "Reset your password in settings.",
]


class Wide:
    """A model whose vectors are 64 words wide and far from length 1, as those trained for L2 are."""

    space = EmbeddingSpace(model="wide", weights="1", tokenizer="1", dim=64, normalize=False)

    def embed_documents(self, texts):
        rows = [np.random.default_rng(abs(hash_of(text))).standard_normal(64) * 2 for text in texts]
        return np.asarray(rows, np.float32)

    embed_queries = embed_documents

    def canary(self):
        return Canary.record(self.embed_documents, self.embed_queries)


def hash_of(text):
    return sum((place + 1) * byte for place, byte in enumerate(text.encode()))


def expected(metric, query, texts):
    model = Wide()
    asked, found = model.embed_queries([query])[0].astype(float), model.embed_documents(texts).astype(float)
    if metric == "l2":
        distances = np.linalg.norm(found - asked, axis=1)
    else:
        distances = 1 - found @ asked / np.linalg.norm(found, axis=1) / np.linalg.norm(asked)
    return sorted(zip(distances.tolist(), texts, strict=True))


def test_guides_calls(tmp_path):
    retriever = GaussianRetriever(model_path=None, embedding_dim=Embedder().dim, use_gpu=False)
    assert retriever.add_documents(TEXTS) == 4
    assert retriever.add_documents(TEXTS[:1]) == 1
    found = retriever.retrieve("how do I change my password?", top_k=2)
    assert found[0][0] == TEXTS[3]
    assert [type(part) for part in found[0]] == [str, float]
    assert found[0][1] <= found[1][1]
    retriever.save(tmp_path / "index")
    assert not [path for path in (tmp_path / "index").rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]
    again = GaussianRetriever.load(tmp_path / "index")
    assert again.retrieve("how do I change my password?", top_k=2) == found
    assert again.add_documents(["Another."]) == 1
    assert len(again) == 6


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("kind", ["faiss", "chroma"])
def test_distances_are_the_same_on_every_store(metric, kind, tmp_path):
    store = ChromaStore.local(tmp_path / "chroma") if kind == "chroma" else None
    retriever = GaussianRetriever(embedder=Wide(), metric=metric, store=store)
    texts = [f"text {row}" for row in range(40)]
    retriever.add_documents(texts)
    found = retriever.retrieve("a query", top_k=40)
    wanted = expected(metric, "a query", texts)
    assert [text for text, _ in found] == [text for _, text in wanted]
    np.testing.assert_allclose([distance for _, distance in found], [d for d, _ in wanted], rtol=1e-4, atol=1e-5)
    retriever.close()


def test_pinecone_gives_the_same_distances(pinecone_url, pinecone_index):
    texts = [f"text {row}" for row in range(20)]
    host = pinecone_index(pinecone_url, 65, "dotproduct")
    retriever = GaussianRetriever(embedder=Wide(), store=PineconeStore.at(host, api_key="any"))
    retriever.add_documents(texts)
    found = retriever.retrieve("a query", top_k=5)
    wanted = expected("l2", "a query", texts)[:5]
    assert [text for text, _ in found] == [text for _, text in wanted]
    np.testing.assert_allclose([distance for _, distance in found], [d for d, _ in wanted], rtol=1e-4)


def test_metric_follows_the_model():
    assert GaussianRetriever().metric == "cosine"
    assert GaussianRetriever(embedder=Wide()).metric == "l2"


def test_other_model_width_or_metric_is_refused(tmp_path):
    with pytest.raises(SpaceMismatchError, match="embedding_dim=512"):
        GaussianRetriever(embedding_dim=512)
    retriever = GaussianRetriever(embedder=Wide())
    retriever.add_documents(TEXTS)
    retriever.save(tmp_path / "index")
    with pytest.raises(SpaceMismatchError):
        GaussianRetriever.load(tmp_path / "index")
    with pytest.raises(SpaceMismatchError):
        GaussianRetriever.load(tmp_path / "index", embedder=Wide(), metric="cosine")
    assert len(GaussianRetriever.load(tmp_path / "index", embedder=Wide())) == 4
    with pytest.raises(StorageError):
        GaussianRetriever.load(tmp_path / "none")


@pytest.mark.parametrize("bad", ["text", [1], ["fine", " "], None])
def test_documents_that_are_none_are_refused_whole(bad):
    retriever = GaussianRetriever(embedder=Wide())
    with pytest.raises(InvalidInputError):
        retriever.add_documents(bad)
    assert len(retriever) == 0


def test_bad_queries_and_options_are_named():
    retriever = GaussianRetriever(embedder=Wide())
    assert retriever.retrieve("anything") == []
    for call in (lambda: retriever.retrieve(3), lambda: retriever.retrieve("a", 0)):
        with pytest.raises(InvalidInputError):
            call()
    with pytest.raises(InvalidInputError, match="metric"):
        GaussianRetriever(metric="dot")
    with pytest.raises(InvalidInputError, match="both"):
        GaussianRetriever("model", embedder=Wide())


def test_serves_as_an_embedder():
    from semantic_ranker.indexes import Passage, PassageIndex

    retriever = GaussianRetriever()
    index = PassageIndex(retriever)
    index.add([Passage(id=str(row), text=text) for row, text in enumerate(TEXTS)])
    assert index.search("password", mode="dense")[0].passage.text == TEXTS[3]
