"""Writes what lets the runtime encode each side of an `InteractionCrossEncoder` alone: segment graphs and the head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.model_folder import SEGMENT_HEAD, SEGMENT_WEIGHTS
from semantic_ranker.segments.engine import SegmentBackend
from semantic_ranker.segments.head import InteractionHead as NumpyHead
from semantic_ranker.segments.states import EncodedPassage, EncodedQuery
from semantic_ranker.tokenization import EncodedPair
from semantic_ranker_training.segment_graph import segment_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.backends.interaction import InteractionCrossEncoder, InteractionHead


def has_segments(model: object) -> bool:
    """Whether a module encodes each side alone, so that passages can be encoded before any query."""
    return getattr(getattr(model, "config", None), "joint_layers", None) == 0


def write_segments(
    model: InteractionCrossEncoder,
    folder: Path,
    precisions: Sequence[str],
    calibration: Sequence[Sequence[int]] = (),
    *,
    compact: bool = False,
) -> None:
    """Write the head and the segment graphs of a model without joint layers into a model folder.

    Args:
        model: Its weights; left as it is.
        folder: Has a folder ``onnx``.
        precisions: Out of ``fp32`` and ``int8``; others have no segment graph.
        calibration: As for `segment_graph`.
        compact: As for `segment_graph`.
    """
    write_head(model.head, folder / SEGMENT_HEAD)
    for precision in precisions:
        if precision in SEGMENT_WEIGHTS:
            graph = segment_graph(model, int8=precision == "int8", calibration=calibration, compact=compact)
            (folder / SEGMENT_WEIGHTS[precision]).write_bytes(graph)


def write_head(head: InteractionHead, path: Path) -> None:
    """Write the head's arrays as `semantic_ranker.segments.InteractionHead` reads them."""
    weights = {name: tensor.detach().float().numpy() for name, tensor in head.state_dict().items()}
    np.savez_compressed(
        path,
        term_weight=weights["term_weight"],
        match_id=weights["match_id"].astype(np.int32),
        feature_weight=weights["feature_weight"],
        mix_in=weights["mix.0.weight"],
        mix_in_bias=weights["mix.0.bias"],
        mix_out=weights["mix.2.weight"][0],
        mix_out_bias=weights["mix.2.bias"][0],
        scale=weights["scale"],
        bias=weights["bias"],
    )


class SegmentScorer:
    """Scores joined pairs by a folder's segment graph, for the parity gate; a backend like those of whole graphs.

    Args:
        folder: Where `write_segments` wrote.
        precision: ``int8`` keeps the states of passages as the runtime does; ``fp32`` keeps them in full, because the
            gate asks whether graph and head are right.
    """

    name = "onnx"

    def __init__(self, folder: Path, precision: str) -> None:
        path = folder / SEGMENT_WEIGHTS[precision]
        self.precision = precision
        self._backend = SegmentBackend(path, precision, path.read_bytes())
        self._head = NumpyHead.read((folder / SEGMENT_HEAD).read_bytes())

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits, float32 (batch,), from three int64 (batch, length) arrays."""
        rows = zip(input_ids, attention_mask.astype(bool), token_type_ids, strict=True)
        return np.concatenate([self._one(ids[mask], types[mask] == 0) for ids, mask, types in rows])

    def _one(self, ids: NDArray[np.int64], is_query: NDArray[np.bool_]) -> NDArray[np.float32]:
        question, first, last = ids[is_query], ids[0], ids[-1]
        tokens, pooled, importance = self._backend.encode(question)
        # By id: where the gate hides the token types, both sides come as one, with specials in the middle.
        words = (question != first) & (question != last)
        query = EncodedQuery(question[words], tokens[words], pooled, importance[words])
        return self._head.score(query, [self._passage(ids[~is_query], pooled)])

    def _passage(self, ids: NDArray[np.int64], like: NDArray[np.float32]) -> EncodedPassage:
        if not len(ids):
            none = np.empty((0, len(like)), np.float32)
            return EncodedPassage(ids.astype(np.int32), none.astype(np.int8), none[:, 0], np.zeros_like(like))
        tokens, pooled, _ = self._backend.encode(ids)
        if self.precision == "int8":
            return EncodedPassage.of(EncodedPair(ids, np.zeros_like(ids), None, False), tokens, pooled)
        words = tokens[1:-1]
        scale = np.ones(len(words), np.float32)
        return EncodedPassage(ids[1:-1].astype(np.int32), words, scale, pooled)  # type: ignore[arg-type]
