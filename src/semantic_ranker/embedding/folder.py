"""Reads a bi-encoder's folder (sentence-transformers, optimum, ours): how tokens become a vector. Runs nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

from semantic_ranker._settings import MANIFEST, SCHEMA_VERSION, ModelSettings, refuse_unsafe_config
from semantic_ranker.embedding.pooling import MODES
from semantic_ranker.errors import ModelLoadError
from semantic_ranker.model_folder import ModelFolder, Precision, VerifiedFile

KIND = "embedder"
"""``kind`` in the manifest of a bi-encoder's folder that we exported."""
_USUAL_LENGTH = 512
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
# What an older sentence-transformers calls each mode, in the order in which it concatenates them.
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """How a model's own files say that texts become vectors.

    Attributes:
        name: Name for reports.
        pooling: Modes of `semantic_ranker.embedding.pooling`, whose results are concatenated in this order.
        dense: Folders of linear layers after the pooling, in order.
        unit_inputs: Those of them whose inputs get length 1 first.
        normalize: Whether vectors get length 1.
        max_length: Tokens read of a text, specials included, where the caller asks for no other number.
        length_limit: The most tokens that the model can read.
        lower_case: Whether texts are lower-cased before they are tokenised.
        query_prompt: Put in front of queries; None where the files say nothing.
        document_prompt: Put in front of documents; None where the files say nothing.
        languages: ISO 639-1 codes that the model was made for; empty when unknown.
        matryoshka: Dimensions that vectors may be cut to; empty where the files say nothing.
    """

    name: str
    pooling: tuple[str, ...] = ("mean",)
    dense: tuple[str, ...] = ()
    unit_inputs: frozenset[str] = frozenset()
    normalize: bool = True
    max_length: int = _USUAL_LENGTH
    length_limit: int = _USUAL_LENGTH
    lower_case: bool = False
    query_prompt: str | None = None
    document_prompt: str | None = None
    languages: tuple[str, ...] = ()
    matryoshka: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderFolder:
    """An open bi-encoder's folder.

    Attributes:
        files: Its files, verified against the manifest where there is one.
        settings: How texts become vectors.
    """

    files: ModelFolder = field(repr=False)
    settings: EmbedderSettings

    @classmethod
    def open(cls, path: str | os.PathLike[str], name: str | None = None) -> Self:
        """Read a folder.

        Args:
            path: The folder.
            name: Name for reports where the folder has no manifest; None takes the folder's.

        Raises:
            ModelLoadError: It is absent, incomplete, damaged, no bi-encoder, or refused for safety.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ModelLoadError(
                f"Expected a model folder at {str(path)!r}, found {'a file' if folder.exists() else 'nothing'}."
            )
        bare = ModelFolder(path=folder, settings=ModelSettings(name=folder.name), config=VerifiedFile(folder, b"", ""))
        manifest = _object(bare, MANIFEST) if (folder / MANIFEST).exists() else None
        files = ModelFolder(path=folder, settings=bare.settings, config=bare.config, manifest=manifest)
        if manifest is not None:
            _check_kind(manifest, folder)
        config = _object(files, "config.json")
        refuse_unsafe_config(config)
        files = ModelFolder(path=folder, settings=bare.settings, config=files.read("config.json"), manifest=manifest)
        return cls(files=files, settings=_settings(files, config, name or folder.resolve().name))

    def has(self, precision: Precision) -> bool:
        """Whether the folder has an ONNX file of a precision."""
        try:
            return bool(self.files.weights(precision))
        except ModelLoadError:
            return False

    @property
    def has_safetensors(self) -> bool:
        """Whether the folder has weights that torch can open."""
        return (self.files.path / "model.safetensors").is_file()

    def weights_sha256(self) -> str:
        """Return the hash of all safetensors that decide a vector, in hex: the encoder's alone, or with its layers'.

        Raises:
            ModelLoadError: One is absent or damaged.
        """
        names = ["model.safetensors", *(f"{path}/model.safetensors" for path in self.settings.dense)]
        hashes = [self.files.read(name).sha256 for name in names]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _settings(files: ModelFolder, config: dict[str, Any], name: str) -> EmbedderSettings:
    manifest = files.manifest or {}
    modules = _modules(files)
    kinds = [kind for kind, _ in modules]
    transformer = next((path for kind, path in modules if kind == "Transformer"), "")
    if unknown := [
        kind for kind in dict.fromkeys(kinds) if kind not in ("Transformer", "Pooling", "Dense", "Normalize")
    ]:
        raise ModelLoadError(
            f"Expected modules.json of Transformer, Pooling, Dense and Normalize in {str(files.path)!r}, got "
            f"{', '.join(unknown)}: this kind of model cannot be run here."
        )
    if transformer:
        raise ModelLoadError(
            f"Expected the transformer's files in {str(files.path)!r} itself, modules.json puts them in "
            f"{transformer!r}: save the model again with a current sentence-transformers."
        )
    sentence = _optional(files, "sentence_bert_config.json")
    extra = _optional(files, "config_sentence_transformers.json")
    limit = _length_limit(files, config)
    found = sentence.get("max_seq_length", manifest.get("max_length"))
    max_length = found if isinstance(found, int) and not isinstance(found, bool) and found > 2 else limit
    query, document = _prompts(extra)
    return EmbedderSettings(
        name=str(manifest.get("name", name)),
        pooling=_pooling(files, next((path for kind, path in modules if kind == "Pooling"), None)),
        dense=tuple(path for kind, path in modules if kind == "Dense"),
        unit_inputs=frozenset(
            path
            for before, (kind, path) in zip(kinds, modules[1:], strict=False)
            if (before, kind) == ("Normalize", "Dense")
        ),
        # A vector's length tells nothing where the model compares by cosine, as it does unless it says otherwise.
        normalize=kinds[-1] == "Normalize" or extra.get("similarity_fn_name") in (None, "cosine"),
        max_length=min(max_length, limit),
        length_limit=limit,
        lower_case=bool(sentence.get("do_lower_case", False)),
        query_prompt=query,
        document_prompt=document,
        languages=tuple(str(code) for code in manifest.get("languages", ())),
        matryoshka=tuple(int(dim) for dim in manifest.get("matryoshka", ())),
    )


def _modules(files: ModelFolder) -> list[tuple[str, str]]:
    """Return kind and folder of each module, in order; never none."""
    if not (files.path / "modules.json").is_file():
        return [("Transformer", "")]
    content = _json(files, "modules.json")
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ModelLoadError(f"Expected a list of modules in modules.json of {str(files.path)!r}.")
    found: list[tuple[str, str]] = []
    for entry in content:
        path = str(entry.get("path", ""))
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ModelLoadError(f"Refused modules.json of {str(files.path)!r}: {path!r} leaves the model folder.")
        found.append((str(entry.get("type", "")).rpartition(".")[2], path))
    return found or [("Transformer", "")]


def _pooling(files: ModelFolder, path: str | None) -> tuple[str, ...]:
    if path is None:
        return ("mean",)
    config = _object(files, f"{path}/config.json")
    found = config.get("pooling_mode")
    if found is None:
        found = [mode for key, mode in _LEGACY_MODES.items() if config.get(key)] or ["mean"]
    modes = (found,) if isinstance(found, str) else tuple(found) if isinstance(found, list) else ()
    if not modes or not set(modes) <= set(MODES):
        raise ModelLoadError(f"Expected pooling out of {', '.join(MODES)} in {path}/config.json, got {found!r}.")
    if config.get("include_prompt") is False:
        raise ModelLoadError(
            f"{path}/config.json leaves the prompt out of the pooling (include_prompt), which cannot be done here: "
            "use another model."
        )
    return modes


def _prompts(extra: Mapping[str, Any]) -> tuple[str | None, str | None]:
    prompts = extra.get("prompts")
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        return None, None
    usual = prompts.get(extra.get("default_prompt_name") or "")
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), usual)
    return prompts.get("query", usual), document


def _length_limit(files: ModelFolder, config: Mapping[str, Any]) -> int:
    found = (files.path / "tokenizer_config.json").is_file()
    tokenizer = _object(files, "tokenizer_config.json") if found else {}
    return ModelSettings.of_config(dict(config), tokenizer, name="").length_limit


def _check_kind(manifest: Mapping[str, Any], folder: Path) -> None:
    found = manifest.get("kind"), manifest.get("schema_version")
    if found != (KIND, SCHEMA_VERSION):
        raise ModelLoadError(
            f"Expected kind {KIND!r} and schema_version {SCHEMA_VERSION} in {MANIFEST} of {str(folder)!r}, got "
            f"{found[0]!r} and {found[1]!r}" + ("; a reranker gives no vectors." if found[0] == "reranker" else ".")
        )


def _optional(files: ModelFolder, name: str) -> dict[str, Any]:
    return _object(files, name) if (files.path / name).is_file() else {}


def _object(files: ModelFolder, name: str) -> dict[str, Any]:
    content = _json(files, name)
    if not isinstance(content, dict):
        raise ModelLoadError(f"Expected an object in {name} of {str(files.path)!r}, got {type(content).__name__}.")
    return content


def _json(files: ModelFolder, name: str) -> Any:
    try:
        return json.loads(files.read(name).content)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"Cannot read {name} in {str(files.path)!r}: {error}.") from error


def kind_of(folder: Path) -> str:
    """Return the ``kind`` that a folder's manifest states; "" without a manifest, or where it cannot be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    return str(manifest.get("kind", "")) if isinstance(manifest, dict) else ""
