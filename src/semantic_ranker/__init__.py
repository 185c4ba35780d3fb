"""Trained cross-encoder reranking for RAG, on a CPU, without torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from semantic_ranker._version import __version__

if TYPE_CHECKING:
    from semantic_ranker.bm25 import BM25Index
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.errors import (
        EvaluationError,
        InvalidInputError,
        ModelLoadError,
        NonFiniteScoreError,
        SemanticRankerError,
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
    from semantic_ranker.ranking import RankedText

# Names are loaded at first use: an application that only scores never imports the evaluation's libraries.
_HOME = {
    "BM25Index": "bm25",
    "Comparison": "evaluation",
    "CrossEncoder": "cross_encoder",
    "EmbedderEvaluator": "evaluation",
    "Evaluation": "evaluation",
    "EvaluationError": "errors",
    "InvalidInputError": "errors",
    "ModelLoadError": "errors",
    "NonFiniteScoreError": "errors",
    "PipelineEvaluator": "evaluation",
    "RankedText": "ranking",
    "RankerEvaluator": "evaluation",
    "SemanticRankerError": "errors",
    "compare": "evaluation",
    "evaluate": "evaluation",
}

__all__ = [
    "BM25Index",
    "Comparison",
    "CrossEncoder",
    "EmbedderEvaluator",
    "Evaluation",
    "EvaluationError",
    "InvalidInputError",
    "ModelLoadError",
    "NonFiniteScoreError",
    "PipelineEvaluator",
    "RankedText",
    "RankerEvaluator",
    "SemanticRankerError",
    "__version__",
    "compare",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"semantic_ranker.{_HOME[name]}"), name)
    raise AttributeError(f"module 'semantic_ranker' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
