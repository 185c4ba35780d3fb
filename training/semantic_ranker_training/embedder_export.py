"""From a sentence-transformers folder to a bi-encoder's folder with ONNX graphs, checked, described and hashed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker._extras import requires_extra
from semantic_ranker._settings import MANIFEST
from semantic_ranker._staging import file_entries, staged_folder
from semantic_ranker.conversion.embedder import (
    config_of,
    copy_files,
    manifest_of,
    normalizes,
    opened_graph,
    tokenizer_of,
    write_graphs,
)
from semantic_ranker.conversion.encoder_weights import EncoderWeights, is_bert_like
from semantic_ranker.conversion.sample_pairs import built_in_texts
from semantic_ranker.conversion.vector_parity import VectorReport, Vectors, measure_vectors
from semantic_ranker.embedding.folder import EmbedderFolder
from semantic_ranker.errors import ModelLoadError
from semantic_ranker_training.export_options import GRAPHS, ExportOptions, Precision, check_apart, check_precisions
from semantic_ranker_training.export_report import ExportReport, Variant
from semantic_ranker_training.export_timing import interleaved
from semantic_ranker_training.half import write_fp16
from semantic_ranker_training.manifest import write_manifest
from semantic_ranker_training.quality_gate import QualityGate, QualityReport, measure_quality

if TYPE_CHECKING:
    import os

    from semantic_ranker.conversion.graph_builder import RowNorm
    from semantic_ranker.embedding.folder import EmbedderSettings

logger = logging.getLogger(__name__)

_WEIGHTS = "model.safetensors"
_TIMED = 12


def export_embedder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    precisions: Sequence[Precision] = ("fp32", "int8"),
    texts: Sequence[str] | None = None,
    name: str | None = None,
    overwrite: bool = False,
    options: ExportOptions | None = None,
) -> ExportReport:
    """Write a bi-encoder's folder.

    Pooling, linear layers and normalisation are those of the source's own ``modules.json``, and part of the graph.

    Args:
        source: A sentence-transformers folder with ``model.safetensors``; a bare encoder is pooled by its mean.
        out: The folder to write. It appears when it is complete.
        precisions: Graphs to keep. ``int8`` alone leaves the safetensors out, and is small.
        texts: For the parity gate, best from the model's own domain; None takes built-in ones.
        name: Name of the model; None takes the source's.
        overwrite: Whether a model folder at ``out`` is replaced.
        options: How int8 is made, and judged data for the quality gate.

    Returns:
        What was written and measured; ``parity`` is a `vector_parity.VectorReport`.

    Raises:
        InvalidInputError: ``out`` has content and ``overwrite`` is off, or a precision is unknown.
        ModelLoadError: The source is absent, incomplete, a reranker, or has no safetensors.
        ExportParityError: An exported graph does not embed like the source; nothing was written.
        StorageError: The disk is full or cannot be written.
    """
    check_precisions(precisions)
    check_apart(Path(source), Path(out))
    asked = options or ExportOptions()
    opened = _open(Path(source), name)
    with staged_folder(Path(out), overwrite=overwrite) as folder:
        copy_files(opened, folder)
        torch = _write_graphs(opened, folder, precisions, asked.row_norm)
        chosen = list(built_in_texts() if texts is None else texts)
        parity, variants = _compare(opened, folder, chosen, torch)
        weights = opened.weights_sha256()
        quality = _quality(opened, folder, parity, asked.gate)
        for unwanted in () if "fp32" in precisions else (GRAPHS["fp32"], _WEIGHTS):
            (folder / unwanted).unlink()
        (folder / "README.md").write_text(_card(opened.settings, parity, precisions), encoding="utf-8")
        report = ExportReport(folder=Path(out), size_bytes={}, parity=parity, variants=variants, quality=quality)
        write_manifest(folder, manifest_of(folder, opened, parity, weights) | {"export": report.facts()})
        report = report.sized({of: int(entry["bytes"]) for of, entry in file_entries(folder).items()})
    logger.info("wrote %s: %d files, %.1f MB", report.folder.name, len(report.size_bytes), report.megabytes)
    return report


def _open(source: Path, name: str | None) -> EmbedderFolder:
    opened = EmbedderFolder.open(source, name)
    config = config_of(opened)
    if any(str(of).endswith(("ForSequenceClassification", "CrossEncoder")) for of in config.get("architectures") or ()):
        raise ModelLoadError(
            f"Expected a bi-encoder in {str(source)!r}, got {config['architectures'][0]}, which scores pairs: export "
            "it with `export_model` or `semantic-ranker export --kind reranker`."
        )
    if not opened.has_safetensors:
        raise ModelLoadError(
            f"Expected {_WEIGHTS} in {str(source)!r}, found none. Pickled weights (.bin, .pt) run code when they are "
            "opened and are refused: save the model with `save_pretrained`, which writes one safetensors file."
        )
    if not (source / "tokenizer.json").is_file():
        raise ModelLoadError(
            f"Expected tokenizer.json in {str(source)!r}, found none: write it with transformers' "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`."
        )
    return opened


def _write_graphs(opened: EmbedderFolder, folder: Path, precisions: Sequence[str], row_norm: RowNorm) -> Vectors:
    """Write the graphs; return the source in torch to compare with."""
    (folder / "onnx").mkdir()
    config = config_of(opened)
    if not is_bert_like(config):
        return _write_traced(opened, folder, precisions, row_norm)
    weights = EncoderWeights.read(config, folder / _WEIGHTS)
    write_graphs(opened, weights, folder, ("fp32", *precisions), row_norm=row_norm)
    if "fp16" in precisions:
        write_fp16(folder / GRAPHS["fp32"], folder / GRAPHS["fp16"])
    return _torch(opened, folder)


def _write_traced(opened: EmbedderFolder, folder: Path, precisions: Sequence[str], row_norm: RowNorm) -> Vectors:
    with requires_extra("training"):
        from semantic_ranker_training.traced_embedder import write_traced
    reference = _torch(opened, folder)
    write_traced(folder, opened.settings, normalizes(opened), precisions, row_norm)
    if "fp16" in precisions:
        write_fp16(folder / GRAPHS["fp32"], folder / GRAPHS["fp16"])
    return reference


def _torch(opened: EmbedderFolder, folder: Path) -> Vectors:
    with requires_extra("training"):
        from semantic_ranker.backends.torch_embedder import TorchEmbedder
    return TorchEmbedder(folder, tokenizer_of(opened.settings, folder), opened.settings)


def _compare(
    opened: EmbedderFolder, folder: Path, texts: Sequence[str], torch: Vectors
) -> tuple[VectorReport, tuple[Variant, ...]]:
    written = {precision: name for precision, name in GRAPHS.items() if (folder / name).is_file()}
    graphs = {kind: opened_graph(opened.settings, folder, name) for kind, name in written.items()}
    batched = opened_graph(opened.settings, folder, GRAPHS["fp32"], batched=True)
    logger.info("comparing torch and ONNX on %d texts", len(texts))
    parity = measure_vectors(texts, torch, graphs, batched).check()
    timed = texts[:_TIMED]
    times = interleaved({name: _runs(of, timed) for name, of in {"torch": torch, **graphs}.items()})
    agreement = {"fp32": parity.fp32_min_cosine, "fp16": parity.fp16_min_cosine, "int8": parity.int8_mean_cosine}
    sizes = {"torch": _WEIGHTS, **written}
    return parity, tuple(
        Variant(
            name=kind,
            megabytes=(folder / sizes[kind]).stat().st_size / 1e6,
            milliseconds=milliseconds,
            agreement=agreement.get(kind),
        )
        for kind, milliseconds in times.items()
    )


def _runs(vectors: Vectors, texts: Sequence[str]) -> list[Callable[[], object]]:
    return [lambda text=text: vectors.run([text]) for text in texts]  # type: ignore[misc]


def _quality(
    opened: EmbedderFolder, folder: Path, parity: VectorReport, gate: QualityGate | None
) -> QualityReport | None:
    if gate is None:
        return None
    # The runtime opens the folder as a user will; this manifest is replaced when all figures are known.
    write_manifest(folder, manifest_of(folder, opened, parity, ""))
    smaller: tuple[Precision, ...] = ("int8", "fp16")
    precisions = [kind for kind in smaller if (folder / GRAPHS[kind]).is_file()]
    return measure_quality(gate, folder, precisions, kind="embedder").check(accept_loss=gate.accept_loss)


def _card(settings: EmbedderSettings, parity: VectorReport, precisions: Sequence[str]) -> str:
    lines = [f"- {key}: {value:.5f}" for key, value in parity.to_dict().items() if isinstance(value, float)]
    return (
        "---\nlibrary_name: semantic-ranker\npipeline_tag: sentence-similarity\n---\n\n"
        f"# {settings.name}\n\nA bi-encoder exported to ONNX ({', '.join(precisions)}): texts to vectors of "
        f"{parity.dim} numbers, {settings.max_length} tokens at most.\n\n"
        "```python\nfrom semantic_ranker import Embedder\n\n"
        f"vectors = Embedder({json.dumps(f'path/to/{settings.name}')}).embed_documents(['a passage'])\n```\n\n"
        f"## Checked when the folder was written, on {parity.texts} texts\n\n" + "\n".join(lines) + "\n\n"
        f"`{MANIFEST}` has the hash of every file.\n"
    )
