"""How a model wants to be scored: read from ``semantic_ranker.json``, or from ``config.json`` alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from semantic_ranker.errors import ModelLoadError

MANIFEST = "semantic_ranker.json"
SCHEMA_VERSION = 1
_USUAL_LENGTH = 512
_LEAST_LENGTH, _MOST_LENGTH = 8, 100_000
_UNSAFE_KEYS = ("auto_map", "trust_remote_code", "_attn_implementation_internal")
# These families' position tables begin with two rows that no token uses.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What a folder says about scoring.

    Attributes:
        name: Name for reports.
        layout: ``segments`` for ``[CLS] query [SEP] [CLS] text [SEP]``, ``pair`` for the tokenizer's own template.
        max_length: Tokens of one input, specials included, where the caller asks for no other number.
        length_limit: The most tokens that the model can read.
        max_query_tokens: Tokens kept of a query.
        activation: What `CrossEncoder.predict` applies to logits.
        scale: Calibration: ``relevance = sigmoid(scale * logit + bias)``; above 0, so that relevance keeps the order.
        bias: See ``scale``.
        languages: ISO 639-1 codes that the model was made for; empty when unknown.
        source_weight: Share of the best passage of the same source in a passage's score, 0 to 1.
    """

    name: str
    layout: Literal["segments", "pair"] = "pair"
    max_length: int = _USUAL_LENGTH
    length_limit: int = _USUAL_LENGTH
    max_query_tokens: int = _USUAL_LENGTH // 2
    activation: Literal["identity", "sigmoid"] = "sigmoid"
    scale: float = 1.0
    bias: float = 0.0
    languages: tuple[str, ...] = ()
    source_weight: float = 0.0

    @classmethod
    def of_manifest(cls, manifest: dict[str, Any], config: dict[str, Any], *, default_name: str) -> Self:
        """Read ``semantic_ranker.json``.

        Raises:
            ModelLoadError: It was written for another kind or version, or a value is out of range.
        """
        _check_kind(manifest)
        calibration = _part(manifest, "calibration", dict, {})
        scale = _number(calibration, "scale", 1.0, "calibration.scale")
        if scale <= 0:
            raise ModelLoadError(f"Expected calibration.scale above 0 in {MANIFEST}, got {scale!r}.")
        share = _number(manifest, "source_weight", 0.0, "source_weight")
        if not 0.0 <= share <= 1.0:
            raise ModelLoadError(f"Expected source_weight from 0 to 1 in {MANIFEST}, got {share!r}.")
        max_length = _count(manifest, "max_length", _USUAL_LENGTH, _LEAST_LENGTH)
        return cls(
            name=_part(manifest, "name", str, default_name),
            layout=_choice(manifest, "input_layout", ("pair", "segments")),
            max_length=max_length,
            length_limit=max(max_length, _positions(config) or 0),
            max_query_tokens=_count(manifest, "max_query_tokens", max_length // 2, 1),
            activation=_choice(manifest, "activation", ("sigmoid", "identity")),
            scale=scale,
            bias=_number(calibration, "bias", 0.0, "calibration.bias"),
            languages=tuple(str(code) for code in _part(manifest, "languages", list, [])),
            source_weight=share,
        )

    @classmethod
    def of_config(
        cls,
        config: dict[str, Any],
        tokenizer_config: dict[str, Any],
        *,
        name: str,
        library_config: dict[str, Any] | None = None,
    ) -> Self:
        """Read a plain Hugging Face, sentence-transformers or optimum export.

        Args:
            config: ``config.json``.
            tokenizer_config: ``tokenizer_config.json``, or nothing.
            name: Name for reports.
            library_config: ``config_sentence_transformers.json``, where sentence-transformers 6 keeps the activation.
        """
        limits = [limit for limit in (_positions(config), _length(tokenizer_config.get("model_max_length"))) if limit]
        limit = min(limits, default=_USUAL_LENGTH)
        max_length = min(limit, _USUAL_LENGTH)
        return cls(
            name=name,
            max_length=max_length,
            length_limit=limit,
            max_query_tokens=max_length // 2,
            activation="identity" if _activation_name(config, library_config or {}).endswith("Identity") else "sigmoid",
        )


def refuse_unsafe_config(config: Any) -> None:
    """Refuse a ``config.json`` that asks a library to run code, wherever the key hides.

    Raises:
        ModelLoadError: It contains ``auto_map`` or a relative of it.
    """
    # A list of work instead of recursion: nesting deep enough to exhaust the stack must not be a way round.
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for key in _UNSAFE_KEYS:
                if part.get(key):
                    raise ModelLoadError(
                        f"Refused config.json: {key!r} makes a library run code from the model folder; remove the key."
                    )
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def check_one_label(config: dict[str, Any]) -> None:
    """Refuse a ``config.json`` of a classifier.

    Raises:
        ModelLoadError: It names more than one label.
    """
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 1)
    if isinstance(count, int) and count > 1:
        raise ModelLoadError(
            f"Expected one label in config.json, got {count}: this is a {count}-label classifier; "
            "a reranker is trained and exported with num_labels=1."
        )


def _check_kind(manifest: dict[str, Any]) -> None:
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ModelLoadError(
            f"Expected schema_version {SCHEMA_VERSION} in {MANIFEST}, got {manifest.get('schema_version')!r}: "
            "the folder was written by another version of semantic-ranker; export the model again."
        )
    if manifest.get("kind") != "reranker":
        raise ModelLoadError(f"Expected kind 'reranker' in {MANIFEST}, got {manifest.get('kind')!r}.")


def _positions(config: dict[str, Any]) -> int | None:
    positions = _length(config.get("max_position_embeddings"))
    if positions is not None and config.get("model_type") in _OFFSET_POSITIONS:
        return positions - 2
    return positions


def _length(value: Any) -> int | None:
    # Tokenizers without a limit say 1e30.
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and _LEAST_LENGTH <= value <= _MOST_LENGTH
    return int(value) if known else None


def _activation_name(config: dict[str, Any], library_config: dict[str, Any]) -> str:
    section = config.get("sentence_transformers")
    current = section.get("activation_fn") if isinstance(section, dict) else None
    # In the order of sentence-transformers 6; the last key is what it wrote before 4.0.
    found = library_config.get("activation_fn") or current or config.get("sbert_ce_default_activation_function")
    return str(found or "Sigmoid")


def _part(values: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    value = values.get(key, default)
    if not isinstance(value, kind):
        raise ModelLoadError(f"Expected {key} in {MANIFEST} to be a {kind.__name__}, got {type(value).__name__}.")
    return value


def _choice(values: dict[str, Any], key: str, choices: tuple[str, str]) -> Any:
    value = values.get(key, choices[0])
    if value not in choices:
        raise ModelLoadError(f"Expected {key} {choices[0]!r} or {choices[1]!r} in {MANIFEST}, got {value!r}.")
    return value


def _count(values: dict[str, Any], key: str, default: int, least: int) -> int:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST_LENGTH:
        raise ModelLoadError(
            f"Expected {key} in {MANIFEST} to be an int from {least} to {_MOST_LENGTH}, got {value!r}."
        )
    return value


def _number(values: dict[str, Any], key: str, default: float, shown: str) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelLoadError(f"Expected {shown} in {MANIFEST} to be a finite number, got {value!r}.")
    return float(value)
