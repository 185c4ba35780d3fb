"""Reranking in two passes: a cheap one over all texts, the model over those that can still enter the top."""
