"""Readers and writers of training data: every format becomes `Group` or `Record`. Fetches nothing by itself."""

from semantic_ranker_training.data.beir import read_beir, write_beir
from semantic_ranker_training.data.duplicates import near_duplicate_clusters
from semantic_ranker_training.data.groups import read_groups, write_groups
from semantic_ranker_training.data.hub import read_hub
from semantic_ranker_training.data.lines import Reading
from semantic_ranker_training.data.loaders import DataPreprocessor, MSMARCODataLoader
from semantic_ranker_training.data.msmarco import read_msmarco
from semantic_ranker_training.data.records import Group, Record, Triple, as_groups, group_records
from semantic_ranker_training.data.splits import LeakageReport, Split, leakage, split_groups

__all__ = [
    "DataPreprocessor",
    "Group",
    "LeakageReport",
    "MSMARCODataLoader",
    "Reading",
    "Record",
    "Split",
    "Triple",
    "as_groups",
    "group_records",
    "leakage",
    "near_duplicate_clusters",
    "read_beir",
    "read_groups",
    "read_hub",
    "read_msmarco",
    "split_groups",
    "write_beir",
    "write_groups",
]
