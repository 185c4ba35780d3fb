"""Texts that say nearly the same: shingles, their overlap, and clusters by MinHash. Linear in the number of texts."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+")  # Chinese and Japanese know no spaces: a sign is a word
_SIZE = 3  # words of a shingle
_PERMUTATIONS, _BANDS = 64, 16
_PRIME = np.uint64(4_294_967_311)  # the smallest above 2 ** 32
_MOST_CHARACTERS = 100_000
_MOST_COMPARISONS = 8  # clusters a text is compared with for each band; keeps a bucket of thousands linear

_generator = np.random.default_rng(20_240_229)
_FACTORS = _generator.integers(1, 2**31, _PERMUTATIONS, dtype=np.uint64)
_OFFSETS = _generator.integers(0, 2**31, _PERMUTATIONS, dtype=np.uint64)


def normalized(text: str) -> str:
    """Return a text's words, lower case, one space between: equal for texts that differ in marks and case only."""
    return " ".join(_WORD.findall(text.casefold())) or " ".join(text.split())


def shingles(text: str) -> NDArray[np.uint32]:
    """Return the sorted hashes of a text's runs of three words, uint32 (n,); shorter texts are one run."""
    words = _WORD.findall(text[:_MOST_CHARACTERS].casefold())
    if not words:
        return np.array([zlib.crc32(text.encode("utf-8", "replace"))], np.uint32)
    hashes = np.array([zlib.crc32(word.encode()) for word in words], np.uint64)
    size = min(_SIZE, len(hashes))
    mixed = np.zeros(len(hashes) - size + 1, np.uint64)
    for place in range(size):
        # Knuth's multiplicative hash; overflow wraps on purpose.
        mixed = (mixed + hashes[place : place + len(mixed)]) * np.uint64(11_400_714_819_323_198_485)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))


def jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    """Return shared shingles by all shingles, 0 to 1."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def containment(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    """Return shared shingles by those of the shorter text, 0 to 1: 1 where one text holds the other."""
    return len(np.intersect1d(a, b, assume_unique=True)) / min(len(a), len(b))


def near_duplicate_clusters(texts: Sequence[str], threshold: float = 0.8) -> NDArray[np.int64]:
    """Return for each text the index of the first text that it is a near duplicate of, its own where there is none.

    Texts are compared where one of 16 bands of 4 MinHash values (Broder 1997) is equal, and counted as duplicates by
    the exact Jaccard index of their runs of three words. The result depends on the texts and their order alone.

    Args:
        texts: The texts.
        threshold: Jaccard index from which two texts are near duplicates, above 0 and at most 1. Pairs far below 0.6
            may be missed whatever the threshold.

    Raises:
        InvalidInputError: The threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise InvalidInputError(f"Expected a threshold above 0 and at most 1, got {threshold}.")
    cluster = np.arange(len(texts), dtype=np.int64)
    kept: dict[int, NDArray[np.uint32]] = {}
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for row, text in enumerate(tqdm(texts, desc="near duplicates", unit="text", disable=None, delay=2)):
        own = shingles(text)
        keys = list(enumerate(_bands(own)))
        seen = dict.fromkeys(other for key in keys for other in buckets.get(key, ()))
        found = next((other for other in sorted(seen) if jaccard(own, kept[other]) >= threshold), None)
        if found is not None:
            cluster[row] = found
            continue
        kept[row] = own
        for key in keys:
            bucket = buckets.setdefault(key, [])
            if len(bucket) < _MOST_COMPARISONS:
                bucket.append(row)
    return cluster


class DuplicateChecker:
    """Tells whether a text repeats one of others: equal words, or nearly the same, or one inside the other.

    Args:
        texts: The texts to compare with.
        threshold: From which Jaccard index, or share of the shorter text found in the other, a text repeats another;
            None compares words only. Texts under 8 shingles repeat only texts with equal words.
    """

    def __init__(self, texts: Iterable[str], threshold: float | None = 0.8) -> None:
        texts = list(texts)
        self._threshold = threshold
        self._equal = {normalized(text) for text in texts}
        self._shingles = [] if threshold is None else [shingles(text) for text in texts]

    def reason(self, text: str) -> str:
        """Return ``duplicate``, ``near_duplicate`` or an empty string."""
        if normalized(text) in self._equal:
            return "duplicate"
        if self._threshold is None:
            return ""
        own = shingles(text)
        long = [other for other in self._shingles if min(len(own), len(other)) >= 8]
        return "near_duplicate" if any(containment(own, other) >= self._threshold for other in long) else ""

    def add(self, text: str) -> None:
        """Compare later texts with this one too."""
        self._equal.add(normalized(text))


def _bands(own: NDArray[np.uint32]) -> list[bytes]:
    signature = np.full(_PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(own), 4096):  # bounds the matrix for long texts
        values = own[start : start + 4096].astype(np.uint64)[:, None] * _FACTORS + _OFFSETS
        np.minimum(signature, (values % _PRIME).min(0), out=signature)
    return [band.tobytes() for band in signature.astype(np.uint32).reshape(_BANDS, -1)]
