"""`SemanticEmbedding`: LlamaIndex's embedding over our `Embedder` and its cache; computes nothing itself."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
)

from semantic_ranker._executor import run_in_scoring_thread
from semantic_ranker._shared import EncoderHold
from semantic_ranker._shared_cache import cache_settings
from semantic_ranker._shared_embedder import shared_embedder
from semantic_ranker.config import CacheSettings
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.options import EmbedderOptions
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.spaces import EmbeddingSpace

PositiveCount = Annotated[int, Field(gt=0, strict=True)]


def _path_to_str(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class SemanticEmbedding(BaseEmbedding):
    """Embeds texts on this machine, with a cache that never gives a vector to another model, role or text.

    Queries and documents get the prompts that the model wants for them; texts are read as they are, line breaks and
    all, in whole batches. Instances are thread-safe, pickle without weights, and share one open model and one cache a
    process.

    `to_dict` is what an ingestion cache takes for its key: it holds what changes a vector, and nothing else. To write
    the settings down, use `to_json`.

    Example:
        >>> from semantic_ranker_llama_index import SemanticEmbedding
        >>> embedding = SemanticEmbedding()
        >>> len(embedding.get_text_embedding("Cats sleep all day.")) == embedding.space.dim
        True
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    model: Annotated[str | None, BeforeValidator(_path_to_str)] = Field(
        default=None,
        description="Name of the catalogue, sentence-transformers folder or hub id; None is the bundled static model.",
    )
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        default="auto", description="Which weights to run; auto chooses by the machine."
    )
    backend: Literal["auto", "onnx", "torch"] = Field(
        default="auto", description="What runs them; auto is ONNX where that is possible."
    )
    max_length: PositiveCount | None = Field(
        default=None, description="Tokens read of a text; None is the model's own limit."
    )
    truncate_dim: PositiveCount | None = Field(
        default=None, description="Components to keep, for models that were trained so."
    )
    query_prompt: str | None = Field(default=None, description="Put in front of queries; None is the model's own.")
    document_prompt: str | None = Field(default=None, description="Put in front of documents; None is the model's own.")
    cache_bytes: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=64 * 1024 * 1024,
        description="What vectors kept in this process may take; 0 together with no cache_url keeps nothing.",
    )
    cache_url: SecretStr | None = Field(
        default=None, exclude=True, description="Redis that keeps vectors for other processes too (extra redis)."
    )
    cache_codec: Literal["fp16", "fp32", "int8"] = Field(default="fp16", description="How kept vectors are stored.")
    model_name: str = Field(default="", description="What traces call the model; follows `model`.")
    embed_batch_size: int = Field(default=256, gt=0, le=2048, description="Texts handed to the model at a time.")

    _hold: EncoderHold = PrivateAttr(default_factory=EncoderHold)

    @field_validator("embeddings_cache")
    @classmethod
    def _own_cache_only(cls, value: object) -> object:
        if value is not None:
            raise ValueError(
                "expected no embeddings_cache, got one: it finds vectors by the text alone, so that two models, or "
                "queries and documents, get each other's; use cache_url or cache_bytes"
            )
        return value

    def model_post_init(self, context: Any, /) -> None:
        """Give traces the model's name."""
        super().model_post_init(context)
        self.model_name = self.model_name or self.model or "embedder-static-en"

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises this class; it never changes."""
        return "SemanticEmbedding"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return what changes a vector: class, embedding space and the codec of the cache. Opens the model."""
        codec = self.cache_codec if self._cache_settings() is not None else None
        return {"class_name": self.class_name(), "space": self.space.fingerprint, "codec": codec}

    def to_json(self, **kwargs: Any) -> str:
        """Return the settings without the URL of Redis; `from_json` reads them."""
        return self.model_dump_json(**kwargs)

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> SemanticEmbedding:
        """Rebuild from what `model_dump` gives; what `to_dict` gives is a key, from which no model can be opened."""
        if "space" in data:
            raise InvalidInputError("Expected the settings of a SemanticEmbedding, got its key: write it with to_json.")
        return super().from_dict(data, **kwargs)

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._embedder().embed_queries([query])[0].tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._embedder().embed_documents(texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await run_in_scoring_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await run_in_scoring_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await run_in_scoring_thread(self._get_text_embeddings, texts)

    @property
    def space(self) -> EmbeddingSpace:
        """Where the vectors lie: store it beside an index, and `require` it when the index is opened."""
        return self._embedder().space

    def _cache_settings(self) -> CacheSettings | None:
        return cache_settings(self.cache_bytes, self.cache_url, self.cache_codec)

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
        embedder = shared_embedder(options, self._cache_settings())
        self._hold = EncoderHold(embedder)
        return embedder
