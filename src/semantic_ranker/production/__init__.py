"""The checklist before a reranker goes to users: each line is verified by running it."""

from semantic_ranker.production.checklist import Checklist, Line, Needs, State, check_production

__all__ = ["Checklist", "Line", "Needs", "State", "check_production"]
