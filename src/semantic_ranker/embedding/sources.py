"""Finds a model's folder: the bundled one, a folder, a package, an export made once, or the hub."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker._extras import package_folder, requires_extra
from semantic_ranker.backends.static import BUNDLED_EMBEDDER
from semantic_ranker.catalogue import DEFAULT, ModelSpec, find, nearest
from semantic_ranker.embedding import download
from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from semantic_ranker.embedding.options import EmbedderOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is.

    Attributes:
        name: Name for reports.
        path: Its folder; None for a package that is no folder.
        spec: What the catalogue says of it, or None.
    """

    name: str
    path: Path | None
    spec: ModelSpec | None = None

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Dimensions that the catalogue says its vectors may be cut to."""
        return self.spec.matryoshka if self.spec is not None else ()


def locate(options: EmbedderOptions) -> Source:
    """Return where the model that the options name is.

    Raises:
        ModelLoadError: There is none of that name here, and the hub cannot be reached or has none.
        ModuleNotFoundError: It comes in a package, or from the hub, and that is not installed.
    """
    if options.model is None:
        return Source(DEFAULT, BUNDLED_EMBEDDER, find(DEFAULT))
    path = Path(options.model)
    if path.is_dir():
        return Source(path.resolve().name, path, find(path.resolve().name))
    spec = find(options.model)
    if spec is None:
        return _unknown(options, path)
    if spec.source == "bundled":
        return Source(spec.name, BUNDLED_EMBEDDER, spec)
    if spec.source == "package":
        return Source(spec.name, None if spec.backend == "use" else _packaged(spec, options), spec)
    return Source(spec.name, download.fetch(spec.hub, options), spec)


def export_once(path: Path, name: str, digest: str) -> Path:
    """Return a folder with ONNX files of a model that has safetensors only, made at the first use.

    BERT-like models are converted here, in seconds; others are exported by torch.

    Args:
        path: The model's folder.
        name: Its name, for the folder's.
        digest: Sha256 of its weights in hex: other weights go to another folder.

    Raises:
        ModuleNotFoundError: It takes torch, the extra ``training`` is not installed, and nothing was exported before.
    """
    from semantic_ranker.conversion.embedder import convert_embedder, is_convertible
    from semantic_ranker.conversion.first_load import once
    from semantic_ranker.embedding.folder import EmbedderFolder

    def write(target: Path) -> None:
        opened = EmbedderFolder.open(path, name)
        if is_convertible(opened):
            return convert_embedder(opened, target)
        with requires_extra("training"):
            exporting = importlib.import_module("semantic_ranker_training.embedder_export")
        exporting.export_embedder(path, target, name=name, overwrite=True)

    return once("embedders", name, digest, write)


def cache_folder() -> Path:
    """Return the user's folder for what can be made again: ``SEMANTIC_RANKER_CACHE``, or the system's usual one."""
    if chosen := os.environ.get("SEMANTIC_RANKER_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "semantic-ranker"


def has_package(name: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def is_here(spec: ModelSpec) -> bool:
    """Whether a model of the catalogue can be opened without a network."""
    if spec.source == "bundled":
        return True
    if spec.source == "package" and has_package(spec.package.partition(":")[0]):
        return True
    return bool(spec.hub and download.cached(spec.hub, "auto"))


def _packaged(spec: ModelSpec, options: EmbedderOptions) -> Path:
    package, _, inner = spec.package.partition(":")
    if (folder := package_folder(package)) is not None:
        return folder / inner
    if spec.hub and (cached := download.cached(spec.hub, options.precision)):
        return cached
    raise ModuleNotFoundError(
        f"{spec.name!r} comes in the package {spec.install!r}, which is not installed; run: pip install {spec.install}",
        name=package,
    )


def _unknown(options: EmbedderOptions, path: Path) -> Source:
    name = str(options.model)
    owner, slash, rest = name.partition("/")
    if slash and owner and rest and "/" not in rest and owner[0] not in ".~" and not path.exists():
        return Source(name, download.fetch(name, options))
    near = nearest(name)
    raise ModelLoadError(
        f"Expected a model folder, a hub id such as 'owner/name', or a name of the catalogue, got {name!r}"
        + (f"; did you mean {near!r}?" if near else "; `semantic-ranker models` lists the names.")
    )
