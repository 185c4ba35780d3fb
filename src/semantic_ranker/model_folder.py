"""Opens a model folder safely: finds the files, verifies them, reads how to score. Runs nothing."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from semantic_ranker._settings import MANIFEST, ModelSettings, check_one_label, refuse_unsafe_config
from semantic_ranker.errors import ModelLoadError

Precision = Literal["auto", "fp32", "fp16", "int8"]

BUNDLED = Path(__file__).parent / "models" / "reranker-en"
"""Folder of the model that ships with the package."""
TINY = BUNDLED.parent / "reranker-en-tiny"
"""Folder of the smaller and faster one that ships beside it."""
_BY_NAME = {"bundled": BUNDLED, BUNDLED.name: BUNDLED, TINY.name: TINY}
WEIGHTS = {
    "int8": (
        "onnx/model_qint8.onnx",
        "onnx/model_qint8_avx2.onnx",
        "onnx/model_quint8_avx2.onnx",
        "onnx/model_int8.onnx",
        "onnx/model_quantized.onnx",
    ),
    "fp16": ("onnx/model_fp16.onnx",),
    "fp32": ("onnx/model.onnx", "model.onnx"),
}
"""ONNX files by precision, in the order in which they are looked for."""
SEGMENT_WEIGHTS = {"int8": "onnx/segment_qint8.onnx", "fp32": "onnx/segment.onnx"}
"""ONNX files of models that encode query and passage each alone, by precision."""
SEGMENT_HEAD = "interaction_head.npz"
"""What turns the states of both sides into a logit."""
_ONE_CPU_ONLY = tuple(f"onnx/model_qint8_{cpu}.onnx" for cpu in ("avx512_vnni", "avx512", "arm64"))
"""Signed 8-bit weights overflow on other CPUs than they were made for, so these are opened only when asked for."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """One file of a model folder, read once: what was verified is what is used.

    Attributes:
        path: Where it lies.
        content: Its bytes.
        sha256: Their hash, in hex.
    """

    path: Path
    content: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """An open model folder.

    Attributes:
        path: The folder.
        settings: How the model wants to be scored.
        config: ``config.json``, already read.
        manifest: Content of ``semantic_ranker.json``, or None.
    """

    path: Path
    settings: ModelSettings
    config: VerifiedFile = field(repr=False)
    manifest: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read a folder.

        Raises:
            ModelLoadError: It is absent, incomplete, damaged or refused for safety; the message says what to do.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ModelLoadError(
                f"Expected a model folder at {str(path)!r}, found {'a file' if folder.exists() else 'nothing'}."
            )
        manifest = _json(_read(folder, MANIFEST, None)) if (folder / MANIFEST).exists() else None
        file = _read(folder, "config.json", manifest)
        config = _json(file)
        refuse_unsafe_config(config)
        check_one_label(config)
        if manifest is not None:
            settings = ModelSettings.of_manifest(manifest, config, default_name=folder.name)
        else:
            settings = ModelSettings.of_config(
                config,
                _optional(folder, "tokenizer_config.json"),
                name=folder.resolve().name,
                library_config=_optional(folder, "config_sentence_transformers.json"),
            )
        return cls(path=folder, settings=settings, config=file, manifest=manifest)

    def read(self, name: str) -> VerifiedFile:
        """Read one file of the folder and compare its sha256 with the manifest's.

        Args:
            name: Path below the folder, with ``/``.

        Raises:
            ModelLoadError: The file is absent, leaves the folder, or differs from the manifest.
        """
        return _read(self.path, name, self.manifest)

    def weights(self, precision: Precision) -> tuple[str, str]:
        """Return the name of the ONNX file for a precision, and which precision it is.

        Args:
            precision: ``auto`` takes int8 if it is there, else fp32.

        Raises:
            ModelLoadError: There is no such file; the message says what there is.
        """
        for kind, name in candidates(precision):
            if (self.path / name).is_file():
                return name, kind
        raise ModelLoadError(self._without(precision))

    def segment_weights(self, precision: Precision) -> tuple[str, str] | None:
        """Return `weights` of the graph that encodes one side alone, or None where the folder has none.

        Args:
            precision: ``auto`` takes int8 if it is there, else fp32.
        """
        if not (self.path / SEGMENT_HEAD).is_file():
            return None
        kinds = tuple(SEGMENT_WEIGHTS) if precision == "auto" else (precision,)
        there = (kind for kind in kinds if kind in SEGMENT_WEIGHTS and (self.path / SEGMENT_WEIGHTS[kind]).is_file())
        kind = next(there, None)
        return None if kind is None else (SEGMENT_WEIGHTS[kind], kind)

    def _without(self, precision: str) -> str:
        kinds: tuple[Precision, ...] = ("int8", "fp16", "fp32")
        there = [
            kind
            for kind in kinds
            if self.segment_weights(kind) or any((self.path / name).is_file() for _, name in candidates(kind))
        ]
        expected = f"Expected {'an ONNX file' if precision == 'auto' else f'{precision} weights'} in {str(self.path)!r}"
        export = f"`semantic-ranker export {self.path} OUT` (extra 'training')"
        if there:
            return (
                f"{expected}, found {', '.join(there)}: use precision={there[0]!r}, or write the others with {export}."
            )
        if any(self.path.glob("*.safetensors")):
            return f"{expected}, found safetensors only: run {export}, or use backend='torch' (extra 'torch')."
        if any(found for pattern in _PICKLES for found in self.path.rglob(pattern)):
            return (
                f"Refused {str(self.path)!r}: its weights are pickles, which run code when they are opened. "
                "Save the model as safetensors (`save_pretrained(safe_serialization=True)`), then run "
                f"{export}."
            )
        return f"{expected}, found no weights at all: the folder is incomplete; copy or download it again."


def candidates(precision: Precision) -> list[tuple[str, str]]:
    """Return the ``(precision, file name)`` pairs to look for, best first.

    Args:
        precision: ``auto`` looks for int8, then fp32, then fp16.
    """
    if precision == "auto":
        return [(kind, name) for kind in ("int8", "fp32", "fp16") for name in WEIGHTS[kind]]
    return [(precision, name) for name in (*WEIGHTS[precision], *(_ONE_CPU_ONLY if precision == "int8" else ()))]


def resolve(model: str | os.PathLike[str] | None, precision: Precision = "auto") -> Path:
    """Return the local folder of a model.

    None and ``bundled`` are the bundled one; then a folder, the name of a bundled model (``reranker-en``,
    ``reranker-en-tiny``), and a hub id are looked for, in that order.

    Args:
        model: What the caller gave.
        precision: Which weights a download is to bring.

    Raises:
        ModelLoadError: There is no such folder, and the hub cannot be reached or has no such model.
        ModuleNotFoundError: It looks like a hub id, and the extra ``hub`` is not installed.
    """
    if model is None:
        return BUNDLED
    path = Path(model)
    if path.is_dir():
        return path
    text = os.fspath(model)
    if text in _BY_NAME:
        return _BY_NAME[text]
    owner, slash, name = text.partition("/")
    is_hub_id = isinstance(model, str) and slash and owner and name and "/" not in name and owner[0] not in ".~"
    if not is_hub_id or path.exists():
        raise ModelLoadError(
            f"Expected a model folder at {text!r}, found {'a file' if path.exists() else 'nothing'}; "
            "give a folder, a hub id such as 'owner/name', None for the bundled model, or 'reranker-en-tiny' for the "
            "smaller one."
        )
    from semantic_ranker.hub import download

    return download(text, precision)


def sha256(content: bytes) -> str:
    """Return the sha256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def _read(folder: Path, name: str, manifest: dict[str, Any] | None) -> VerifiedFile:
    path = folder / name
    _refuse_outside(folder, name)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"Expected {name} in {str(folder)!r}, found nothing: this is no complete model folder; "
            "copy or download it again."
        ) from error
    except OSError as error:
        raise ModelLoadError(f"Cannot read {name} in {str(folder)!r}: {error.strerror}.") from error
    actual = sha256(content)
    if manifest is not None and actual != (expected := _listed(manifest, name)):
        raise ModelLoadError(
            f"{name} in {str(folder)!r} is damaged or was changed: expected sha256 {expected}, got {actual}; "
            "copy, download or export the model again."
        )
    return VerifiedFile(path, content, actual)


def _refuse_outside(folder: Path, name: str) -> None:
    root = folder.resolve()
    allowed = [root]
    if root.parent.name == "snapshots":
        # The hub's cache keeps the files of a snapshot as links to blobs beside it.
        allowed.append(root.parent.parent / "blobs")
    target = (folder / name).resolve()
    if not any(target.is_relative_to(place) for place in allowed):
        raise ModelLoadError(f"Refused {name} in {str(folder)!r}: it is a link or path that leaves the model folder.")


def _listed(manifest: dict[str, Any], name: str) -> str:
    files = manifest.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    found = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(found, str):
        raise ModelLoadError(
            f"Expected the sha256 of {name} in {MANIFEST}, found none: the folder was changed by hand; export it again."
        )
    return found


def _optional(folder: Path, name: str) -> dict[str, Any]:
    return _json(_read(folder, name, None)) if (folder / name).is_file() else {}


def _json(file: VerifiedFile) -> dict[str, Any]:
    try:
        content = json.loads(file.content)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"Cannot read {str(file.path)!r}: {error}.") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"Expected an object in {str(file.path)!r}, got {type(content).__name__}.")
    return content
