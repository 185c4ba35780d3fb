"""Rerank many questions on all cores, or all machines, of a Ray cluster: each actor opens the model once.

Run: python examples/17_ray.py
Needs: pip install "semantic-ranker[ray]"
"""

from __future__ import annotations

import logging
import os
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

import ray
from staff_handbook import load_questions, load_sections

from semantic_ranker import BM25Index, CrossEncoder

SECTIONS = [section for section in load_sections() if section.language == "en"]


class Rerank:
    """What an actor keeps between batches; Ray sends it its share of the rows."""

    def __init__(self) -> None:
        self.encoder = CrossEncoder(threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Rank the candidates of each question of a batch."""
        best = []
        for query, texts in zip(batch["query"], batch["texts"], strict=True):
            best.append(self.encoder.rank(str(query), [str(text) for text in texts], top_k=1)[0])
        return {**batch, "place": [hit.index for hit in best], "score": [hit.relevance_score for hit in best]}


def main() -> None:
    """Find with BM25, rerank in two actors, and say for how many questions the first section changed."""
    questions = [question.text for question in load_questions() if question.language == "en"][:12]
    index = BM25Index([section.text for section in SECTIONS])
    found = index.search_many(questions, 10)
    rows = [
        {"query": query, "texts": [SECTIONS[row].text for row, _ in hits], "ids": [SECTIONS[row].id for row, _ in hits]}
        for query, hits in zip(questions, found, strict=True)
    ]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    actors = ray.data.ActorPoolStrategy(size=2)
    ranked = ray.data.from_items(rows).map_batches(Rerank, batch_size=4, compute=actors).take_all()
    ray.shutdown()
    print(f"{len(ranked)} questions, {sum(row['place'] != 0 for row in ranked)} with another section first")
    for row in sorted(ranked, key=lambda row: -row["score"])[:3]:
        print(f"  {row['score']:.3f} {row['ids'][row['place']]}: {row['query']}")


if __name__ == "__main__":
    main()
