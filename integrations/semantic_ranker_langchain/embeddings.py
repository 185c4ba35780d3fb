"""`SemanticEmbeddings`: LangChain's embeddings over our `Embedder` and its cache; computes nothing itself."""

from __future__ import annotations

from typing import Annotated, Literal

from langchain_core.embeddings import Embeddings
from langchain_core.load.serializable import Serializable
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker._shared import EncoderHold
from semantic_ranker._shared_cache import cache_settings
from semantic_ranker._shared_embedder import shared_embedder
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.options import EmbedderOptions
from semantic_ranker.spaces import EmbeddingSpace
from semantic_ranker_langchain._settings import PositiveCount, _path_to_str


class SemanticEmbeddings(Serializable, Embeddings):
    """Embeds texts on this machine, with a cache that never gives a vector to another model, role or text.

    Queries and documents get the prompts that the model wants for them; texts are read as they are, line breaks and
    all. Instances are thread-safe, pickle without weights, and share one open model and one cache a process.

    Example:
        >>> from semantic_ranker_langchain import SemanticEmbeddings
        >>> embeddings = SemanticEmbeddings()
        >>> vectors = embeddings.embed_documents(["Cats sleep all day.", "Reset your password in Settings."])
        >>> len(vectors), len(vectors[0]) == embeddings.space.dim
        (2, True)
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str | None, BeforeValidator(_path_to_str)] = None
    """Name of the catalogue, sentence-transformers folder or hub id; None is the bundled static English model."""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    """Which weights to run; `auto` chooses by the machine."""
    backend: Literal["auto", "onnx", "torch"] = "auto"
    """What runs them; `auto` is ONNX where that is possible."""
    max_length: PositiveCount | None = None
    """Tokens read of a text; None is the model's own limit."""
    truncate_dim: PositiveCount | None = None
    """Components to keep, for models that were trained so."""
    query_prompt: str | None = None
    """Put in front of queries; None is the model's own."""
    document_prompt: str | None = None
    """Put in front of documents; None is the model's own."""
    cache_bytes: Annotated[int, Field(ge=0, strict=True)] = 64 * 1024 * 1024
    """What vectors kept in this process may take; 0 together with no `cache_url` keeps nothing."""
    cache_url: SecretStr | None = None
    """Redis that keeps vectors for other processes too, such as `redis://localhost:6379/0` (extra `redis`)."""
    cache_codec: Literal["fp16", "fp32", "int8"] = "fp16"
    """How kept vectors are stored."""

    _hold: EncoderHold = PrivateAttr(default_factory=EncoderHold)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `langchain_core.load.dumpd` writes the settings, never weights."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Return the name to pass to `load` as `valid_namespaces`."""
        return ["semantic_ranker_langchain"]

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The URL of Redis may hold a password: it is written as the name of a variable."""
        return {"cache_url": "SEMANTIC_RANKER_CACHE_URL"}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents, one vector of plain floats a text, in the order given.

        Raises:
            InvalidInputError: A text is not a string; `.index` says which.
            EmbeddingError: Every way to run the model failed.
            ModelLoadError: The model is absent, damaged or refused.
        """
        vectors: list[list[float]] = self._embedder().embed_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed one query; errors as `embed_documents`."""
        vector: list[float] = self._embedder().embed_queries([text])[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Do what `embed_documents` does on our own threads, so that the event loop stays free."""
        return await run_in_scoring_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Do what `embed_query` does on our own threads, so that the event loop stays free."""
        return await run_in_scoring_thread(self.embed_query, text)

    @property
    def space(self) -> EmbeddingSpace:
        """Where the vectors lie: store it beside an index, and `require` it when the index is opened."""
        return self._embedder().space

    def _embedder(self) -> Embedder:
        """Return the open embedder for the present settings."""
        options = EmbedderOptions(
            model=self.model,
            precision=self.precision,
            backend=self.backend,
            max_length=self.max_length,
            truncate_dim=self.truncate_dim,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
        )
        cache = cache_settings(self.cache_bytes, self.cache_url, self.cache_codec)
        embedder = shared_embedder(options, cache)
        self._hold = EncoderHold(embedder)
        return embedder
