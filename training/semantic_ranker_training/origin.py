"""The source of an export, opened: a module of ours, its folder, or a sequence classifier of transformers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from semantic_ranker._settings import ModelSettings
from semantic_ranker.backends.torch import ARCHITECTURE, InteractionCrossEncoder, TorchBackend
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import ModelFolder
from semantic_ranker_training.manifest import ModelMetadata

WEIGHTS = "model.safetensors"
# Of no use to our runtime, but what transformers and sentence-transformers open a tokenizer with.
_EXTRAS = ("tokenizer_config.json", "special_tokens_map.json")
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
            origin, name = Path(source), Path(source).resolve().name
        # Read by the rules of the runtime: one label, no code, hashes where there is a manifest.
        opened = ModelFolder.open(origin)
        if origin != folder:
            _copy(opened, folder)
        _copy_tokenizer(Path(tokenizer) if tokenizer else origin / "tokenizer.json", folder)
        config: dict[str, Any] = json.loads(opened.config.content)
        settings = opened.settings
        if opened.manifest is None:
            settings = replace(settings, name=name)
            if ARCHITECTURE in config.get("architectures", ()):
                settings = replace(settings, layout="segments", max_query_tokens=_QUERY_TOKENS)
        return cls(backend=TorchBackend(origin), settings=settings, config=config, manifest=opened.manifest)

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


def _copy(origin: ModelFolder, folder: Path) -> None:
    if not (origin.path / WEIGHTS).is_file():
        raise ModelLoadError(
            f"Expected {WEIGHTS} in {str(origin.path)!r}, found none. Pickled weights (.bin, .pt) run code when "
            "they are opened and are refused: save the model with `save_pretrained`, which writes one safetensors file."
        )
    listed = None if origin.manifest is None else origin.manifest.get("files", {})
    for name in ("config.json", WEIGHTS, *_EXTRAS):
        if (origin.path / name).is_file() and (listed is None or name in listed):
            (folder / name).write_bytes(origin.read(name).content)


def _copy_tokenizer(path: Path, folder: Path) -> None:
    if not path.is_file():
        raise ModelLoadError(
            f"Expected {path.name} in {str(path.parent)!r}, found none: write it with transformers' "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`, or give tokenizer=FILE."
        )
    (folder / "tokenizer.json").write_bytes(path.read_bytes())
