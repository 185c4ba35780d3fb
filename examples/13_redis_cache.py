"""Keep vectors in memory and in Redis, so that processes share them; a Redis that is away costs nothing but speed.

Run: REDIS_URL=redis://localhost:6379 python examples/13_redis_cache.py
Needs: pip install "semantic-ranker[redis]", and a Redis
"""

from __future__ import annotations

import os

from semantic_ranker import Embedder
from semantic_ranker.cache import TieredCache

TEXTS = ["Guest Wi-Fi: ask the desk.", "Cats sleep all day.", "Guest Wi-Fi: ask the desk."]
NOWHERE = "redis://localhost:1"


def embed(url: str | None) -> str:
    """Embed with a new cache, as a process that starts does, and say what it found."""
    cache = TieredCache(url)
    vectors = Embedder(cache=cache).embed_documents(TEXTS)
    stats = cache.stats()
    return f"{len(vectors)} vectors, {stats.hits} found, {stats.misses} computed"


def main() -> None:
    """Embed in two "processes", then without Redis."""
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    print("first process: ", embed(url))
    print("second process:", embed(url))
    print("Redis is away: ", embed(NOWHERE))


if __name__ == "__main__":
    main()
