"""The models and the index behind a server: one call a request, without HTTP. Thread-safe as they are."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantic_ranker._version import __version__
from semantic_ranker.context import build_context
from semantic_ranker.documents.tokens import estimate_tokens
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.server.wire import EmbeddingRequest, QueryRequest, RerankRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.indexes.embedder import IndexEmbedder
    from semantic_ranker.pipeline import RAGPipeline
    from semantic_ranker.ranking import RankedText


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back.

    Attributes:
        content: JSON values.
        texts: How many texts were computed.
        degraded: Why the answer is second best, or None.
    """

    content: Any
    texts: int = 0
    degraded: str | None = None


class Service:
    """A reranker, an embedder and, if there is one, an index with both.

    Args:
        reranker: Orders texts.
        embedder: Embeds texts.
        pipeline: Answers ``/query``, or a function that returns what does now; None has no index.

    Example:
        >>> from semantic_ranker.server import Service
        >>> from semantic_ranker.server.wire import RerankRequest
        >>> from semantic_ranker.testing import FakeCrossEncoder, FakeEmbedder
        >>> service = Service(FakeCrossEncoder(), FakeEmbedder())
        >>> found = service.rerank_tei(RerankRequest(query="blue whale", texts=["a cat", "the blue whale"]))
        >>> [item["index"] for item in found.content]
        [1, 0]
    """

    def __init__(
        self,
        reranker: CrossEncoder,
        embedder: IndexEmbedder,
        pipeline: RAGPipeline | Callable[[], RAGPipeline] | None = None,
    ) -> None:
        self._reranker, self._embedder = reranker, embedder
        given: Any = pipeline  # a pipeline is no function, which a type checker cannot know
        self._pipeline: Callable[[], RAGPipeline | None] = given if callable(given) else _always(given)

    def warm(self) -> None:
        """Open the models, so that the first request does not wait for them.

        Raises:
            ModelLoadError: A model is absent or refused.
        """
        self._reranker.score("warm", ["up"])
        self._embedder.embed_queries(["warm up"])
        if (pipeline := self._pipeline()) is not None:
            pipeline.retrieve("warm up")

    def info(self) -> dict[str, Any]:
        """Return names and sizes of what is served."""
        pipeline = self._pipeline()
        index = None if pipeline is None else {"passages": len(pipeline.index)}
        return {
            "version": __version__,
            "reranker": self._reranker.model_name,
            "embedder": self._embedder.space.model,
            "dimensions": self._embedder.space.dim,
            "index": index,
        }

    def models(self) -> dict[str, Any]:
        """Return OpenAI's list of models."""
        names = (self._reranker.model_name, self._embedder.space.model)
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 0, "owned_by": "semantic-ranker"} for name in names],
        }

    def rerank_jina(self, request: RerankRequest) -> Reply:
        """Return what Jina's and Cohere's clients read."""
        ranked, degraded = self._ranked(request)
        warnings = [*request.warnings, *([f"second best: {degraded}"] if degraded else [])]
        tokens = estimate_tokens(request.query) * len(request.texts) + sum(map(estimate_tokens, request.texts))
        content = {
            "id": uuid.uuid4().hex,
            "object": "list",
            "model": self._reranker.model_name,
            "results": [
                {
                    "index": item.index,
                    "relevance_score": item.relevance_score,
                    **({"document": {"text": item.text}} if request.return_texts else {}),
                }
                for item in ranked
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"search_units": 0},
                **({"warnings": warnings} if warnings else {}),
            },
        }
        return Reply(content, len(request.texts), degraded)

    def rerank_tei(self, request: RerankRequest) -> Reply:
        """Return what clients of text-embeddings-inference read: a bare list, best first."""
        ranked, degraded = self._ranked(request)
        content = [
            {
                "index": item.index,
                "score": item.logit if request.raw_scores else item.relevance_score,
                **({"text": item.text} if request.return_texts else {}),
            }
            for item in ranked
        ]
        return Reply(content, len(request.texts), degraded)

    def embeddings(self, request: EmbeddingRequest) -> Reply:
        """Return what OpenAI's client reads.

        Raises:
            InvalidInputError: Vectors of another length than the model's are asked for.
        """
        space = self._embedder.space
        if request.dimensions not in (None, space.dim):
            raise InvalidInputError(
                f"Expected dimensions {space.dim}, which {space.model} has, got {request.dimensions}."
            )
        embed = self._embedder.embed_queries if request.role == "q" else self._embedder.embed_documents
        vectors = embed(request.texts)
        tokens = sum(map(estimate_tokens, request.texts))
        content = {
            "object": "list",
            "model": space.model,
            "data": [
                {"object": "embedding", "index": place, "embedding": vector}
                for place, vector in enumerate(_encoded(vectors, request.base64))
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return Reply(content, len(request.texts))

    def query(self, request: QueryRequest) -> Reply:
        """Return passages of the index for a question.

        Raises:
            LookupError: No index is served.
        """
        if (pipeline := self._pipeline()) is None:
            raise LookupError("No index is served: start with `semantic-ranker serve INDEX`.")
        found = pipeline.retrieve(request.query, request.top_k, where=request.where)
        content = found.to_dict()
        if request.context:
            context = build_context(found, max_tokens=request.max_tokens)
            content["context"] = {"text": context.text, "tokens": context.tokens, "cut": context.cut}
        return Reply(content, len(found.candidates), found.degraded)

    def _ranked(self, request: RerankRequest) -> tuple[list[RankedText], str | None]:
        ranked = self._reranker.rank(request.query, request.texts, request.top_n)
        return ranked, next((item.degraded for item in ranked if item.degraded), None)


def _always(pipeline: RAGPipeline | None) -> Callable[[], RAGPipeline | None]:
    return lambda: pipeline


def _encoded(vectors: NDArray[Any], as_base64: bool) -> Sequence[str | list[float]]:
    if not as_base64:
        rows: list[list[float]] = vectors.astype("<f4").tolist()
        return rows
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii") for vector in vectors]
