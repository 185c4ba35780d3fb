"""Readers and writers of training data: every format becomes `Group` or `Record`. Fetches nothing by itself."""

from semantic_ranker_training.data.beir import read_beir, write_beir
from semantic_ranker_training.data.duplicates import near_duplicate_clusters
from semantic_ranker_training.data.groups import read_groups, write_groups
from semantic_ranker_training.data.lines import Reading
from semantic_ranker_training.data.records import Group, Record, Triple, as_groups, group_records
from semantic_ranker_training.data.splits import LeakageReport, Split, leakage, split_groups

__all__ = [
    "Group",
    "LeakageReport",
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
    "split_groups",
    "write_beir",
    "write_groups",
]
