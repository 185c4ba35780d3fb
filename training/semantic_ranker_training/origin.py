"""The source of an export, opened: a module of ours, its folder, or a sequence classifier of transformers."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from semantic_ranker._extras import requires_extra
from semantic_ranker._settings import ModelSettings
from semantic_ranker.backends.interaction import ARCHITECTURE, InteractionCrossEncoder
from semantic_ranker.backends.torch import TorchBackend
from semantic_ranker.embedding.folder import KIND as EMBEDDER
from semantic_ranker.embedding.folder import kind_of
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import ModelFolder
from semantic_ranker_training.manifest import ModelMetadata
from semantic_ranker_training.quiet import quiet_library

WEIGHTS = "model.safetensors"
_SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"
# All but the first two are of no use to our runtime, but transformers and sentence-transformers open folders with them.
_FILES = (
    "config.json",
    WEIGHTS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    _SENTENCE_TRANSFORMERS,
    "sentence_bert_config.json",
)
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_TIMEOUT_S = 5.0
_QUERY_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is exported.

    Attributes:
        backend: The module, run by torch.
        settings: How it is scored.
        config: Its ``config.json``.
        manifest: Its ``semantic_ranker.json``, or None.
    """

    backend: TorchBackend
    settings: ModelSettings
    config: dict[str, Any]
    manifest: dict[str, Any] | None

    @classmethod
    def collect(
        cls,
        source: str | os.PathLike[str] | InteractionCrossEncoder,
        folder: Path,
        tokenizer: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Open a source and copy its configuration, weights and tokenizer to the new folder.

        Raises:
            ModelLoadError: It is absent, incomplete, no reranker, or has no safetensors.
        """
        if isinstance(source, InteractionCrossEncoder):
            source.save(folder)
            origin, name = folder, "reranker"
        else:
            origin = _local(source)
            name = Path(source).resolve().name
        _refuse_bi_encoder(origin)
        # Read by the rules of the runtime: one label, no code, hashes where there is a manifest.
        opened = ModelFolder.open(origin)
        if origin != folder:
            _copy(opened, folder)
        _copy_tokenizer(Path(tokenizer) if tokenizer else origin / "tokenizer.json", folder)
        config: dict[str, Any] = json.loads(opened.config.content)
        settings = opened.settings
        if opened.manifest is None:
            settings = replace(settings, name=name, activation=_activation(origin) or settings.activation)
            if ARCHITECTURE in config.get("architectures", ()):
                settings = replace(settings, layout="segments", max_query_tokens=_QUERY_TOKENS)
        with quiet_library():
            backend = TorchBackend(origin)
        return cls(backend=backend, settings=settings, config=config, manifest=opened.manifest)

    def metadata(self) -> ModelMetadata:
        """Return what the source says about itself."""
        return ModelMetadata.of_source(self.settings, self.config, self.manifest)

    def described_by(self, metadata: ModelMetadata) -> Self:
        """Return the same source with the settings that the metadata overrides.

        Raises:
            InvalidInputError: ``max_length`` is more than the model can read.
        """
        known = self.settings
        max_length = metadata.max_length or known.max_length
        if max_length > known.length_limit:
            raise InvalidInputError(
                f"Expected max_length of at most {known.length_limit}, which is what the model can read, "
                f"got {max_length}."
            )
        settings = replace(
            known,
            name=metadata.name,
            max_length=max_length,
            max_query_tokens=metadata.max_query_tokens or known.max_query_tokens,
            activation=metadata.activation or known.activation,
            scale=metadata.scale,
            bias=metadata.bias,
            languages=metadata.languages,
        )
        return replace(self, settings=settings)


def _refuse_bi_encoder(folder: Path) -> None:
    modules = folder / "modules.json"
    # sentence-transformers writes this file for rerankers too, but only a bi-encoder pools token states.
    if kind_of(folder) == EMBEDDER or (modules.is_file() and "Pooling" in modules.read_text(encoding="utf-8")):
        raise ModelLoadError(
            f"Expected a reranker in {str(folder)!r}, got a bi-encoder, which gives vectors: export it with "
            "`export_embedder` or `semantic-ranker export --kind embedder`."
        )


def _activation(folder: Path) -> Literal["identity", "sigmoid"] | None:
    """Return what sentence-transformers 6 stores beside ``config.json``."""
    try:
        stored = json.loads((folder / _SENTENCE_TRANSFORMERS).read_bytes()).get("activation_fn")
    except (OSError, ValueError, AttributeError):
        return None
    return None if stored is None else "identity" if str(stored).endswith("Identity") else "sigmoid"


def _local(source: str | os.PathLike[str]) -> Path:
    """Return a folder as it is; fetch the safetensors of what can only be a hub id."""
    path = Path(source)
    if path.exists() or not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        return path
    with requires_extra("hub"):
        from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(source, allow_patterns=[*_FILES, "tokenizer.json"], etag_timeout=_TIMEOUT_S))
    except Exception as error:  # HTTP libraries differ between versions of the hub client, and so do their errors
        raise ModelLoadError(
            f"{source!r} is no folder here, and it cannot be downloaded ({type(error).__name__}): check the name and "
            "the network, or give the path of a model folder."
        ) from error


def _copy(origin: ModelFolder, folder: Path) -> None:
    if not (origin.path / WEIGHTS).is_file():
        raise ModelLoadError(
            f"Expected {WEIGHTS} in {str(origin.path)!r}, found none. Pickled weights (.bin, .pt) run code when "
            "they are opened and are refused: save the model with `save_pretrained`, which writes one safetensors file."
        )
    listed = None if origin.manifest is None else origin.manifest.get("files", {})
    for name in _FILES:
        if (origin.path / name).is_file() and (listed is None or name in listed):
            (folder / name).write_bytes(origin.read(name).content)


def _copy_tokenizer(path: Path, folder: Path) -> None:
    if not path.is_file():
        raise ModelLoadError(
            f"Expected {path.name} in {str(path.parent)!r}, found none: write it with transformers' "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`, or give tokenizer=FILE."
        )
    (folder / "tokenizer.json").write_bytes(path.read_bytes())
