"""Runs a static embedder: a text's vector is the sum of stored token vectors. numpy only, no network of layers."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker._settings import MANIFEST, SCHEMA_VERSION, ModelSettings
from semantic_ranker.backends.words import WordTable
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import ModelFolder, VerifiedFile, sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

KIND = "static-embedder"
"""``kind`` in the manifest of such a folder."""
BUNDLED_EMBEDDER = Path(__file__).parent.parent / "models" / "embedder-static-en"
"""Folder of the static embedder that ships with the package."""
VECTORS, SCALES = "vectors.npy", "scales.npy"
CHARACTERS_PER_TOKEN = 8
"""Texts are cut to this many characters a token before they are tokenised: 10 MB must cost milliseconds."""
_TEXTS_AT_ONCE = 512  # bounds the encodings held in memory
_SURROGATES = re.compile("[\ud800-\udfff]")


class StaticBackend:
    """Token vectors of a static embedder, int8 with one scale a token; threads may share it.

    The vector of a text is the sum of its tokens' vectors, scaled to length 1. How much a token counts is in the
    length of its vector. A text without any token gets the vector of the unknown token, so no vector is zero. The
    vector of a text does not depend on the texts beside it.

    Args:
        folder: A folder with ``semantic_ranker.json``, ``tokenizer.json``, ``vectors.npy`` and ``scales.npy``;
            None opens the bundled one.

    Attributes:
        path: The folder.
        manifest: Content of ``semantic_ranker.json``.
        name: ``static``.
        precision: ``int8``.
        dim: Length of a vector.
        max_length: Tokens read of a text.
        weights_sha256: Hash of both arrays, in hex.
        tokenizer_sha256: Hash of the tokenizer's file, in hex.

    Raises:
        ModelLoadError: A file is absent, damaged, of another kind, or the arrays do not fit the vocabulary.
    """

    name = "static"
    precision = "int8"

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.path = BUNDLED_EMBEDDER if folder is None else Path(folder)
        opened = _open(self.path)
        self.manifest: dict[str, Any] = opened.manifest or {}
        self.max_length = _count(self.manifest, "max_length")
        tokenizer, vectors, scales = (opened.read(name) for name in ("tokenizer.json", VECTORS, SCALES))
        self._tokenizer = _tokenizer(tokenizer)
        self._words = WordTable(self._tokenizer)
        self._vectors, self._scales = _array(vectors, np.int8, 2), _array(scales, np.float32, 1)
        self._unknown = self._check_arrays()
        self.dim = int(self._vectors.shape[1])
        self.tokenizer_sha256 = tokenizer.sha256
        self.weights_sha256 = sha256(f"{vectors.sha256} {scales.sha256}".encode())

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 (n_texts, dim), L2-normalised.

        Args:
            texts: The texts; of each, the first ``max_length`` tokens (and ``8 * max_length`` characters) are read.

        Raises:
            InvalidInputError: It is one string instead of a list, or an item is no string.
        """
        _check_texts(texts)
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            for row, ids in enumerate(self._encode(texts[start : start + _TEXTS_AT_ONCE]), start):
                found[row] = self._vector(ids)
        return found

    def tokens(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int64]], NDArray[np.float32]]:
        """Return the ids of the tokens that are read of each text, int64 (n_tokens,) each, and the texts' vectors."""
        _check_texts(texts)
        found = self._encode(texts)
        vectors = np.stack([self._vector(ids) for ids in found]) if found else np.empty((0, self.dim), np.float32)
        return [np.asarray(ids, np.int64) for ids in found], vectors

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [ids[: self.max_length] for ids in self._words.encode([self._head(text) for text in texts])]

    @property
    def codes(self) -> NDArray[np.int8]:
        """Directions of the token vectors, int8 (vocabulary, dim): times a scale a token, they are the vectors."""
        return self._vectors

    def _head(self, text: str) -> str:
        return _SURROGATES.sub("\ufffd", text[: self.max_length * CHARACTERS_PER_TOKEN])

    def _vector(self, ids: list[int]) -> NDArray[np.float32]:
        rows = np.asarray(ids or [self._unknown], np.int64)
        # One small matrix product: it reads int8 rows, and no float table is ever kept.
        total: NDArray[np.float32] = self._scales[rows] @ self._vectors[rows].astype(np.float32)
        length = float(np.sqrt(total @ total))
        return total / length if length > 0 else self._vector([self._unknown])

    def _check_arrays(self) -> int:
        size = self._tokenizer.get_vocab_size()
        if self._vectors.shape[0] != size or self._scales.shape != (size,):
            raise ModelLoadError(
                f"Expected one row of {VECTORS} and one value of {SCALES} for each of the {size} tokens in "
                f"{str(self.path)!r}, got {self._vectors.shape} and {self._scales.shape}: the files are not of one "
                "model; copy or train it again."
            )
        unknown = next((row for row in map(self._tokenizer.token_to_id, ("[UNK]", "<unk>")) if row is not None), 0)
        lengths = self._scales * np.abs(self._vectors).max(axis=1, initial=0)
        if not np.isfinite(self._scales).all() or lengths[unknown] <= 0:
            raise ModelLoadError(
                f"Expected finite scales and a vector for unknown tokens in {str(self.path)!r}, got others: "
                "the model is damaged; copy or train it again."
            )
        return int(unknown)


def _open(path: Path) -> ModelFolder:
    bare = ModelFolder(path=path, settings=ModelSettings(name=path.name), config=VerifiedFile(path, b"", ""))
    if not path.is_dir():
        raise ModelLoadError(
            f"Expected a model folder at {str(path)!r}, found {'a file' if path.exists() else 'nothing'}."
        )
    try:
        manifest = json.loads(bare.read(MANIFEST).content)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"Cannot read {MANIFEST} in {str(path)!r}: {error}.") from error
    found = (manifest.get("kind"), manifest.get("schema_version")) if isinstance(manifest, dict) else (None, None)
    if found != (KIND, SCHEMA_VERSION):
        raise ModelLoadError(
            f"Expected kind {KIND!r} and schema_version {SCHEMA_VERSION} in {MANIFEST} of {str(path)!r}, "
            f"got {found[0]!r} and {found[1]!r}."
        )
    return ModelFolder(path=path, settings=bare.settings, config=bare.config, manifest=manifest)


def _tokenizer(file: VerifiedFile) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(file.content)
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelLoadError(f"Cannot open {file.path.name} ({error}): copy or train the model again.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # "[SEP]" in a document is text, not the end of it.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _array(file: VerifiedFile, dtype: type[np.generic], dimensions: int) -> NDArray[Any]:
    try:
        array = np.load(io.BytesIO(file.content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ModelLoadError(f"Cannot read {str(file.path)!r} ({error}): copy or train the model again.") from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != dimensions:
        raise ModelLoadError(
            f"Expected {np.dtype(dtype).name} with {dimensions} dimensions in {str(file.path)!r}, got "
            f"{getattr(array, 'dtype', type(array).__name__)} with {getattr(array, 'ndim', 'none')}."
        )
    return array


def _count(manifest: dict[str, Any], key: str) -> int:
    value = manifest.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelLoadError(f"Expected {key} in {MANIFEST} to be an int of 1 or more, got {value!r}.")
    return value


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, (str, bytes)):
        raise InvalidInputError(f"Expected a list of str, got one {type(texts).__name__}: put it in a list.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"Expected str at index {index}, got {type(text).__name__}.", index)
