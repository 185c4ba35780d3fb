"""Keeps vectors between calls: a memory tier, and Redis behind it where there is one."""

from semantic_ranker.cache.codec import Codec
from semantic_ranker.cache.redis_tier import RedisOptions
from semantic_ranker.cache.stats import CacheStats, TierStats
from semantic_ranker.cache.tiered import TieredCache

__all__ = ["CacheStats", "Codec", "RedisOptions", "TierStats", "TieredCache"]
