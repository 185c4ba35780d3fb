"""The interaction head in numpy: from the states of a query and of passages to logits.

The same arithmetic as `semantic_ranker.backends.interaction.InteractionHead`, which is what is trained; a test holds
them together. A passage's logit does not depend on the other passages: what BLAS adds up in an order that changes with
the size of a matrix is either computed passage by passage, or in float64 and rounded.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.segments.states import EncodedPassage, EncodedQuery

_LENGTH_SATURATION = 1.2
_LENGTH_NORMALISATION = 0.75
_MEAN_LENGTH = 150.0
_TOKENS_AT_ONCE = 16_384  # bounds the tables of equal words
_NO_DIGIT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class InteractionHead:
    """Weights of the head; see the torch class for what the features mean.

    Attributes:
        term_weight: float32 (vocabulary,), importance of a query token.
        match_id: int32 (vocabulary,), tokens with equal numbers count as the same word.
        feature_weight: float32 (6,).
        mix_in: float32 (32, 9), and its bias ``mix_in_bias`` (32,).
        mix_in_bias: See ``mix_in``.
        mix_out: float32 (32,), and its bias ``mix_out_bias`` ().
        mix_out_bias: See ``mix_out``.
        scale: float32 (), of the logit.
        bias: float32 (), of the logit.
    """

    term_weight: NDArray[np.float32]
    match_id: NDArray[np.int32]
    feature_weight: NDArray[np.float32]
    mix_in: NDArray[np.float32]
    mix_in_bias: NDArray[np.float32]
    mix_out: NDArray[np.float32]
    mix_out_bias: NDArray[np.float32]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read the bytes of a ``.npz`` file.

        Raises:
            ModelLoadError: It is damaged, lacks an array, or holds objects.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except Exception as error:  # numpy and zipfile raise a dozen unrelated classes here
            raise ModelLoadError(
                f"Cannot read the interaction head ({error}): copy, download or export the model again."
            ) from error

    def score(self, query: EncodedQuery, passages: Sequence[EncodedPassage]) -> NDArray[np.float32]:
        """Return logits, float32 (n,), of passages for one query."""
        logits = np.empty(len(passages), np.float32)
        start = 0
        while start < len(passages):
            end, tokens = start, 0
            while end < len(passages) and (end == start or tokens + len(passages[end].ids) <= _TOKENS_AT_ONCE):
                tokens += len(passages[end].ids)
                end += 1
            logits[start:end] = self._block(query, passages[start:end])
            start = end
        return logits

    def features(self, query: EncodedQuery, passages: Sequence[EncodedPassage]) -> NDArray[np.float64]:
        """Return what is compared, float64 (n, 6): cosine, words, phrases, best and mean soft match; the last is 0."""
        lengths = np.asarray([len(passage.ids) for passage in passages])
        found = np.zeros((len(passages), 6))
        found[:, 0] = np.stack([passage.pooled for passage in passages]) @ query.pooled.astype(np.float64)
        full = np.flatnonzero(lengths)
        if len(full) and len(query.ids):
            kept = [passages[index] for index in full.tolist()]
            weight = self.term_weight[query.ids].astype(np.float64)
            found[full, 1:5] = self._matches(query, weight, kept, lengths[full])
        return found

    def _block(self, query: EncodedQuery, passages: Sequence[EncodedPassage]) -> NDArray[np.float32]:
        lengths = np.asarray([len(passage.ids) for passage in passages])
        weight = self.term_weight[query.ids].astype(np.float64)
        features = self.features(query, passages)
        count = max(len(query.ids), 1)
        facts = np.empty((len(passages), 3))
        facts[:, 0] = math.log1p(len(query.ids)) / 3.0
        facts[:, 1] = np.log1p(lengths) / 5.0
        facts[:, 2] = weight.sum() / count / 5.0
        inner = np.concatenate([features, facts], 1) @ self.mix_in.T + self.mix_in_bias
        mixed = _gelu(inner) @ self.mix_out + self.mix_out_bias
        return (self.scale * (features @ self.feature_weight + mixed) + self.bias).astype(np.float32)

    def _matches(
        self,
        query: EncodedQuery,
        weight: NDArray[np.float64],
        passages: Sequence[EncodedPassage],
        lengths: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        """Return lexical, phrase, soft and mean match of passages that have words, float64 (n, 4)."""
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        term = weight * query.importance
        words = self.match_id[np.concatenate([passage.ids for passage in passages])]
        equal = self.match_id[query.ids][:, None] == words
        found = np.add.reduceat(equal, starts, axis=1, dtype=np.float32)
        norm = 1.0 - _LENGTH_NORMALISATION + _LENGTH_NORMALISATION * lengths / _MEAN_LENGTH
        saturated = found * (_LENGTH_SATURATION + 1.0) / (found + _LENGTH_SATURATION * norm)
        lexical = term @ saturated / (term.sum() + _NO_DIGIT)

        best = np.empty(saturated.shape)
        for place, passage in enumerate(passages):
            similarity = query.tokens @ passage.codes.T.astype(np.float32)
            best[:, place] = (similarity * passage.scale).max(axis=1)
        soft_weight = (weight + 0.05) * query.importance
        soft = soft_weight @ best / (soft_weight.sum() + _NO_DIGIT)
        phrase = _phrase(equal, starts, term)
        return np.stack([lexical, phrase, soft, best.mean(0)], 1)


def _phrase(equal: NDArray[np.bool_], starts: NDArray[np.intp], term: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted share of adjacent query tokens that are adjacent in each passage, (n,)."""
    if len(term) < 2:
        return np.zeros(len(starts))
    adjacent = np.zeros((len(term) - 1, equal.shape[1]), np.bool_)
    np.logical_and(equal[:-1, :-1], equal[1:, 1:], out=adjacent[:, :-1])
    adjacent[:, starts[1:] - 1] = False  # the last token of one passage and the first of the next
    both = term[:-1] + term[1:]
    found: NDArray[np.float64] = both @ np.logical_or.reduceat(adjacent, starts, axis=1) / (both.sum() + _NO_DIGIT)
    return found


def _gelu(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Exact GELU; a few thousand numbers a query do not deserve an import of scipy."""
    erf = np.fromiter(map(math.erf, (values / math.sqrt(2.0)).ravel().tolist()), np.float64, values.size)
    found: NDArray[np.float64] = 0.5 * values * (1.0 + erf.reshape(values.shape))
    return found
