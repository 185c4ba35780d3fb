"""Readers and writers of training data: every format becomes `Group` or `Record`. Fetches nothing by itself."""

from semantic_ranker_training.data.groups import read_groups, write_groups
from semantic_ranker_training.data.lines import Reading
from semantic_ranker_training.data.records import Group, Record, Triple, as_groups, group_records

__all__ = ["Group", "Reading", "Record", "Triple", "as_groups", "group_records", "read_groups", "write_groups"]
