"""What ``semantic-ranker train-embedder`` does: files in, a model folder and plain figures out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker.embedder import Embedder
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder.base import base_of
from semantic_ranker_training.data import read_groups
from semantic_ranker_training.gaussian.config import GaussianConfig
from semantic_ranker_training.gaussian.pseudo import pseudo_queries
from semantic_ranker_training.gaussian.report import isotropy
from semantic_ranker_training.gaussian.trainer import DEFAULT_BASE, GaussianTrainer
from semantic_ranker_training.gaussian.whitening import DEFAULT_POWER, Whitening, write_whitened
from semantic_ranker_training.prepare.documents import read_documents
from semantic_ranker_training.prepare.strategies import document_passages

_MOST_DOCUMENTS = 5000
_WORDS = 180
_FIGURES = ("average_cosine", "effective_rank", "partition_ratio", "uniformity", "hubness", "sigreg")


def train(
    data: StrPath, val: StrPath | None, *, base: str | None, out: StrPath, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Train on a file of pairs; see `GaussianTrainer.train`."""
    groups = list(read_groups(data))
    held_out = None if val is None else list(read_groups(val))
    trainer = GaussianTrainer(base or DEFAULT_BASE, GaussianConfig.of(settings))
    result = trainer.train(groups, held_out, output_dir=out)
    return {"model": str(result.model), "final": str(result.final), "dim": result.dim, "metrics": result.metrics}


def fit_layer(
    documents: StrPath, *, base: str | None, out: StrPath, queries: StrPath | None, power: float | None
) -> dict[str, Any]:
    """Fit a layer to documents, and to queries or to sentences that stand in for them, and write the model with it.

    Args:
        documents: A folder of documents, or a file of them; at most 5,000 passages are read.
        base: A sentence-transformers folder, ``package:folder`` or hub id.
        out: The model folder to write.
        queries: A file of queries, one a line; None takes first sentences of the documents.
        power: Of the covariance; None takes what the benchmark found best.

    Raises:
        InvalidInputError: There are too few passages, or a file of queries is empty.
    """
    folder = base_of(base or DEFAULT_BASE)
    texts = _passages(documents)
    asked = pseudo_queries(texts) if queries is None else _lines(Path(queries))
    embedder = Embedder(folder, precision="fp32")
    vectors = embedder.embed_documents(texts)
    layer = Whitening.fit(vectors, embedder.embed_queries(asked), power=DEFAULT_POWER if power is None else power)
    write_whitened(folder, layer, out, overwrite=True)
    before, after = isotropy(vectors), isotropy(layer(vectors))
    notes = [f"{name:<16} {before[name]:8.3f} before {after[name]:8.3f} after" for name in _FIGURES]
    kind = "queries" if queries is not None else "first sentences in the place of queries"
    notes.append(f"Fitted to {len(texts)} passages and {len(asked)} {kind}, power {layer.power:g}, without labels.")
    return {
        "model": str(out),
        "dim": len(layer.bias),
        "fitted": layer.to_dict(),
        "isotropy": {"before": before, "after": after},
        "notes": notes,
    }


def _passages(path: StrPath) -> list[str]:
    found = [text for document in read_documents(path) for text in document_passages(document, _WORDS)]
    if len(found) < 12:
        raise InvalidInputError(f"Expected 12 passages or more to fit a layer to, got {len(found)}: give more text.")
    step = max(1, len(found) // _MOST_DOCUMENTS)
    return found[::step][:_MOST_DOCUMENTS]


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"Cannot read queries from {str(path)!r}: {error}.") from error
    found = [line.strip() for line in content.splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        found = [str(json.loads(line).get("text", "")) for line in found]
    if len(found) < 2:
        raise InvalidInputError(f"Expected 2 queries or more in {str(path)!r}, one a line, got {len(found)}.")
    return found
