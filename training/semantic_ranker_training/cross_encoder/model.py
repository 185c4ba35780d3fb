"""Opens a base as a one-logit cross-encoder, and decides which of its layers are there and learn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_HEADS = ("classifier", "score", "out_proj")
_HEAD_PARTS = ("pooler", "pre_classifier", "head")
_CPU_BF16 = "avx512_bf16"


def open_base(folder: Path, config: TrainingConfig) -> CrossEncoder:
    """Open an encoder, a bi-encoder or a cross-encoder as a cross-encoder of one logit, activation identity.

    Args:
        folder: With ``config.json`` and safetensors. A head that is not there is initialised by ``config.seed``.
        config: The settings; layers are dropped and frozen as they say.

    Raises:
        ModelLoadError: It is no encoder, has more than one label, cannot be read, or has no tokenizer.
        InvalidInputError: ``keep_layers`` or ``freeze_layers`` is more than it has, or ``max_length`` is more than it
            reads, or the device does not exist.
    """
    from sentence_transformers import CrossEncoder

    _check_config(folder)
    device = _device(config.device)
    torch.manual_seed(config.seed)
    with quiet_library():
        try:
            model = CrossEncoder(
                str(folder),
                num_labels=1,
                max_length=config.max_length,
                activation_fn=nn.Identity(),
                device=device,
                local_files_only=True,
            )
        except Exception as error:  # the library lets everything through: OSError, ValueError, SafetensorError, ...
            raise ModelLoadError(
                f"Expected a base with readable weights and tokenizer at {str(folder)!r}, got {type(error).__name__}: "
                f"{error}"
            ) from error
    limit = getattr(model.model.config, "max_position_embeddings", None)
    if isinstance(limit, int) and config.max_length > limit:
        raise InvalidInputError(
            f"Expected max_length of at most {limit}, which the base reads, got {config.max_length}."
        )
    # Set by the recipe of the base otherwise, in which the logits were trained behind a sigmoid.
    model.model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
    model.activation_fn = nn.Identity()
    _drop_layers(model.model, config.keep_layers)
    _freeze(model.model, config)
    return model


def head_names(model: Any) -> list[str]:
    """Return the names of the modules on top of the layers: the last projection and what feeds it.

    Raises:
        ModelLoadError: There is no projection that we know.
    """
    base = getattr(model, "base_model_prefix", "")
    own = [name for name, _ in model.named_children() if name != base]
    if not any(name in _HEADS for name in own):
        raise ModelLoadError(f"Expected a head named {', '.join(_HEADS)} in {type(model).__name__}, got {own}.")
    inner = [name for name, _ in model.base_model.named_children() if name == "pooler"]
    learns = [name for name in own if name in (*_HEADS, *_HEAD_PARTS) and list(model.get_submodule(name).parameters())]
    return list(dict.fromkeys(learns + inner))


def layers_of(model: Any) -> nn.ModuleList:
    """Return the encoder's layers.

    Raises:
        ModelLoadError: No list of modules has as many entries as the configuration names layers.
    """
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelLoadError(f"Expected a list of {count} layers in {type(model).__name__}, found none.")


def check_precision(config: TrainingConfig) -> None:
    """Refuse a mixed precision that the device does not compute.

    Raises:
        InvalidInputError: It does not.
    """
    device = _device(config.device)
    if config.mixed_precision == "fp16" and device == "cpu":
        raise InvalidInputError(
            "Expected a GPU for mixed_precision='fp16', got a CPU: take 'no', or 'bf16' where it helps."
        )
    if config.mixed_precision == "bf16" and device != "cpu" and not torch.cuda.is_bf16_supported():
        raise InvalidInputError("Expected a GPU that computes bf16, got one that does not: take 'fp16' or 'no'.")


def _check_config(folder: Path) -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    try:
        values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"Expected a readable config.json in {str(folder)!r}: {error}.") from error
    kind = values.get("model_type")
    encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    if not encoder or values.get("is_encoder_decoder") or values.get("is_decoder"):
        raise ModelLoadError(
            f"Expected an encoder (BERT, RoBERTa, DeBERTa, MiniLM, DistilBERT, ModernBERT, ...) as base, got "
            f"{kind or 'a config.json without model_type'!r}."
        )
    trained = any(str(name).endswith("ForSequenceClassification") for name in values.get("architectures") or ())
    labels = len(values.get("id2label") or {}) or values.get("num_labels", 1)
    if trained and labels != 1:
        raise ModelLoadError(f"Expected a base with one label, got a classifier of {labels}.")


def _device(wanted: str | None) -> str:
    present = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted is not None and wanted.split(":")[0] not in ("cpu", present):
        raise InvalidInputError(f"Expected a device that is here ({present}), got {wanted!r}.")
    return wanted or present


def _drop_layers(model: Any, keep: int | None) -> None:
    if keep is None:
        return
    layers = layers_of(model)
    if keep > len(layers):
        raise InvalidInputError(f"Expected keep_layers of at most {len(layers)}, which the base has, got {keep}.")
    del layers[keep:]
    model.config.num_hidden_layers = keep
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:keep]


def _freeze(model: Any, config: TrainingConfig) -> None:
    layers = layers_of(model)
    if config.freeze_layers > len(layers):
        raise InvalidInputError(
            f"Expected freeze_layers of at most {len(layers)}, which the base has, got {config.freeze_layers}."
        )
    if config.freeze_embeddings or config.freeze_layers:
        for name, module in model.base_model.named_children():
            if "embedding" in name:
                module.requires_grad_(False)
    for layer in layers[: config.freeze_layers]:
        layer.requires_grad_(False)


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
