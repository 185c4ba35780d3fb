"""Opens a model folder safely: finds the files, verifies them, reads how to score. Runs nothing."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from semantic_ranker.errors import ModelLoadError

Precision = Literal["auto", "fp32", "fp16", "int8"]

MANIFEST = "semantic_ranker.json"
SCHEMA_VERSION = 1
BUNDLED = Path(__file__).parent / "models" / "reranker-en"
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
_UNSAFE_KEYS = ("auto_map", "trust_remote_code", "_attn_implementation_internal")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A verified model folder.

    Attributes:
        path: The folder.
        name: Name for reports.
        layout: ``segments`` or ``pair``.
        max_length: Tokens of one input, specials included.
        max_query_tokens: Tokens kept of a query.
        activation: What `CrossEncoder.predict` applies to logits.
        scale: Calibration: ``relevance = sigmoid(scale * logit + bias)``.
        bias: See ``scale``.
        languages: ISO 639-1 codes that the model was made for; empty when unknown.
        manifest: Content of ``semantic_ranker.json``, or {}.
    """

    path: Path
    name: str
    layout: Literal["segments", "pair"] = "pair"
    max_length: int = 512
    max_query_tokens: int = 256
    activation: Literal["identity", "sigmoid"] = "sigmoid"
    scale: float = 1.0
    bias: float = 0.0
    languages: tuple[str, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read a folder.

        Raises:
            ModelLoadError: It is absent, incomplete, damaged or refused for safety; the message says what to do.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ModelLoadError(
                f"Expected a model folder at {str(path)!r}, found {'a file' if folder.exists() else 'nothing'}."
            )
        config = _read_json(folder / "config.json")
        refuse_unsafe_config(config)
        if not (folder / MANIFEST).exists():
            return cls._of_config(folder, config)
        manifest = _read_json(folder / MANIFEST)
        model = cls._of_manifest(folder, manifest)
        model.verify("config.json")
        return model

    @classmethod
    def _of_manifest(cls, folder: Path, manifest: dict[str, Any]) -> Self:
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise ModelLoadError(
                f"Expected schema_version {SCHEMA_VERSION} in {MANIFEST}, got {manifest.get('schema_version')!r}: "
                "the folder was written by another version of semantic-ranker; export the model again."
            )
        if manifest.get("kind") != "reranker":
            raise ModelLoadError(f"Expected kind 'reranker' in {MANIFEST}, got {manifest.get('kind')!r}.")
        layout, activation = manifest.get("input_layout", "pair"), manifest.get("activation", "sigmoid")
        if layout not in ("segments", "pair") or activation not in ("identity", "sigmoid"):
            raise ModelLoadError(
                f"Expected input_layout 'segments' or 'pair' and activation 'identity' or 'sigmoid' in {MANIFEST}, "
                f"got {layout!r} and {activation!r}."
            )
        calibration = manifest.get("calibration", {})
        return cls(
            path=folder,
            name=str(manifest.get("name", folder.name)),
            layout=layout,
            max_length=_count(manifest, "max_length", 512),
            max_query_tokens=_count(manifest, "max_query_tokens", 256),
            activation=activation,
            scale=_number(calibration, "scale", 1.0),
            bias=_number(calibration, "bias", 0.0),
            languages=tuple(str(code) for code in manifest.get("languages", ())),
            manifest=manifest,
        )

    @classmethod
    def _of_config(cls, folder: Path, config: dict[str, Any]) -> Self:
        # A plain Hugging Face, sentence-transformers or optimum export.
        limits = [config.get("max_position_embeddings")]
        tokenizer_config = folder / "tokenizer_config.json"
        if tokenizer_config.is_file():
            limits.append(_read_json(tokenizer_config).get("model_max_length"))
        known = [int(limit) for limit in limits if isinstance(limit, (int, float)) and 8 <= limit <= 100_000]
        # RoBERTa's table has two positions that no token uses.
        offset = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
        max_length = min(
            [512, *(limit - offset if limit == config.get("max_position_embeddings") else limit for limit in known)]
        )
        function = config.get("sentence_transformers", {}).get("activation_fn", "Sigmoid")
        return cls(
            path=folder,
            name=folder.name,
            max_length=max_length,
            max_query_tokens=max_length // 2,
            activation="identity" if str(function).endswith("Identity") else "sigmoid",
        )

    def weights(self, precision: Precision) -> tuple[Path, str]:
        """Return the verified ONNX file for a precision, and which precision it is; ``auto`` takes int8 if it is there.

        Raises:
            ModelLoadError: There is no such file, or it is damaged.
        """
        wanted = ("int8", "fp32", "fp16") if precision == "auto" else (precision,)
        for kind in wanted:
            for name in WEIGHTS[kind]:
                if (self.path / name).is_file():
                    return self.verify(name), kind
        raise ModelLoadError(self._without(precision))

    def _without(self, precision: str) -> str:
        there = [kind for kind, names in WEIGHTS.items() if any((self.path / name).is_file() for name in names)]
        asked = "an ONNX file" if precision == "auto" else f"{precision} weights"
        if there:
            return f"Expected {asked} in {self.name}, which has {', '.join(there)} only: open it with precision={there[0]!r} or export it."
        if any(self.path.glob("*.safetensors")):
            return (
                f"Expected {asked} in {self.name}, found safetensors only: run `semantic-ranker export {self.name} OUT` "
                "(extra 'training') or open it with backend='torch' (extra 'torch')."
            )
        if any(found for pattern in _PICKLES for found in self.path.glob(pattern)):
            return (
                f"Refused {self.name}: its weights are pickles, which run code when they are opened. "
                "Save the model as safetensors (`save_pretrained(safe_serialization=True)`) and export it."
            )
        return f"Expected {asked} in {self.name}, found no weights at all: the folder is incomplete; copy or download it again."

    def verify(self, name: str) -> Path:
        """Return the path of one file of the folder after comparing its sha256 with the manifest's.

        Raises:
            ModelLoadError: The file is absent, leaves the folder, or differs from the manifest.
        """
        path = self.path / name
        root = self.path.resolve()
        # A link inside a hub cache is the hub's own layout; one in a folder with a manifest is not ours.
        if self.manifest and not path.resolve().is_relative_to(root):
            raise ModelLoadError(f"Refused {name} in {self.name}: it lies outside the model folder.")
        if not path.is_file():
            raise ModelLoadError(f"Expected {name} in {self.name}, found nothing: copy or download the folder again.")
        expected = self.manifest.get("files", {}).get(name, {}).get("sha256") if self.manifest else None
        if self.manifest and expected is None:
            raise ModelLoadError(
                f"{name} in {self.name} is not listed in {MANIFEST}: the folder was changed by hand; export it again."
            )
        if expected is not None and (actual := sha256(path)) != expected:
            raise ModelLoadError(
                f"{name} in {self.name} is damaged or was changed: expected sha256 {expected}, got {actual}; "
                "copy, download or export the model again."
            )
        return path

    def fingerprint(self, weights: Path) -> str:
        """Return one sha256 over everything that decides a score: weights, tokenizer, configuration, limits."""
        digest = hashlib.sha256()
        for path in (weights, self.path / "tokenizer.json", self.path / "config.json"):
            digest.update(sha256(path).encode() if path.is_file() else b"-")
        digest.update(json.dumps([self.layout, self.max_length, self.max_query_tokens]).encode())
        return digest.hexdigest()


def resolve(model: str | os.PathLike[str] | None) -> Path:
    """Return the local folder of a model: None is the bundled one, else a folder, else a hub id.

    Raises:
        ModelLoadError: There is no such folder, and the hub cannot be reached or has no such model.
    """
    if model is None:
        return BUNDLED
    path = Path(model)
    if path.is_dir():
        return path
    text = os.fspath(model)
    looks_like_hub_id = (
        isinstance(model, str) and text.count("/") <= 1 and not text.startswith((".", "/", "~")) and not path.exists()
    )
    if not looks_like_hub_id:
        raise ModelLoadError(f"Expected a model folder at {text!r}, found {'a file' if path.exists() else 'nothing'}.")
    from semantic_ranker.hub import download

    return download(text)


def refuse_unsafe_config(config: Any) -> None:
    """Refuse a ``config.json`` that asks a library to run code, wherever the key hides.

    Raises:
        ModelLoadError: It contains ``auto_map`` or a relative of it.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            if key in _UNSAFE_KEYS and value:
                raise ModelLoadError(
                    f"Refused config.json: {key!r} makes a library run code from the model folder; remove the key."
                )
            refuse_unsafe_config(value)
    elif isinstance(config, list):
        for value in config:
            refuse_unsafe_config(value)


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"Expected {path.name} in {path.parent.name}, found nothing: this is not a model folder."
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelLoadError(f"Cannot read {path.name} in {path.parent.name}: {error}.") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"Expected an object in {path.name}, got {type(content).__name__}.")
    return content


def _count(values: dict[str, Any], key: str, default: int) -> int:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 8 <= value <= 100_000:
        raise ModelLoadError(f"Expected {key} in {MANIFEST} to be an int from 8 to 100000, got {value!r}.")
    return value


def _number(values: dict[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelLoadError(f"Expected calibration.{key} in {MANIFEST} to be a finite number, got {value!r}.")
    return float(value)
