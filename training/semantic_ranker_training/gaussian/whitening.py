"""Training-free isotropy: centring and partial whitening of a finished model's vectors, as one linear layer.

    y = W (x - mean),  W = C^-power

``power`` 0 is mean-centring, 1/2 is full whitening (Su et al. 2021, arXiv:2103.15316), and what lies between shrinks
the large directions without blowing up the small ones. With queries at hand, the direction from the mean of the
documents to that of the queries is taken out too: it says what kind of text one is, and would rank documents by how
much they look like questions. One layer then centres both.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker._files import StrPath
from semantic_ranker._staging import staged_folder
from semantic_ranker.embedding.folder import EmbedderFolder
from semantic_ranker.errors import ExportParityError, InvalidInputError, ModelLoadError
from semantic_ranker_training.embedder_export import export_embedder

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from semantic_ranker_training.export_report import ExportReport

logger = logging.getLogger(__name__)

POWERS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5)
"""Tried by `choose_power`."""
DEFAULT_POWER = 0.1
_FLOOR = 1e-6  # of the largest variance: directions without variance are noise
_LEAST = 2
_MODULES = "sentence_transformers.models"  # the path that every version of the library knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Whitening:
    """A fitted layer, ``y = weight @ x + bias``.

    Attributes:
        weight: float32 (dim, dim).
        bias: float32 (dim,).
        power: Of the covariance; 0 centres only.
        documents: Vectors that it was fitted on.
        queries: Vectors of queries that gave the direction taken out; 0 took none out.
    """

    weight: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    power: float
    documents: int
    queries: int = 0

    @classmethod
    def fit(cls, documents: ArrayLike, queries: ArrayLike | None = None, *, power: float = DEFAULT_POWER) -> Self:
        """Fit a layer to vectors; no labels.

        Args:
            documents: Vectors of documents, float (n, dim), best several times as many as dimensions.
            queries: Vectors of queries of the same users, or of texts made of the documents (`pseudo_queries`); None
                leaves the direction of queries in.
            power: 0 to 0.5.

        Raises:
            InvalidInputError: The shapes do not fit, a number is not finite, or the power is out of range.
        """
        found = _matrix(documents, None, "documents")
        if not 0 <= power <= 0.5:
            raise InvalidInputError(f"Expected a power from 0 (centring) to 0.5 (full whitening), got {power!r}.")
        mean = found.mean(0)
        keep = np.eye(found.shape[1])
        count = 0
        if queries is not None:
            asked = _matrix(queries, found.shape[1], "queries")
            count = len(asked)
            keep = _without(asked.mean(0) - mean)
        centred = (found - mean) @ keep
        weight = keep @ _power(centred.T @ centred / max(len(centred) - 1, 1), power)
        return cls(
            weight=weight.astype(np.float32),
            bias=(-weight @ mean).astype(np.float32),
            power=float(power),
            documents=len(found),
            queries=count,
        )

    def __call__(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Return the layer's outputs, float32 (n, dim); not normalised."""
        return np.asarray(vectors, np.float32) @ self.weight.T + self.bias

    def to_dict(self) -> dict[str, Any]:
        """Return how it was fitted, ready for JSON."""
        return {"power": self.power, "documents": self.documents, "queries": self.queries}


def choose_power(
    fit: Callable[[float], Whitening], measure: Callable[[Whitening], float], powers: Sequence[float] = POWERS
) -> tuple[Whitening, dict[str, float]]:
    """Return the layer that a development set likes best, and what each power reached; ties go to the smaller power.

    Args:
        fit: From a power to a layer.
        measure: From a layer to a figure of the development set, such as nDCG@10.
        powers: To try.

    Raises:
        InvalidInputError: There are none.
    """
    if not powers:
        raise InvalidInputError("Expected powers to choose from, got none.")
    layers = {power: fit(power) for power in sorted(powers)}
    figures = {power: measure(layer) for power, layer in layers.items()}
    best = max(figures, key=lambda power: figures[power])
    return layers[best], {f"{power:g}": figure for power, figure in figures.items()}


def write_whitened(
    base: StrPath,
    layer: Whitening,
    out: StrPath,
    *,
    name: str | None = None,
    normalize: bool = True,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model's folder with the layer on top, in its safetensors and in its ONNX graphs, checked for parity.

    The layer reads the base's finished vectors, so it is fitted on what `Embedder` gives. sentence-transformers opens
    the folder too.

    Args:
        base: A sentence-transformers folder with ``model.safetensors``.
        layer: Fitted on vectors of that model.
        out: The folder to write.
        name: Of the model; None adds ``-whitened`` to the base's.
        normalize: Whether vectors get length 1 again, for cosines and inner products.
        overwrite: Whether a model folder at ``out`` is replaced.

    Raises:
        ModelLoadError: The base cannot be opened, or its vectors have another width than the layer.
        ExportParityError: The graph does not embed like the weights.
        InvalidInputError: ``out`` is taken.
    """
    opened = EmbedderFolder.open(base)
    source = Path(base)
    with staged_folder(Path(out).with_name(f".{Path(out).name}.source"), overwrite=True) as folder:
        shutil.copytree(
            source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("onnx", "semantic_ranker.json")
        )
        _append(folder, layer, normalize=normalize)
    staged = Path(out).with_name(f".{Path(out).name}.source")
    called = name or f"{opened.settings.name}-whitened"
    try:
        try:
            return export_embedder(staged, out, precisions=("fp32", "int8"), name=called, overwrite=overwrite)
        except ExportParityError as error:
            logger.warning("no int8: %s", error)
            return export_embedder(staged, out, precisions=("fp32",), name=called, overwrite=overwrite)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _append(folder: Path, layer: Whitening, *, normalize: bool) -> None:
    from safetensors.numpy import save_file

    path = folder / "modules.json"
    if not path.is_file():
        raise ModelLoadError(
            f"Expected modules.json in {str(folder)!r}, found none: save it with sentence-transformers."
        )
    modules: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    place = f"{len(modules)}_Dense"
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": place, "type": f"{_MODULES}.Dense"})
    (folder / place).mkdir()
    dim = len(layer.bias)
    config = {
        "in_features": dim,
        "out_features": dim,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
        "whitening": layer.to_dict(),
    }
    (folder / place / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file({"linear.weight": layer.weight, "linear.bias": layer.bias}, folder / place / "model.safetensors")
    if normalize:
        last = f"{len(modules)}_Normalize"
        modules.append({"idx": len(modules), "name": str(len(modules)), "path": last, "type": f"{_MODULES}.Normalize"})
    path.write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")


def _power(covariance: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    if power == 0:
        return np.eye(len(covariance))
    variances, directions = np.linalg.eigh(covariance)
    real = variances > _FLOOR * variances.max()
    scales = np.where(real, np.maximum(variances, np.finfo(float).tiny) ** -power, 0.0)
    found: NDArray[np.float64] = (directions * scales) @ directions.T
    return found


def _without(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(direction))
    if length < _FLOOR:
        return np.eye(len(direction))
    unit = direction / length
    found: NDArray[np.float64] = np.eye(len(direction)) - np.outer(unit, unit)
    return found


def _matrix(vectors: ArrayLike, dim: int | None, what: str) -> NDArray[np.float64]:
    found = np.asarray(vectors, np.float64)
    if found.ndim != 2 or len(found) < _LEAST or dim not in (None, found.shape[1]) or not np.isfinite(found).all():
        raise InvalidInputError(
            f"Expected finite vectors of {what} of shape ({_LEAST} or more, {dim or 'dim'}), got {found.shape}."
        )
    return found
