"""``semantic-ranker embed-eval``: how good are embeddings, and what does storing them in fewer bytes cost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import snippet, write

if TYPE_CHECKING:
    from semantic_ranker.embedding_quality.measure import TaskResult

_NAME_WIDTH = 32
_STORAGE_COLUMNS = ("cosine", "least", "overlap", "nDCG@10", "change")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("embed-eval", help="measure embeddings: similarity, clusters, retrieval, geometry")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="name, folder or hub id (default: the bundled one)")
    parser.add_argument(
        "--sts", nargs="+", default=[], metavar="FILE", help="pairs with scores: .jsonl, .csv or .tsv with "
        "sentence1, sentence2, score",
    )  # fmt: skip
    parser.add_argument(
        "--clusters", nargs="+", default=[], metavar="FILE", help="texts with labels: .jsonl, .csv or .tsv with "
        "text, label",
    )  # fmt: skip
    parser.add_argument("--collection", nargs="+", default=[], metavar="FOLDER", help="BEIR folders to search")
    parser.add_argument("--split", default="test", metavar="NAME", help="judgments of the collections (default: test)")
    parser.add_argument("--vectors", nargs="+", default=[], metavar="FILE", help=".npy files of stored vectors")
    parser.add_argument("--config", metavar="FILE", help="settings of the embedder: JSON or TOML")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", metavar="FILE", help="write the JSON to a file as well")
    parser.add_argument("--html", metavar="PAGE", help="write a page (extra: report)")
    parser.set_defaults(run=_embed_eval)


def _embed_eval(options: argparse.Namespace) -> int:
    import json

    from semantic_ranker._files import write_atomically
    from semantic_ranker.errors import InvalidInputError

    if not (options.sts or options.clusters or options.collection or options.vectors):
        raise InvalidInputError(
            "Expected something to measure, got nothing: give --sts, --clusters, --collection or --vectors."
        )
    subject, space, results = _measure(options)
    found = {"model": subject, "space": space, "tasks": [result.to_dict() for result in results]}
    text = json.dumps(found, indent=2)
    if options.html:
        from semantic_ranker.embedding_quality.page import quality_page

        line = f"Space {space['fingerprint'][:12]}, {space['dim']} dimensions." if space else ""
        quality_page(subject, line, results).write(options.html)
    if options.out:
        write_atomically(options.out, text + "\n")
    if options.json:
        print(text)
    else:
        _print(subject, results)
    return 0


def _measure(options: argparse.Namespace) -> tuple[str, dict[str, Any] | None, list[TaskResult]]:
    from semantic_ranker.collections import load_beir
    from semantic_ranker.embedding_quality.files import read_labelled, read_pairs, read_vectors
    from semantic_ranker.embedding_quality.measure import EmbedderMeasurement, measure_vectors

    # Files are read before the model is opened: a misspelt name costs no time.
    pairs = [read_pairs(path) for path in options.sts]
    labelled = [read_labelled(path) for path in options.clusters]
    collections = [load_beir(folder, options.split) for folder in options.collection]
    stored = [(path, read_vectors(path)) for path in options.vectors]
    subject, space, results = "stored vectors", None, []
    if pairs or labelled or collections:
        embedder = _embedder(options)
        subject, space = embedder.space.model, embedder.space.to_dict()
        measurement = EmbedderMeasurement(embedder)
        results += [measurement.similarity(of) for of in pairs]
        results += [measurement.clustering(of) for of in labelled]
        results += [measurement.retrieval(of) for of in collections]
    results += [measure_vectors(vectors, path) for path, vectors in stored]
    return subject, space, results


def _embedder(options: argparse.Namespace) -> Any:
    from semantic_ranker.config import build_embedder, load_settings

    arguments = {} if options.model is None else {"embedder.model": options.model}
    return build_embedder(load_settings(options.config, arguments=arguments))


def _print(subject: str, results: list[TaskResult]) -> None:
    write(subject)
    for result in results:
        write(f"\n{result.kind}: {snippet(result.name, 60)}")
        for name, value in {**result.scores, **(result.geometry.to_dict() if result.geometry else {})}.items():
            write(f"  {name:<{_NAME_WIDTH}} {_shown(value)}")
        if result.quantization:
            write(
                f"  {'storage':<15} {'bytes':>6} {'cosine':>8} {'least':>8} {'overlap':>8} {'nDCG@10':>8} {'change':>8}"
            )
        for impact in result.quantization:
            cells = (impact.mean_cosine, impact.least_cosine, impact.overlap_at_10)
            judged = (impact.ndcg_at_10, impact.ndcg_at_10_difference)
            write(
                f"  {impact.storage:<15} {impact.bytes_per_vector:>6} "
                + " ".join(f"{_shown(value):>8}" for value in (*cells, *judged))
            )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{end:.4f}" for end in value) + "]"
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else str(value)
