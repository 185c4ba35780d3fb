"""Isotropic embeddings: SIGReg, training with it, and centring and whitening without any training."""

from semantic_ranker_training.gaussian.config import GaussianConfig
from semantic_ranker_training.gaussian.loss import IsotropicLoss
from semantic_ranker_training.gaussian.pseudo import pseudo_queries
from semantic_ranker_training.gaussian.report import isotropy, isotropy_table, partition_ratio
from semantic_ranker_training.gaussian.sigreg import epps_pulley, sigreg
from semantic_ranker_training.gaussian.trainer import GaussianResult, GaussianTrainer
from semantic_ranker_training.gaussian.whitening import Whitening, choose_power, write_whitened

__all__ = [
    "GaussianConfig",
    "GaussianResult",
    "GaussianTrainer",
    "IsotropicLoss",
    "Whitening",
    "choose_power",
    "epps_pulley",
    "isotropy",
    "isotropy_table",
    "partition_ratio",
    "pseudo_queries",
    "sigreg",
    "write_whitened",
]
