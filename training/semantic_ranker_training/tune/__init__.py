"""From a folder of documents to a reranker proved better on them, or an honest answer that it is not."""

from semantic_ranker_training.tune.fit import FitSettings
from semantic_ranker_training.tune.options import TuneOptions
from semantic_ranker_training.tune.run import TuneResult, tune, work_folder
from semantic_ranker_training.tune.verdict import EXIT, Verdict

__all__ = ["EXIT", "FitSettings", "TuneOptions", "TuneResult", "Verdict", "tune", "work_folder"]
