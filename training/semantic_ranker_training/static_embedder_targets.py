"""What the static embedder learns from: unlabelled texts, and the teacher's vectors of them, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.pairs import load_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker_training.config import SourceConfig

_CHUNK = 512
_CHARACTERS_PER_TOKEN = 8


def sample_texts(sources: Sequence[SourceConfig], data: Path, seed: int) -> list[str]:
    """Return the distinct passages and queries of all sources, shuffled, so that any beginning is a fair sample.

    Args:
        sources: What to take.
        data: Folder that their files are below.
        seed: Of the sample and the order.
    """
    texts: dict[str, None] = {}
    for source in sources:
        pairs = load_source(source, data, seed)
        texts.update(dict.fromkeys((*pairs.passages, *pairs.queries)))
    shuffled = list(texts)
    random.Random(f"{seed}/static").shuffle(shuffled)
    return shuffled


def digest(texts: Sequence[str]) -> str:
    """Return the sha256 of a list of texts, in hex."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def teacher_vectors(teacher: Path, texts: Sequence[str], folder: Path, *, max_tokens: int) -> NDArray[np.float32]:
    """Embed texts with a sentence-transformers folder, chunk by chunk: a killed run continues where it was.

    Args:
        teacher: The folder.
        texts: The texts.
        folder: Where the chunks are kept; one of other texts is refused.
        max_tokens: Tokens kept of a text.

    Returns:
        float32 (n_texts, dim), as the teacher normalises them.

    Raises:
        InvalidInputError: The folder holds vectors of other texts.
    """
    _claim(folder, {"texts": digest(texts), "max_tokens": max_tokens, "teacher": teacher.name})
    starts = range(0, len(texts), _CHUNK)
    paths = [folder / f"{start:07d}.npy" for start in starts]
    missing = [start for start, path in zip(starts, paths, strict=True) if not path.is_file()]
    if missing:
        _embed(teacher, texts, folder, missing, max_tokens)
    return np.concatenate([np.load(path).astype(np.float32) for path in paths])


def _embed(teacher: Path, texts: Sequence[str], folder: Path, starts: Sequence[int], max_tokens: int) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(teacher), device="cpu", local_files_only=True)
    model.max_seq_length = max_tokens
    for start in tqdm(starts, desc="teacher", unit="chunk", disable=None):
        part = [text[: max_tokens * _CHARACTERS_PER_TOKEN] for text in texts[start : start + _CHUNK]]
        vectors = model.encode(part, batch_size=16, convert_to_numpy=True, show_progress_bar=False)
        temporary = folder / "chunk.tmp.npy"
        np.save(temporary, vectors.astype(np.float16))
        os.replace(temporary, folder / f"{start:07d}.npy")


def _claim(folder: Path, content: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != content:
        raise InvalidInputError(f"{folder} holds vectors of other texts: give another --out, or remove the folder.")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
