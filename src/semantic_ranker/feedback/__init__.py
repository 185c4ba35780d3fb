"""What an assistant learnt from its users: an append-only log, and what is made of it. Calls no model."""

from semantic_ranker.feedback.export import (
    Judgments,
    TrainingPair,
    to_judgments,
    to_pairs,
    write_judgments,
    write_pairs,
)
from semantic_ranker.feedback.log import FeedbackLog
from semantic_ranker.feedback.metrics import FeedbackMetrics, IntentMetrics, Percentiles, Share, measure
from semantic_ranker.feedback.reading import Reading
from semantic_ranker.feedback.records import Interaction, Retrieved, Review

__all__ = [
    "FeedbackLog",
    "FeedbackMetrics",
    "IntentMetrics",
    "Interaction",
    "Judgments",
    "Percentiles",
    "Reading",
    "Retrieved",
    "Review",
    "Share",
    "TrainingPair",
    "measure",
    "to_judgments",
    "to_pairs",
    "write_judgments",
    "write_pairs",
]
