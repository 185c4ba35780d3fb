"""What an export wrote and measured, before and after, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from semantic_ranker.conversion.parity import ParityReport
    from semantic_ranker.conversion.vector_parity import VectorReport
    from semantic_ranker.reports import Page
    from semantic_ranker_training.quality_gate import QualityReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of running the model.

    Attributes:
        name: ``torch``, ``fp32``, ``fp16`` or ``int8``.
        megabytes: Of its weights file.
        milliseconds: A pair or text on one thread, median of interleaved runs of the parity inputs.
        agreement: With torch, or with fp32 ONNX for int8 and fp16: Kendall tau of a reranker, cosine of a bi-encoder.
    """

    name: str
    megabytes: float
    milliseconds: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        folder: The model folder.
        size_bytes: Of each file, by its path in the folder.
        parity: What the gate measured; a `VectorReport` for a bi-encoder.
        variants: The source in torch first, then each graph.
        quality: On judged data; None where none was given.
    """

    folder: Path
    size_bytes: dict[str, int]
    parity: ParityReport | VectorReport
    variants: Sequence[Variant] = ()
    quality: QualityReport | None = None

    @property
    def megabytes(self) -> float:
        """Of all files."""
        return sum(self.size_bytes.values()) / 1e6

    def at(self, folder: Path) -> Self:
        """Return the same report of a folder that was moved."""
        return replace(self, folder=folder)

    def sized(self, size_bytes: dict[str, int]) -> Self:
        """Return the same report with the sizes of files."""
        return replace(self, size_bytes=size_bytes)

    def facts(self) -> dict[str, Any]:
        """Return what a manifest records beside the parity: variants and quality."""
        return {
            "variants": [asdict(variant) for variant in self.variants],
            "quality": None if self.quality is None else self.quality.to_dict(),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        parity = {"parity": self.parity.to_dict()}
        return {"folder": str(self.folder), "size_bytes": dict(self.size_bytes), **parity, **self.facts()}

    def summary(self) -> str:
        """Return a few lines for people: each file's size, the table of variants, quality, and the parity figures."""
        lines = [f"{name}  {size / 1e6:.1f} MB" for name, size in self.size_bytes.items()]
        if self.variants:
            lines += ["", f"{'weights':<8} {'MB':>8} {'ms':>8} {'faster':>7}  agreement"]
            lines += [" ".join(_cells(variant, self.variants[0])) for variant in self.variants]
        if self.quality is not None:
            lines += ["", *self.quality.lines()]
        figures = [f"{name} {value:.4g}" for name, value in self.parity.to_dict().items() if value is not None]
        return "\n".join([*lines, "", "parity: " + ", ".join(figures)])

    def page(self) -> Page:
        """Return the report as a page with plots (extra ``report``)."""
        from semantic_ranker.reports import Page

        page = Page(f"Export of {self.folder.name}", "Size, latency and quality before and after.")
        page.section("Variants").table(
            ["weights", "megabytes", "milliseconds", "times torch", "agreement"],
            [
                [of.name, of.megabytes, of.milliseconds, self.variants[0].milliseconds / of.milliseconds, of.agreement]
                for of in self.variants
            ],
            "Milliseconds a pair or text on one thread, median. Agreement: Kendall tau or cosine, fp32 with torch, "
            "int8 and fp16 with fp32.",
        )
        self._plots(page)
        if self.quality is not None:
            page.section("Quality on judged data").text(" ".join(self.quality.lines()))
        page.section("Parity").table(["figure", "value"], list(self.parity.to_dict().items()))
        return page.section("Files").table(["file", "bytes"], list(self.size_bytes.items()))

    def _plots(self, page: Page) -> None:
        from semantic_ranker.reports import plots

        points = {of.name: (of.milliseconds, of.megabytes) for of in self.variants}
        if len(points) > 1:
            figure = plots.pareto(points, xlabel="milliseconds", ylabel="megabytes")
            page.plot(figure, "Latency and size of each variant; lower left is better.", "Latency against megabytes.")
        if self.quality is not None:
            bars = {of.precision: (of.difference, of.low, of.high) for of in self.quality.differences}
            figure = plots.bars_with_intervals(bars, xlabel="nDCG@10 minus that of fp32, 95 % interval", reference=0.0)
            page.plot(figure, "What a smaller form costs in quality.", "Differences of nDCG@10 to fp32.")


def _cells(variant: Variant, base: Variant) -> list[str]:
    faster = f"{base.milliseconds / variant.milliseconds:.2f}x"
    agreement = "-" if variant.agreement is None else f"{variant.agreement:.4f}"
    return [
        f"{variant.name:<8}",
        f"{variant.megabytes:>8.1f}",
        f"{variant.milliseconds:>8.2f}",
        f"{faster:>7}",
        f" {agreement}",
    ]
