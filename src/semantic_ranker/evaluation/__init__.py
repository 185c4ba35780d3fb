"""Measures rankings, and says whether a difference is more than chance."""

from semantic_ranker.evaluation.macro import MacroComparison, macro_compare, macro_interval
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate, rank_documents
from semantic_ranker.evaluation.names import canonical_metric
from semantic_ranker.evaluation.ranker import RankerEvaluator, RerankMetric, RerankReport
from semantic_ranker.evaluation.significance import Comparison, MetricComparison, compare, interval
from semantic_ranker.evaluation.systems import SystemsComparison, compare_many
from semantic_ranker.evaluation.tasks import JudgedQuery, RerankTask

__all__ = [
    "Comparison",
    "Evaluation",
    "JudgedQuery",
    "MacroComparison",
    "MetricComparison",
    "Qrels",
    "RankerEvaluator",
    "RerankMetric",
    "RerankReport",
    "RerankTask",
    "Run",
    "SystemsComparison",
    "canonical_metric",
    "compare",
    "compare_many",
    "evaluate",
    "interval",
    "macro_compare",
    "macro_interval",
    "rank_documents",
]
