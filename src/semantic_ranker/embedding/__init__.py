"""Parts of `semantic_ranker.embedder`: backends, precision, fallback, index vectors."""
