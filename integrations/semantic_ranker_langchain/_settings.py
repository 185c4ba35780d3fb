"""Fields that every LangChain class of ours has: which model, opened how. Scores nothing."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from langchain_core.load.serializable import Serializable
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from semantic_ranker._shared import EncoderHold, shared_cross_encoder
from semantic_ranker._shared_cache import cache_settings
from semantic_ranker.cross_encoder import CrossEncoder

PositiveCount = Annotated[int, Field(gt=0, strict=True)]
"""A number of documents or tokens: 1 or more; `True`, `2.0` and `"2"` are refused."""


def _path_to_str(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class ModelSettings(Serializable):
    """The model of an adapter, opened at the first use and shared by all adapters that ask for the same."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str | None, BeforeValidator(_path_to_str)] = None
    """Model folder or hub id; None is the bundled English model."""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    """Which weights of the model to open; `auto` takes int8 where there is one."""
    max_length: PositiveCount | None = None
    """Tokens of query and text together; None is the model's own limit."""
    long_text: Literal["truncate", "windows"] = "truncate"
    """Longer texts are cut, or scored in overlapping windows of which the best one counts."""

    states: Annotated[str | None, BeforeValidator(_path_to_str)] = None
    """Folder that `CrossEncoder.precompute` or `semantic-ranker precompute` wrote: its passages rank at once."""
    score_cache_bytes: Annotated[int, Field(ge=0, strict=True)] = 0
    """What scores of pairs kept in this process may take; 0 together with no `score_cache_url` keeps none."""
    score_cache_url: SecretStr | None = None
    """Redis that keeps scores for other processes too, such as `redis://localhost:6379/0` (extra `redis`)."""

    _hold: EncoderHold = PrivateAttr(default_factory=EncoderHold)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `langchain_core.load.dumpd` writes the settings, never weights."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Return the name to pass to `load` as `valid_namespaces`."""
        return ["semantic_ranker_langchain"]

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The URL of Redis may hold a password: it is written as the name of a variable."""
        return {"score_cache_url": "SEMANTIC_RANKER_SCORE_CACHE_URL"}

    def _encoder(
        self,
        other_languages: Literal["keep_order", "score"] = "keep_order",
        mode: Literal["full", "cascade"] = "full",
        source_weight: float | None = None,
    ) -> CrossEncoder:
        """Return the open scorer for the present settings."""
        encoder = shared_cross_encoder(
            self.model,
            precision=self.precision,
            max_length=self.max_length,
            long_text=self.long_text,
            other_languages=other_languages,
            states=self.states,
            mode=mode,
            source_weight=source_weight,
            score_cache=cache_settings(self.score_cache_bytes, self.score_cache_url, "fp32"),
        )
        self._hold = EncoderHold(encoder)
        return encoder
