"""Low-rank adapters with the head saved, and the plain model they make together with their base."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from semantic_ranker._files import write_atomically
from semantic_ranker._staging import staged_folder
from semantic_ranker.errors import ExportParityError, ModelLoadError
from semantic_ranker_training.cross_encoder.config import TrainingConfig
from semantic_ranker_training.cross_encoder.model import head_names, layers_of, open_base
from semantic_ranker_training.quiet import quiet_library

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

ADAPTER = "adapter_model.safetensors"
_FACTS = "semantic_ranker_adapter.json"
_CONFIG = "adapter_config.json"
_PROJECTIONS = ("query", "key", "value", "query_proj", "key_proj", "value_proj", "q_lin", "k_lin", "v_lin", "Wqkv",
                "q_proj", "k_proj", "v_proj", "in_proj")  # fmt: skip
_PROBES = [("what is a probe", "A probe is a small text."), ("how far", "Two miles."), ("why", "Because it is so.")]
_MOST_DIFFERENCE = 1e-4  # of a logit; adapters that were lost differ by the logit's own size


def add_lora(model: Any, config: TrainingConfig) -> None:
    """Put adapters on the attention's projections; the head learns whole and is saved with them.

    Without the head among ``modules_to_save`` peft freezes it as it was initialised and drops it when saving.

    Raises:
        ModelLoadError: The base has no head or no projections that we know.
    """
    from peft import LoraConfig

    inside = {
        name.rsplit(".", 1)[-1] for name, part in layers_of(model.model).named_modules() if isinstance(part, nn.Linear)
    }
    targets = sorted(inside & set(_PROJECTIONS))
    if not targets:
        raise ModelLoadError(
            f"Expected attention projections such as {_PROJECTIONS[0]!r} in the base, got {sorted(inside)}."
        )
    model.add_adapter(
        LoraConfig(
            task_type="SEQ_CLS",
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=targets,
            modules_to_save=head_names(model.model),
        )
    )


def save_adapter(model: Any, folder: Path, *, base: Path, base_name: str) -> None:
    """Write the adapter and check that it gives the same logits when it is opened again.

    Args:
        model: The model with adapters.
        folder: Where to; an adapter that is there is replaced.
        base: Folder of its base.
        base_name: How the base was named; the adapter says so.

    Raises:
        ExportParityError: The file lacks the head, or the opened adapter scores otherwise; nothing was written.
    """
    from safetensors import safe_open

    with quiet_library(), staged_folder(folder, overwrite=True) as staged:
        model.model.save_pretrained(staged)
        with safe_open(staged / ADAPTER, framework="pt") as file:
            names = list(file.keys())
        missing = [head for head in head_names(model.model) if not any(f".{head}." in f".{name}" for name in names)]
        if missing:
            raise ExportParityError(f"Expected the head in the adapter, got none of its parts {missing}.")
        _name_base(staged / _CONFIG, base_name)
        facts = {"schema": 1, "base": base_name, "base_sha256": weights_hash(base), "max_length": model.max_seq_length}
        write_atomically(staged / _FACTS, json.dumps(facts, indent=2) + "\n")
        # The folder counts as a model folder, which may be replaced.
        (staged / "config.json").write_text(
            json.dumps(model.model.config.to_diff_dict(), default=str) + "\n", encoding="utf-8"
        )
        _check_same(model, open_adapter(base, staged))


def open_adapter(base: Path, folder: Path) -> CrossEncoder:
    """Open a base with an adapter that was trained on it.

    Args:
        base: Folder of the base.
        folder: Of the adapter, as `save_adapter` wrote it.

    Raises:
        ModelLoadError: There is no adapter, or it was trained on another base.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"Expected an adapter with {_FACTS} in {str(folder)!r}: {error}.") from error
    found = weights_hash(base)
    if found != facts.get("base_sha256"):
        raise ModelLoadError(
            f"Expected the base that the adapter was trained on ({facts.get('base')!r}, weights "
            f"{str(facts.get('base_sha256'))[:12]}), got {str(base)!r} with weights {found[:12]}."
        )
    model = open_base(base, TrainingConfig(max_length=int(facts.get("max_length", 256))))
    model.load_adapter(str(folder))
    return model


def merge_lora(model: CrossEncoder) -> CrossEncoder:
    """Turn a model with adapters into a plain one, in place: the same logits, no peft needed to open it."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    inner: Any = model.model
    for name, module in list(inner.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            _replace(inner, name, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            _replace(inner, name, module.modules_to_save[module.active_adapters[0]])
    for leftover in ("peft_config", "_hf_peft_config_loaded"):
        if leftover in inner.__dict__:
            delattr(inner, leftover)
    return model


def weights_hash(folder: Path) -> str:
    """Return the sha256 of a base's weights, in hex.

    Raises:
        ModelLoadError: It has no safetensors.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise ModelLoadError(f"Expected model.safetensors in {str(folder)!r}, found none: pickled weights are refused.")
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _replace(root: nn.Module, name: str, by: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(root.get_submodule(parent), own, by)


def _name_base(path: Path, base_name: str) -> None:
    # peft writes the path of this machine.
    content = json.loads(path.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base_name
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_same(model: Any, opened: Any) -> None:
    options = {"activation_fn": nn.Identity(), "show_progress_bar": False}
    wanted, got = model.predict(_PROBES, **options), opened.predict(_PROBES, **options)
    difference = float(np.abs(wanted - got).max())
    if not difference <= _MOST_DIFFERENCE:
        raise ExportParityError(
            f"Expected the saved adapter to score like the trained model, got {difference:.2g} apart."
        )
