"""Pages that people read: one file of HTML with plots in it, without scripts, in light and dark."""

from semantic_ranker.reports.page import Cell, Page

__all__ = ["Cell", "Page"]
