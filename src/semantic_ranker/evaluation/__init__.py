"""Measures rankings, and says whether a difference is more than chance."""

from semantic_ranker.evaluation.citations import Citation, CitationFigures, check_citations
from semantic_ranker.evaluation.embedder import EMBEDDER_METRICS, EmbedderEvaluator, EmbedderReport
from semantic_ranker.evaluation.files import read_qrels_file, read_run_file
from semantic_ranker.evaluation.macro import MacroComparison, macro_compare, macro_interval
from semantic_ranker.evaluation.metrics import Evaluation, Qrels, Run, evaluate, rank_documents
from semantic_ranker.evaluation.names import canonical_metric
from semantic_ranker.evaluation.pipeline import PipelineEvaluator, PipelineReport, StageFigures
from semantic_ranker.evaluation.rag import (
    ContextFigures,
    Redundancy,
    Span,
    context_figures,
    locate,
    mean_context_figures,
    redundancy,
)
from semantic_ranker.evaluation.ranker import RankerEvaluator, RerankMetric, RerankReport
from semantic_ranker.evaluation.results import PipelineResult
from semantic_ranker.evaluation.seeds import SeedsComparison, SeedsMetric, compare_seeds
from semantic_ranker.evaluation.significance import Comparison, MetricComparison, compare, interval
from semantic_ranker.evaluation.slices import (
    Slice,
    SliceComparison,
    compare_slices,
    passage_length_groups,
    query_length_groups,
    source_groups,
)
from semantic_ranker.evaluation.systems import SystemsComparison, compare_many
from semantic_ranker.evaluation.tasks import JudgedQuery, RerankTask

__all__ = [
    "EMBEDDER_METRICS",
    "Citation",
    "CitationFigures",
    "Comparison",
    "ContextFigures",
    "EmbedderEvaluator",
    "EmbedderReport",
    "Evaluation",
    "JudgedQuery",
    "MacroComparison",
    "MetricComparison",
    "PipelineEvaluator",
    "PipelineReport",
    "PipelineResult",
    "Qrels",
    "RankerEvaluator",
    "Redundancy",
    "RerankMetric",
    "RerankReport",
    "RerankTask",
    "Run",
    "SeedsComparison",
    "SeedsMetric",
    "Slice",
    "SliceComparison",
    "Span",
    "StageFigures",
    "SystemsComparison",
    "canonical_metric",
    "check_citations",
    "compare",
    "compare_many",
    "compare_seeds",
    "compare_slices",
    "context_figures",
    "evaluate",
    "interval",
    "locate",
    "macro_compare",
    "macro_interval",
    "mean_context_figures",
    "passage_length_groups",
    "query_length_groups",
    "rank_documents",
    "read_qrels_file",
    "read_run_file",
    "redundancy",
    "source_groups",
]
