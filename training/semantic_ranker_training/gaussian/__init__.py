"""Isotropic embeddings: SIGReg, training with it, and centring and whitening without any training."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semantic_ranker_training.gaussian.config import GaussianConfig
    from semantic_ranker_training.gaussian.loss import IsotropicLoss
    from semantic_ranker_training.gaussian.pseudo import pseudo_queries
    from semantic_ranker_training.gaussian.report import isotropy, isotropy_table, partition_ratio
    from semantic_ranker_training.gaussian.sigreg import epps_pulley
    from semantic_ranker_training.gaussian.trainer import GaussianResult, GaussianTrainer
    from semantic_ranker_training.gaussian.whitening import Whitening, choose_power, write_whitened

# Names are loaded at first use: fitting a layer needs no trainer, and the trainer's libraries take seconds.
_HOME = {
    "GaussianConfig": "config",
    "GaussianResult": "trainer",
    "GaussianTrainer": "trainer",
    "IsotropicLoss": "loss",
    "Whitening": "whitening",
    "choose_power": "whitening",
    "epps_pulley": "sigreg",
    "isotropy": "report",
    "isotropy_table": "report",
    "partition_ratio": "report",
    "pseudo_queries": "pseudo",
    "write_whitened": "whitening",
}

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
    "write_whitened",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
