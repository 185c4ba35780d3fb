"""Trained cross-encoder reranking for RAG, on a CPU, without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from semantic_ranker._version import __version__

if TYPE_CHECKING:
    from semantic_ranker.bm25 import BM25Index
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.embedder import Embedder
    from semantic_ranker.embedding.choice import choose_model
    from semantic_ranker.errors import (
        EmbeddingError,
        EvaluationError,
        InvalidInputError,
        ModelLoadError,
        NonFiniteScoreError,
        SemanticRankerError,
        SpaceMismatchError,
    )
    from semantic_ranker.evaluation import (
        Comparison,
        EmbedderEvaluator,
        Evaluation,
        PipelineEvaluator,
        RankerEvaluator,
        compare,
        evaluate,
    )
    from semantic_ranker.feedback import FeedbackLog, Interaction
    from semantic_ranker.gaussian import GaussianRetriever
    from semantic_ranker.indexes import Passage, PassageIndex
    from semantic_ranker.monitoring import Monitor
    from semantic_ranker.pipeline import RAGPipeline
    from semantic_ranker.ranking import RankedText
    from semantic_ranker.registry import ModelRegistry
    from semantic_ranker.retrieval import TwoStageRetriever
    from semantic_ranker.spaces import EmbeddingSpace

# Names are loaded at first use: an application that only scores never imports the evaluation's libraries.
_HOME = {
    "BM25Index": "bm25",
    "Comparison": "evaluation",
    "CrossEncoder": "cross_encoder",
    "Embedder": "embedder",
    "EmbedderEvaluator": "evaluation",
    "EmbeddingError": "errors",
    "EmbeddingSpace": "spaces",
    "Evaluation": "evaluation",
    "EvaluationError": "errors",
    "FeedbackLog": "feedback",
    "GaussianRetriever": "gaussian",
    "Interaction": "feedback",
    "InvalidInputError": "errors",
    "ModelLoadError": "errors",
    "ModelRegistry": "registry",
    "Monitor": "monitoring",
    "NonFiniteScoreError": "errors",
    "Passage": "indexes",
    "PassageIndex": "indexes",
    "PipelineEvaluator": "evaluation",
    "RAGPipeline": "pipeline",
    "RankedText": "ranking",
    "RankerEvaluator": "evaluation",
    "SemanticRankerError": "errors",
    "SpaceMismatchError": "errors",
    "TwoStageRetriever": "retrieval",
    "choose_model": "embedding.choice",
    "compare": "evaluation",
    "evaluate": "evaluation",
}

__all__ = [
    "BM25Index",
    "Comparison",
    "CrossEncoder",
    "Embedder",
    "EmbedderEvaluator",
    "EmbeddingError",
    "EmbeddingSpace",
    "Evaluation",
    "EvaluationError",
    "FeedbackLog",
    "GaussianRetriever",
    "Interaction",
    "InvalidInputError",
    "ModelLoadError",
    "ModelRegistry",
    "Monitor",
    "NonFiniteScoreError",
    "Passage",
    "PassageIndex",
    "PipelineEvaluator",
    "RAGPipeline",
    "RankedText",
    "RankerEvaluator",
    "SemanticRankerError",
    "SpaceMismatchError",
    "TwoStageRetriever",
    "__version__",
    "choose_model",
    "compare",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"semantic_ranker.{_HOME[name]}"), name)
    raise AttributeError(f"module 'semantic_ranker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
