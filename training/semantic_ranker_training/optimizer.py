"""`ModelOptimizer`: from a trained model to a smaller, faster one, in the words of the seeds' guides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semantic_ranker.embedding.folder import KIND as EMBEDDER
from semantic_ranker.embedding.folder import kind_of
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.export_options import GRAPHS, ExportOptions, Precision, check_precisions

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from semantic_ranker_training.export_report import ExportReport

Kind = Literal["auto", "reranker", "embedder"]


class ModelOptimizer:
    """Exports a model folder.

    Args:
        model_path: Folder with ``model.safetensors``: a reranker or a bi-encoder.
        kind: Which of both it is; ``auto`` reads that off its files.

    Raises:
        InvalidInputError: ``kind`` is unknown.
    """

    def __init__(self, model_path: str | os.PathLike[str], *, kind: Kind = "auto") -> None:
        if kind not in ("auto", "reranker", "embedder"):
            raise InvalidInputError(f"Expected kind 'auto', 'reranker' or 'embedder', got {kind!r}.")
        self.model_path = model_path
        self.kind: Kind = kind_of_source(Path(model_path)) if kind == "auto" else kind

    def export_to_onnx(
        self,
        output_path: str | os.PathLike[str],
        quantize: bool = True,
        precision: Precision = "int8",
        *,
        keep_fp32: bool = True,
        overwrite: bool = False,
        options: ExportOptions | None = None,
    ) -> ExportReport:
        """Write a folder that `CrossEncoder` or `Embedder` opens without torch.

        Args:
            output_path: The folder to write.
            quantize: Whether there is a smaller form besides fp32; off, ``precision`` does not count.
            precision: ``int8`` or ``fp16`` for the smaller form, or ``fp32`` for none.
            keep_fp32: Whether fp32 graph and safetensors are written too, which sentence-transformers opens.
            overwrite: Whether a model folder at ``output_path`` is replaced.
            options: How int8 is made, and judged data for the quality gate.

        Returns:
            Sizes, latency, parity and quality, before and after.

        Raises:
            InvalidInputError: The precision is unknown, or the folder has content.
            ModelLoadError: The model cannot be exported; the message says why.
            ExportParityError: The export does not score like its source; nothing was written.
            StorageError: The disk is full or cannot be written.
        """
        check_precisions([precision])
        smaller: list[Precision] = [precision] if quantize and precision != "fp32" else []
        precisions: list[Precision] = ["fp32", *smaller] if keep_fp32 or not smaller else smaller
        return self.export(output_path, precisions, overwrite=overwrite, options=options)

    def export(
        self,
        output_path: str | os.PathLike[str],
        precisions: Sequence[Precision],
        *,
        pairs: Sequence[tuple[str, str]] | None = None,
        overwrite: bool = False,
        options: ExportOptions | None = None,
    ) -> ExportReport:
        """Write a folder with the named precisions; see `export_model` and `export_embedder`."""
        from semantic_ranker_training.export import export_embedder, export_model

        common: dict[str, Any] = {"precisions": precisions, "overwrite": overwrite, "options": options}
        if self.kind == "embedder":
            texts = None if pairs is None else [text for pair in pairs for text in pair]
            return export_embedder(self.model_path, output_path, texts=texts, **common)
        return export_model(self.model_path, output_path, pairs=pairs, **common)

    @property
    def precisions(self) -> tuple[str, ...]:
        """What can be written."""
        return tuple(GRAPHS)


def kind_of_source(folder: Path) -> Literal["reranker", "embedder"]:
    """Return what a folder's own files say that it is; whatever is unclear counts as a reranker."""
    if kind_of(folder) == EMBEDDER:
        return "embedder"
    modules = folder / "modules.json"
    if modules.is_file():
        return "embedder" if "Pooling" in modules.read_text(encoding="utf-8", errors="replace") else "reranker"
    try:
        architectures = json.loads((folder / "config.json").read_bytes()).get("architectures") or [""]
    except (OSError, ValueError, AttributeError):
        return "reranker"
    # A bare encoder has no head that could score a pair.
    return "embedder" if str(architectures[0]).endswith("Model") else "reranker"
