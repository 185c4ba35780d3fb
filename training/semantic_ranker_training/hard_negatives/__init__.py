"""Mining of hard negatives: hybrid candidates, filters against false negatives, provenance."""

from semantic_ranker_training.hard_negatives.config import MiningConfig
from semantic_ranker_training.hard_negatives.job import mine_pairs
from semantic_ranker_training.hard_negatives.miner import HardNegativeMiner

__all__ = ["HardNegativeMiner", "MiningConfig", "mine_pairs"]
