"""The model card: ``README.md`` of a model folder, in the form that the Hugging Face hub reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from semantic_ranker.conversion.parity import ParityReport
    from semantic_ranker_training.manifest import Metric, ModelMetadata

_UNKNOWN = "Not stated."


def model_card(metadata: ModelMetadata, parity: ParityReport | None, precisions: Sequence[str]) -> str:
    """Return the Markdown text of a card.

    Args:
        metadata: What is said of the model; what is missing is said to be missing.
        parity: The export's measured parity; None for a training run's own weights, which were not exported.
        precisions: Weights in the folder: ``fp32``, ``int8``.
    """
    parts = [
        _front_matter(metadata),
        f"# {metadata.name} {metadata.version}",
        metadata.description or "A cross-encoder: it scores how well a text answers a query.",
        _usage(metadata),
        "## Training",
        metadata.recipe or _UNKNOWN,
        f"Base model: {metadata.base_model or 'not stated'}.",
        "### Data",
        _data(metadata),
        "### What the base model had already seen",
        _bullets(metadata.seen),
        "## Metrics",
        _metrics(metadata.metrics),
        "## Languages",
        f"{', '.join(metadata.languages)}." if metadata.languages else _UNKNOWN,
        "## Limits",
        _bullets(metadata.limits),
        "## Exported weights",
        _parity(parity, precisions),
        "## Licence",
        f"Weights: {metadata.license}.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(metadata: ModelMetadata) -> str:
    # JSON strings are YAML strings, so no name can break out of its line.
    lines = ["---", "library_name: semantic-ranker", "pipeline_tag: text-ranking"]
    lines.append(f"license: {json.dumps(metadata.license)}")
    if metadata.base_model:
        lines.append(f"base_model: {json.dumps(metadata.base_model)}")
    if metadata.languages:
        lines.append(f"language: {json.dumps(list(metadata.languages))}")
    return "\n".join([*lines, "---"])


def _usage(metadata: ModelMetadata) -> str:
    return (
        "```python\nfrom semantic_ranker import CrossEncoder\n\n"
        f"reranker = CrossEncoder({json.dumps(f'path/to/{metadata.name}')})\n"
        'reranker.rank("your question", ["a passage", "another passage"], top_k=1)\n```'
    )


def _data(metadata: ModelMetadata) -> str:
    if not metadata.data:
        return _UNKNOWN
    rows = [(source.name, source.license, source.use or "-") for source in metadata.data]
    return _table(("data", "licence", "use"), rows)


def _metrics(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return "None measured."
    others = list(dict.fromkeys(name for metric in metrics for name in metric.baselines))
    rows = [
        (metric.collection, metric.name, _figure(metric), *(_baseline(metric, name) for name in others))
        for metric in metrics
    ]
    table = _table(("collection", "metric", "this model", *others), rows)
    return f"{table}\n\nIn brackets: 95 % interval over queries." if any(m.low is not None for m in metrics) else table


def _baseline(metric: Metric, name: str) -> str:
    return f"{metric.baselines[name]:.3f}" if name in metric.baselines else "-"


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _parity(parity: ParityReport | None, precisions: Sequence[str]) -> str:
    if parity is None:
        return "None: these are the weights as they were trained. `semantic-ranker export` writes ONNX."
    lines = [f"Checked on {parity.pairs} pairs of {parity.queries} queries when the folder was written:"]
    if "fp32" in precisions:
        lines.append(f"- fp32 ONNX against torch: largest difference of a logit {parity.fp32_max_difference:.1e}")
    if "int8" in precisions and parity.int8_tau is not None:
        lines.append(
            f"- int8 against fp32: Kendall tau {parity.int8_tau:.3f} a query, error {parity.int8_relative_rmse:.3f} "
            "of the deviation of the logits of a query"
        )
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items) or _UNKNOWN


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )
