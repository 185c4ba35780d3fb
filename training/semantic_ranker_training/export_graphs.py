"""Writes a reranker's graphs: fused ones straight from the weights of BERT-like models, traced ones of all others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.conversion.encoder_graph import reranker_graph
from semantic_ranker.conversion.encoder_weights import EncoderWeights, is_bert_like
from semantic_ranker.conversion.reranker import pair_statistics
from semantic_ranker_training.export_options import GRAPHS, ExportOptions
from semantic_ranker_training.graph import export_graph, with_row_linear
from semantic_ranker_training.half import write_fp16
from semantic_ranker_training.quantization import export_int8

if TYPE_CHECKING:
    from semantic_ranker_training.origin import Origin

logger = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors"


def write_graphs(origin: Origin, folder: Path, precisions: Sequence[str], options: ExportOptions) -> None:
    """Write the fp32 graph, which the others are measured against, and those of the other precisions.

    Args:
        origin: The opened source.
        folder: With its configuration, weights and tokenizer.
        precisions: ``int8`` and ``fp16`` in it write those too.
        options: How int8 is made.
    """
    fp32, int8 = folder / GRAPHS["fp32"], folder / GRAPHS["int8"]
    logger.info("exporting %s to ONNX", origin.settings.name)
    fused = not isinstance(origin.backend.model, InteractionCrossEncoder) and is_bert_like(origin.config)
    if fused:
        weights = EncoderWeights.read(origin.config, folder / _WEIGHTS)
        fp32.write_bytes(reranker_graph(weights))
        if "int8" in precisions:
            seen = pair_statistics(origin.settings, weights, folder)
            int8.write_bytes(reranker_graph(weights, int8=True, row_norm=options.row_norm, statistics=seen))
    else:
        model, types, limit = origin.backend.model, origin.backend.uses_token_types, origin.settings.length_limit
        export_graph(with_row_linear(model), fp32, token_types=types, max_length=limit)
        if "int8" in precisions:
            export_int8(model, int8, token_types=types, max_length=limit, row_norm=options.row_norm)
    if "fp16" in precisions:
        write_fp16(fp32, folder / GRAPHS["fp16"])
