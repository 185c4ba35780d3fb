"""The model card of a static embedder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semantic_ranker_training.manifest import Metric, ModelMetadata

_USAGE = """```python
from semantic_ranker.embedder import Embedder

vectors = Embedder().embed_documents(["a text"])
```"""


def static_card(metadata: ModelMetadata, tokens: int, dim: int) -> str:
    """Return the Markdown text of a card; what is missing is said to be missing.

    Args:
        metadata: What is said of the model.
        tokens: Size of its vocabulary.
        dim: Length of its vectors.
    """
    parts = [
        _front_matter(metadata),
        f"# {metadata.name} {metadata.version}",
        metadata.description,
        _USAGE,
        f"{tokens} token vectors of {dim} dimensions, int8 with one scale a token. A text's vector is the sum of its "
        "tokens' vectors, scaled to length 1; numpy computes it.",
        "## Training",
        metadata.recipe or "Not stated.",
        f"Base model: {metadata.base_model}.",
        "### Data",
        _data(metadata),
        "### What the base model had already seen",
        _bullets(metadata.seen),
        "## Metrics",
        _metrics(metadata.metrics),
        "## Languages",
        f"{', '.join(metadata.languages)}." if metadata.languages else "Not stated.",
        "## Limits",
        _bullets(metadata.limits),
        "## Licence",
        f"Weights: {metadata.license}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(metadata: ModelMetadata) -> str:
    # JSON strings are YAML strings, so no name can break out of its line.
    lines = [
        "---",
        "library_name: semantic-ranker",
        "pipeline_tag: sentence-similarity",
        f"license: {json.dumps(metadata.license)}",
        f"base_model: {json.dumps(metadata.base_model)}",
        f"language: {json.dumps(list(metadata.languages))}",
        "---",
    ]
    return "\n".join(lines)


def _data(metadata: ModelMetadata) -> str:
    if not metadata.data:
        return "Not stated."
    rows = [f"| {source.name} | {source.license} | {source.use or '-'} |" for source in metadata.data]
    return "\n".join(["| data | licence | use |", "| --- | --- | --- |", *rows])


def _metrics(metrics: tuple[Metric, ...]) -> str:
    if not metrics:
        return "None measured."
    others = list(dict.fromkeys(name for metric in metrics for name in metric.baselines))
    lines = [f"| collection | metric | this model |{''.join(f' {name} |' for name in others)}"]
    lines.append("| --- " * (3 + len(others)) + "|")
    for metric in metrics:
        cells = [metric.collection, metric.name, _figure(metric)]
        cells += [f"{metric.baselines[name]:.3f}" if name in metric.baselines else "-" for name in others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "In brackets: 95 % interval over queries."])


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _bullets(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items) or "Not stated."
