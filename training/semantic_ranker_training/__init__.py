"""Train, mine, tune and export rerankers for `semantic_ranker` (extra ``training``)."""
