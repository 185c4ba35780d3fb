"""Measures embeddings: similarity, clusters, retrieval, geometry, and what quantisation costs."""

from semantic_ranker.embedding_quality.clustering import clustering_scores
from semantic_ranker.embedding_quality.geometry import (
    Geometry,
    alignment,
    average_cosine,
    effective_rank,
    geometry,
    hubness,
    iso_score,
    participation_ratio,
    top_component_share,
    uniformity,
)
from semantic_ranker.embedding_quality.quantization import QuantizationImpact, quantization_impact
from semantic_ranker.embedding_quality.retrieval import retrieval_scores
from semantic_ranker.embedding_quality.similarity import similarity_scores

__all__ = [
    "Geometry",
    "QuantizationImpact",
    "alignment",
    "average_cosine",
    "clustering_scores",
    "effective_rank",
    "geometry",
    "hubness",
    "iso_score",
    "participation_ratio",
    "quantization_impact",
    "retrieval_scores",
    "similarity_scores",
    "top_component_share",
    "uniformity",
]
